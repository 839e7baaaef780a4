//! Archives: an index of what is in one, a writer, and Docker's own kind of archive of images.
//! [POSIX.1-2017, pax, § ustar Interchange Format]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Manifest, media_type};
use serde::Deserialize;

use super::files::{Files, Piece, local};
use super::{Answered, BlobBody, ContentRead};
use crate::error::DistributionError;
use crate::limits;
use crate::registry::{RawManifest, Selector};

const BLOCK: u64 = 512;
/// Members of an archive at most.
const MAX_MEMBERS: usize = 1 << 20;
/// Bytes of a member's extended header at most.
const MAX_EXTENDED: u64 = 1 << 20;

/// Reads the headers of an archive once; what is in it is read by its place afterwards.
pub(super) fn open(path: &Path) -> Result<Files, DistributionError> {
    let file = File::open(path).map_err(|source| local("opening", path, source))?;
    let members = index(&file).map_err(|source| local("reading the archive", path, source))?;
    Ok(Files::Archive { file: Arc::new(file), members: Arc::new(members) })
}

/// What extended headers say about the next member.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

fn index(file: &File) -> io::Result<HashMap<String, (u64, u64)>> {
    let malformed = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut members = HashMap::new();
    let mut links = Vec::new();
    let mut extended = Extended::default();
    let length = file.metadata()?.len();
    let mut at = 0;
    while at + BLOCK <= length {
        let mut header = [0; 512];
        file.read_exact_at(&mut header, at)?;
        at += BLOCK;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        if checksum(&header) != number(&header[148..156]) {
            return Err(malformed("a header has another checksum; is it compressed?"));
        }
        let kind = header[156];
        let is_header = matches!(kind, b'x' | b'g' | b'L' | b'K');
        let stated = number(&header[124..136]).ok_or_else(|| malformed("a size is no number"))?;
        let size = if is_header { stated } else { extended.size.unwrap_or(stated) };
        let end = at.checked_add(size).filter(|end| *end <= length);
        let end = end.ok_or_else(|| malformed("it ends amid a member"))?;
        if is_header {
            if size > MAX_EXTENDED {
                return Err(malformed("an extended header is too large"));
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            file.read_exact_at(&mut bytes, at)?;
            match kind {
                b'x' => read_pax(&bytes, &mut extended),
                b'L' => extended.path = Some(text(&bytes)),
                b'K' => extended.link = Some(text(&bytes)),
                _ => {}
            }
        } else {
            let name = extended.path.take().unwrap_or_else(|| header_name(&header));
            let name = normal(&name);
            match kind {
                b'0' | 0 => drop(members.insert(name, (at, size))),
                b'1' | b'2' => {
                    let target = extended.link.take().unwrap_or_else(|| text(&header[157..257]));
                    links.push((name, target, kind == b'2'));
                }
                _ => {}
            }
            extended = Extended::default();
        }
        if members.len() + links.len() > MAX_MEMBERS {
            return Err(malformed("it has too many members"));
        }
        at = end.next_multiple_of(BLOCK);
    }
    for (name, target, is_relative) in links {
        let target = match name.rsplit_once('/') {
            Some((directory, _)) if is_relative => normal(&format!("{directory}/{target}")),
            _ => normal(&target),
        };
        if let Some(&place) = members.get(&target) {
            members.insert(name, place);
        }
    }
    Ok(members)
}

fn header_name(header: &[u8; 512]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    let is_ustar = &header[257..262] == b"ustar";
    if is_ustar && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// An octal number, or a binary one as GNU and star write large ones.
fn number(field: &[u8]) -> Option<u64> {
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        let (first, rest) = field.split_first()?;
        return rest.iter().try_fold(u64::from(first & 0x7f), |sum, byte| {
            Some(sum.checked_mul(256)? + u64::from(*byte))
        });
    }
    let digits = text(field);
    let digits = digits.trim_matches(' ');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// The sum of a header's bytes, its own place as blanks.
fn checksum(header: &[u8; 512]) -> Option<u64> {
    let sum = header.iter().enumerate().map(|(at, byte)| match at {
        148..156 => u64::from(b' '),
        _ => u64::from(*byte),
    });
    Some(sum.sum())
}

/// Lines of `LENGTH KEY=VALUE\n`.
fn read_pax(bytes: &[u8], extended: &mut Extended) {
    let mut rest = bytes;
    while let Some(blank) = rest.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&rest[..blank]).ok().and_then(|text| text.parse().ok());
        let Some(length) = length.filter(|&it: &usize| it > blank + 1 && it <= rest.len()) else {
            return;
        };
        let line = String::from_utf8_lossy(&rest[blank + 1..length - 1]).into_owned();
        match line.split_once('=') {
            Some(("path", value)) => extended.path = Some(value.to_owned()),
            Some(("linkpath", value)) => extended.link = Some(value.to_owned()),
            Some(("size", value)) => extended.size = value.parse().ok(),
            _ => {}
        }
        rest = &rest[length..];
    }
}

