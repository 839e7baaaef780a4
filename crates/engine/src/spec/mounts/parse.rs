//! Mounts as people write them with `-v` and `--tmpfs`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{MountForm, MountRequest, MountSource, Propagation, Recursion};
use crate::error::{EngineError, Result};

impl MountRequest {
    /// Reads an entry of `HostConfig.Binds`: `[source:]target[:mode,…]`.
    ///
    /// # Errors
    /// `Invalid`, in Docker's words.
    pub fn parse_bind(text: &str) -> Result<Self> {
        let invalid = || format!("invalid volume specification: '{text}'");
        let parts: Vec<&str> = text.splitn(4, ':').collect();
        let (source, target, mode) = match *parts.as_slice() {
            [target] => ("", target, ""),
            // A target and a mode, without a source, is no mount.
            [source, target]
                if !source.is_empty() && (target.is_empty() || Mode::parse(target).is_none()) =>
            {
                (source, target, "")
            }
            [source, target, mode] if !source.is_empty() => (source, target, mode),
            _ => return Err(EngineError::Invalid(invalid())),
        };
        if text.is_empty() {
            return Err(EngineError::Invalid(invalid()));
        }
        let Some(mode) = Mode::parse(mode) else {
            return Err(EngineError::Invalid(format!("invalid mode: {mode}")));
        };
        let is_bind = source.starts_with('/');
        let source = if is_bind {
            MountSource::Bind {
                path: clean(source),
                propagation: mode.propagation,
                recursion: Recursion::Recursive,
                create_missing: true,
            }
        } else {
            if mode.propagation.is_some() {
                return Err(EngineError::Invalid(format!(
                    "{}: invalid mount config for type \"volume\": invalid propagation mode",
                    invalid()
                )));
            }
            MountSource::Volume {
                name: (!source.is_empty()).then(|| source.to_owned()),
                driver: String::new(),
                driver_options: BTreeMap::new(),
                labels: BTreeMap::new(),
                no_copy: mode.no_copy,
                subpath: String::new(),
            }
        };
        let mount = Self {
            target: target.to_owned(),
            source,
            read_only: mode.read_only,
            form: MountForm::Short(text.to_owned()),
        };
        match mount.fault() {
            Some(fault) => Err(EngineError::Invalid(format!("{}: {fault}", invalid()))),
            None => Ok(Self { target: clean(&mount.target), ..mount }),
        }
    }

    /// Reads an entry of `HostConfig.Tmpfs`: a target and options as of mount(8).
    ///
    /// # Errors
    /// `Invalid` for an unknown option or a bad target.
    pub fn parse_tmpfs(target: &str, options: &str) -> Result<Self> {
        let list: Vec<String> =
            options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        if let Some(option) = list.iter().find(|option| !is_tmpfs_option(option)) {
            let name = option.split('=').next().unwrap_or_default();
            return Err(EngineError::Invalid(format!("invalid tmpfs option {name:?}")));
        }
        let mount = Self {
            target: target.to_owned(),
            source: MountSource::Tmpfs { size: None, mode: None, options: list },
            read_only: false,
            form: MountForm::Tmpfs(options.to_owned()),
        };
        match mount.fault() {
            Some(fault) => Err(EngineError::Invalid(fault)),
            None => Ok(Self { target: clean(target), ..mount }),
        }
    }

    /// What is wrong with it by itself, in Docker's words.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let fault = self.bare_fault()?;
        // Compat: dockerd words the faults of `--tmpfs` without the kind.
        if matches!(self.form, MountForm::Tmpfs(_)) {
            return Some(fault);
        }
        let kind = self.source.kind().name();
        Some(format!("invalid mount config for type \"{kind}\": {fault}"))
    }

    fn bare_fault(&self) -> Option<String> {
        if self.target.is_empty() {
            Some("field Target must not be empty".to_owned())
        } else if clean(&self.target) == "/" && self.target.starts_with('/') {
            Some("invalid specification: destination can't be '/'".to_owned())
        } else if !self.target.starts_with('/') {
            Some(format!("invalid mount path: '{}' mount path must be absolute", self.target))
        } else {
            match &self.source {
                MountSource::Bind { path, .. } if path.is_empty() => {
                    Some("field Source must not be empty".to_owned())
                }
                MountSource::Bind { path, .. } if !path.starts_with('/') => {
                    Some(format!("invalid mount path: '{path}' mount path must be absolute"))
                }
                MountSource::Bind { .. }
                | MountSource::Volume { .. }
                | MountSource::Tmpfs { .. } => None,
            }
        }
    }

    /// The mode as it was written with `-v`, for inspection.
    #[must_use]
    pub fn mode_text(&self) -> &str {
        match &self.form {
            MountForm::Short(text) => text.splitn(3, ':').nth(2).unwrap_or_default(),
            MountForm::Long { .. } | MountForm::Tmpfs(_) | MountForm::Implied => "",
        }
    }
}

