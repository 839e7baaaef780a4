//! `artifact pull`

use std::collections::HashSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path};

use ferry_distribution::{
    ContentRead as _, CopyEvent, RegistryContent, Repository, RoleKind, save_blob,
};
use ferry_oci::manifest::{Descriptor, media_type};
use ferry_sys::path::NewFile;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{TITLE, fetch};
use crate::command_line::Matches;
use crate::commands::transfer::Transfer;
use crate::console;
use crate::program::Cli;
use crate::registries;
use crate::report::Failure;

/// Files that are fetched at once.
const AT_ONCE: usize = 4;

pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let (name, repository) = super::open(cli, matches, RoleKind::Pull)?;
    let (raw, manifest) = fetch(&name, &repository).await?;
    let files = titled(&manifest.layers)?;
    let mut transfer = Transfer::new(matches.flag("quiet"));
    let left = manifest.layers.iter().filter(|layer| {
        layer.media_type != media_type::OCI_EMPTY && !layer.annotations.contains_key(TITLE)
    });
    for layer in left {
        transfer.say(&format!("{}: has no title, left out", layer.digest.short()));
    }
    if files.is_empty() && manifest.layers.iter().any(|it| it.media_type != media_type::OCI_EMPTY) {
        return Err(Failure::plain(format!(
            "{name} has no files with titles ({TITLE}); it may be an image: pull that, or copy it \
             with image copy"
        )));
    }
    let output = match matches.text("output") {
        "" => ".",
        other => other,
    };
    let root = directory(Path::new(output))?;
    let mut places = Vec::new();
    for (title, layer) in files {
        // All are begun before any is fetched: what is in the way is said at once.
        let replaces = matches.flag("overwrite");
        let file = NewFile::create(root.as_fd(), Path::new(title), 0o666, replaces);
        let file = file.map_err(|error| in_the_way(output, title, &error))?;
        places.push((title, layer, file));
    }
    let shown = std::sync::Mutex::new(&mut transfer);
    let one = |(title, layer, file)| save(&repository, output, title, layer, file, &shown);
    stream::iter(places.into_iter().map(one)).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    console::line(raw.digest.as_str())
}

/// The files that have titles, each of which leads to a place of its own beneath the directory.
fn titled(layers: &[Descriptor]) -> Result<Vec<(&str, &Descriptor)>, Failure> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for layer in layers {
        let Some(title) = layer.annotations.get(TITLE) else { continue };
        let path = Path::new(title);
        let is_plain =
            |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let is_beneath = path.components().all(is_plain) && path.file_name().is_some();
        if !is_beneath || title.ends_with('/') || title.contains('\0') {
            return Err(Failure::plain(format!(
                "the title {title:?} does not name a file beneath the directory; nothing was \
                 written"
            )));
        }
        if layer.annotations.get("io.deis.oras.content.unpack").is_some_and(|it| it == "true") {
            return Err(Failure::plain(format!(
                "{title:?} is a directory as ORAS packs it, which is not supported; fetch the blob \
                 {} and unpack it",
                layer.digest
            )));
        }
        if !seen.insert(ferry_sys::path::clean(path)) {
            return Err(Failure::plain(format!(
                "two files have the title {title:?}; nothing was written"
            )));
        }
        files.push((title.as_str(), layer));
    }
    for path in &seen {
        let Some(file) = path.ancestors().skip(1).find(|parent| seen.contains(*parent)) else {
            continue;
        };
        return Err(Failure::plain(format!(
            "{file:?} is a file and has the file {path:?} in it; nothing was written"
        )));
    }
    Ok(files)
}

fn directory(path: &Path) -> Result<OwnedFd, Failure> {
    let failed = |why: String| Failure::plain(format!("{}: {why}", path.display()));
    std::fs::create_dir_all(path).map_err(|error| failed(error.to_string()))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.to_string()))
}

fn in_the_way(output: &str, title: &str, error: &ferry_sys::SysError) -> Failure {
    if error.errno == Errno::EXIST {
        return Failure::plain(format!(
            "{output}/{title} exists already; use --overwrite to replace it, or another --output"
        ));
    }
    Failure::plain(format!("writing {output}/{title}: {error}"))
}

/// Fetches a file; it gets its name when it is whole.
async fn save(
    repository: &Repository,
    output: &str,
    title: &str,
    layer: &Descriptor,
    mut file: NewFile,
    shown: &std::sync::Mutex<&mut Transfer>,
) -> Result<(), Failure> {
    let tell = |event: CopyEvent| {
        shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).tell(&event);
    };
    let which = ferry_distribution::Selector::Digest(layer.digest.clone());
    let content = RegistryContent::new(repository.clone(), which, Vec::new(), std::env::temp_dir());
    tell(CopyEvent::Progress { blob: layer.clone(), bytes: 0 });
    let body = content.blob(layer).await.map_err(registries::failure)?;
    let failed =
        |failure: Failure| Failure::new(failure.code, format!("{title}: {}", failure.message));
    let saved = save_blob(layer, body, file.file()).await.map_err(registries::failure);
    saved.map_err(failed)?;
    file.keep().map_err(|error| in_the_way(output, title, &error))?;
    tell(CopyEvent::Copied(layer.clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use ferry_oci::digest::Digest;

    use super::*;

    #[test]
    fn titles_that_lead_elsewhere_are_refused() {
        let check = |title: &str| {
            let mut layer = Descriptor::new("t", Digest::sha256_of(b""), 0);
            layer.annotations.insert(TITLE.into(), title.into());
            titled(&[layer]).map(|files| files[0].0.to_owned()).ok()
        };
        assert_eq!(check("a/b.txt").as_deref(), Some("a/b.txt"));
        for title in ["../a", "a/../../b", "/etc/passwd", "..", ".", "", "a/", "a/..", "a\0b"] {
            assert_eq!(check(title), None, "{title:?}");
        }
    }

    #[test]
    fn two_files_of_one_title_are_refused() {
        let layer = |title: &str| {
            let mut layer = Descriptor::new("t", Digest::sha256_of(title.as_bytes()), 0);
            layer.annotations.insert(TITLE.into(), title.into());
            layer
        };
        assert!(titled(&[layer("a"), layer("./a")]).is_err());
        assert_eq!(titled(&[layer("a"), layer("b")]).unwrap().len(), 2);
    }
}