/// A name without `.`, `..` and needless slashes; it is a key only, and leads nowhere.
fn normal(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Writes an archive of plain files.
#[derive(Debug)]
pub(super) struct TarWriter<W>(W);

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self(out)
    }

    /// Begins a file; its bytes follow, and then [`TarWriter::pad`].
    pub(super) fn header(&mut self, name: &str, size: u64) -> io::Result<()> {
        let mut header = [0; 512];
        let name = name.as_bytes();
        if name.len() > 100 {
            // The names that we write are digests and shorter ones.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name is too long"));
        }
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        if size < 1 << 33 {
            header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        } else {
            header[124] = 0x80;
            header[128..136].copy_from_slice(&size.to_be_bytes());
        }
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum = checksum(&header).unwrap_or(0);
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.write_all(&header)
    }

    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Ends a file of this size.
    pub(super) fn pad(&mut self, size: u64) -> io::Result<()> {
        let missing = usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or(0);
        self.0.write_all(&[0; 512][..missing])
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 1024])?;
        Ok(self.0)
    }
}

/// An image in an archive as `docker save` writes it. What the archive has no manifest for gets
/// one, over its layers as they are.
#[derive(Debug)]
pub struct DockerArchive {
    top: RawManifest,
    blobs: HashMap<Digest, Piece>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerArchive {
    /// Opens the image of that name, as it stands in the archive; without a name, the only image.
    ///
    /// # Errors
    /// When it cannot be read, or has no such image.
    pub fn open(path: &Path, name: Option<&str>) -> Result<Self, DistributionError> {
        let files = open(path)?;
        let malformed = |why: String| {
            let what = format!("the archive {}", path.display());
            DistributionError::Malformed { what, why }
        };
        let list = files.get("manifest.json")?.bytes("manifest.json", limits::MAX_MANIFEST)?;
        let list: Vec<Listed> =
            serde_json::from_slice(&list).map_err(|error| malformed(error.to_string()))?;
        let mut found = list.into_iter().filter(|image| match name {
            Some(name) => image.repo_tags.iter().flatten().any(|tag| tag == name),
            None => true,
        });
        let image = found.next().ok_or_else(|| malformed("it has no such image".into()))?;
        if name.is_none() && found.next().is_some() {
            return Err(malformed("it has several images; name one".into()));
        }
        let mut blobs = HashMap::new();
        let mut take = |name: &str, kind: Option<&str>| -> Result<Descriptor, DistributionError> {
            let piece = files.get(&normal(name))?;
            let failed = |source| local("reading", path, source);
            let digest = piece.digest().map_err(failed)?;
            let media = match kind {
                Some(kind) => kind,
                None => layer_type(&piece).map_err(failed)?,
            };
            let descriptor = Descriptor::new(media, digest.clone(), piece.size);
            blobs.insert(digest, piece);
            Ok(descriptor)
        };
        let config = take(&image.config, Some(media_type::DOCKER_CONFIG))?;
        let layers: Result<Vec<_>, _> =
            image.layers.iter().map(|layer| take(layer, None)).collect();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::DOCKER_MANIFEST.into()),
            artifact_type: None,
            config,
            layers: layers?,
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { top: RawManifest::new(media_type::DOCKER_MANIFEST, bytes), blobs })
    }
}