#[derive(Debug, Default)]
struct Mode {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
}

impl Mode {
    /// Each kind of word at most once; `None` when a word is unknown.
    fn parse(text: &str) -> Option<Self> {
        let mut mode = Self::default();
        let (mut access, mut label, mut consistency) = (0, 0, 0);
        if text.is_empty() {
            return Some(mode);
        }
        for word in text.split(',') {
            match word {
                "ro" | "rw" => {
                    access += 1;
                    mode.read_only = word == "ro";
                }
                // Compat: SELinux labels are taken and, where there is no SELinux, do nothing.
                "z" | "Z" => label += 1,
                "nocopy" if !mode.no_copy => mode.no_copy = true,
                "consistent" | "cached" | "delegated" => consistency += 1,
                _ => {
                    let propagation = Propagation::parse(word)?;
                    if mode.propagation.replace(propagation).is_some() {
                        return None;
                    }
                }
            }
        }
        (access <= 1 && label <= 1 && consistency <= 1).then_some(mode)
    }
}

/// The options of tmpfs that Docker lets through.
fn is_tmpfs_option(option: &str) -> bool {
    const FLAGS: [&str; 27] = [
        "async",
        "atime",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "mand",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nomand",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "private",
        "relatime",
        "remount",
        "ro",
        "rprivate",
        "rw",
        "strictatime",
        "suid",
        "sync",
    ];
    const MORE_FLAGS: [&str; 4] = ["rslave", "slave", "rshared", "shared"];
    const VALUES: [&str; 7] = ["gid", "huge", "mode", "mpol", "nr_blocks", "nr_inodes", "size"];
    match option.split_once('=') {
        Some((name, _)) => VALUES.contains(&name) || name == "uid",
        None => FLAGS.contains(&option) || MORE_FLAGS.contains(&option),
    }
}

/// A path without `.`, `..`, doubled and trailing slashes; by text alone, as Go's `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let clean = ferry_sys::path::clean(Path::new(path));
    let slash = if path.starts_with('/') { "/" } else { "" };
    format!("{slash}{}", clean.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let said = match MountRequest::parse_bind(text) {
            Ok(mount) => {
                let source = match &mount.source {
                    MountSource::Bind { path, propagation, .. } => {
                        format!("bind {path} {}", propagation.map_or("-", Propagation::name))
                    }
                    MountSource::Volume { name, no_copy, .. } => {
                        format!("volume {} {no_copy}", name.as_deref().unwrap_or("-"))
                    }
                    MountSource::Tmpfs { .. } => "tmpfs".to_owned(),
                };
                let access = if mount.read_only { "ro" } else { "rw" };
                format!("{source} on {} {access} [{}]", mount.target, mount.mode_text())
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn binds_are_read_as_docker_reads_them() {
        check("/a:/b", "bind /a - on /b rw []");
        check("/a/../c/:/b/", "bind /c - on /b rw []");
        check("/a:/b:ro", "bind /a - on /b ro [ro]");
        check("/a:/b:ro,rslave,z", "bind /a rslave on /b ro [ro,rslave,z]");
        check("vol:/b", "volume vol false on /b rw []");
        check("vol:/b:nocopy", "volume vol true on /b rw [nocopy]");
        check("/b", "volume - false on /b rw []");
    }

    #[test]
    fn bad_binds_are_refused_in_dockers_words() {
        check("", "invalid volume specification: ''");
        check(":/b", "invalid volume specification: ':/b'");
        check("/b:ro", "invalid volume specification: '/b:ro'");
        check("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'");
        check("/a:/b:zz", "invalid mode: zz");
        check("/a:/b:ro,rw", "invalid mode: ro,rw");
        check(
            "/a:x",
            "invalid volume specification: '/a:x': invalid mount config for type \"bind\": \
             invalid mount path: 'x' mount path must be absolute",
        );
        check(
            "/tmp:/",
            "invalid volume specification: '/tmp:/': invalid mount config for type \"bind\": \
             invalid specification: destination can't be '/'",
        );
    }

    #[test]
    fn tmpfs_options_are_checked() {
        assert!(MountRequest::parse_tmpfs("/t", "size=1m,uid=3,mode=0700,exec").is_ok());
        assert!(MountRequest::parse_tmpfs("/t", "").is_ok());
        assert!(MountRequest::parse_tmpfs("/t", "lowerdir=/x").is_err());
        assert!(MountRequest::parse_tmpfs("t", "").is_err());
    }
}