/// What a layer is, by its first bytes.
fn layer_type(piece: &Piece) -> io::Result<&'static str> {
    let mut magic = [0; 4];
    let most = usize::try_from(piece.size.min(4)).unwrap_or(4);
    piece.file.read_exact_at(&mut magic[..most], piece.offset)?;
    Ok(match magic {
        [0x1f, 0x8b, ..] => media_type::DOCKER_LAYER,
        [0x28, 0xb5, 0x2f, 0xfd] => media_type::OCI_LAYER_ZSTD,
        _ => media_type::DOCKER_LAYER_PLAIN,
    })
}

impl ContentRead for DockerArchive {
    fn manifest<'a>(&'a self, which: Option<&'a Selector>) -> Answered<'a, RawManifest> {
        let is_top = match which {
            None => true,
            Some(Selector::Digest(digest)) => *digest == self.top.digest,
            Some(Selector::Tag(_)) => false,
        };
        Box::pin(async move {
            if is_top {
                return Ok(self.top.clone());
            }
            let (what, why) = ("the archive".into(), "there is no such manifest".into());
            Err(DistributionError::Malformed { what, why })
        })
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, BlobBody> {
        Box::pin(async move {
            let piece = self.blobs.get(&blob.digest).cloned();
            piece.map(Piece::into_body).ok_or_else(|| DistributionError::Malformed {
                what: "the archive".into(),
                why: format!("there is no {}", blob.digest),
            })
        })
    }

    fn referrers<'a>(&'a self, _subject: &'a Digest) -> Answered<'a, Vec<Descriptor>> {
        // The format has none.
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
        let mut writer = TarWriter::new(Vec::new());
        for (name, bytes) in files {
            writer.header(name, bytes.len() as u64).unwrap();
            writer.data(bytes).unwrap();
            writer.pad(bytes.len() as u64).unwrap();
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&writer.finish().unwrap()).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_found_again() {
        let file = archive(&[("a", b"one"), ("b/c", &[7; 600])]);
        let files = open(file.path()).unwrap();
        let read = |name: &str| files.get(name).unwrap().bytes("it", 1 << 20).unwrap();
        assert_eq!(&read("a")[..], b"one");
        assert_eq!(&read("b/c")[..], [7; 600]);
        assert!(files.find("c").unwrap().is_none());
    }

    #[test]
    fn large_sizes_and_long_names_are_read() {
        let mut writer = TarWriter::new(Vec::new());
        writer.header("big", 1 << 40).unwrap();
        let header: [u8; 512] = writer.0.clone().try_into().unwrap();
        assert_eq!(number(&header[124..136]), Some(1 << 40));
        let mut extended = Extended::default();
        read_pax(b"14 path=a/b/c\n15 size=12345678\n", &mut extended);
        assert_eq!(extended.path.as_deref(), Some("a/b/c"));
        assert_eq!(normal("./a/../b//c"), "b/c");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0x1f; 2048]).unwrap();
        assert!(open(file.path()).is_err());
        let whole = archive(&[("a", &[1; 2000])]);
        whole.as_file().set_len(1024).unwrap();
        assert!(open(whole.path()).is_err());
    }

    #[test]
    fn an_image_of_docker_gets_a_manifest() {
        let list = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l/layer.tar"]}]"#;
        let file =
            archive(&[("manifest.json", list), ("c.json", b"{}"), ("l/layer.tar", b"layer")]);
        let image = DockerArchive::open(file.path(), Some("a:1")).unwrap();
        let manifest = Manifest::parse(&image.top.bytes).unwrap();
        assert!(manifest.config.digest.matches(b"{}"));
        assert_eq!(manifest.layers[0].media_type, media_type::DOCKER_LAYER_PLAIN);
        assert!(image.blobs.contains_key(&Digest::sha256_of(b"layer")));
        assert!(DockerArchive::open(file.path(), Some("b:1")).is_err());
    }
}
