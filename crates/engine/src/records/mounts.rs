//! Mounts in a container's record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::{MountForm, MountRequest, MountSource, Propagation, Recursion};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    target: String,
    source: SourceRecord,
    #[serde(default)]
    read_only: bool,
    form: FormRecord,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceRecord {
    Bind {
        path: String,
        #[serde(default)]
        propagation: Option<String>,
        #[serde(default)]
        recursion: RecursionRecord,
        #[serde(default)]
        create_missing: bool,
    },
    Volume {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        driver: String,
        #[serde(default)]
        driver_options: BTreeMap<String, String>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        #[serde(default)]
        no_copy: bool,
        #[serde(default)]
        subpath: String,
    },
    Tmpfs {
        #[serde(default)]
        size: Option<u64>,
        #[serde(default)]
        mode: Option<u32>,
        #[serde(default)]
        options: Vec<String>,
    },
}

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RecursionRecord {
    #[default]
    Recursive,
    NonRecursive,
    ReadOnlyNonRecursive,
    ReadOnlyForceRecursive,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormRecord {
    Short(String),
    Long { consistency: String },
    Tmpfs(String),
    Implied,
}

impl MountRecord {
    pub(super) fn from_domain(mount: &MountRequest) -> Self {
        let MountRequest { target, source, read_only, form } = mount;
        Self {
            target: target.clone(),
            source: SourceRecord::from_domain(source),
            read_only: *read_only,
            form: match form.clone() {
                MountForm::Short(text) => FormRecord::Short(text),
                MountForm::Long { consistency } => FormRecord::Long { consistency },
                MountForm::Tmpfs(text) => FormRecord::Tmpfs(text),
                MountForm::Implied => FormRecord::Implied,
            },
        }
    }

    pub(super) fn into_domain(self) -> Result<MountRequest, String> {
        let Self { target, source, read_only, form } = self;
        Ok(MountRequest {
            target,
            source: source.into_domain()?,
            read_only,
            form: match form {
                FormRecord::Short(text) => MountForm::Short(text),
                FormRecord::Long { consistency } => MountForm::Long { consistency },
                FormRecord::Tmpfs(text) => MountForm::Tmpfs(text),
                FormRecord::Implied => MountForm::Implied,
            },
        })
    }
}

impl SourceRecord {
    fn from_domain(source: &MountSource) -> Self {
        match source.clone() {
            MountSource::Bind { path, propagation, recursion, create_missing } => Self::Bind {
                path,
                propagation: propagation.map(|it| it.name().to_owned()),
                recursion: match recursion {
                    Recursion::Recursive => RecursionRecord::Recursive,
                    Recursion::NonRecursive => RecursionRecord::NonRecursive,
                    Recursion::ReadOnlyNonRecursive => RecursionRecord::ReadOnlyNonRecursive,
                    Recursion::ReadOnlyForceRecursive => RecursionRecord::ReadOnlyForceRecursive,
                },
                create_missing,
            },
            MountSource::Volume { name, driver, driver_options, labels, no_copy, subpath } => {
                Self::Volume { name, driver, driver_options, labels, no_copy, subpath }
            }
            MountSource::Tmpfs { size, mode, options } => Self::Tmpfs { size, mode, options },
        }
    }

    fn into_domain(self) -> Result<MountSource, String> {
        Ok(match self {
            Self::Bind { path, propagation, recursion, create_missing } => MountSource::Bind {
                path,
                propagation: match propagation {
                    Some(word) => Some(Propagation::parse(&word).ok_or("propagation")?),
                    None => None,
                },
                recursion: match recursion {
                    RecursionRecord::Recursive => Recursion::Recursive,
                    RecursionRecord::NonRecursive => Recursion::NonRecursive,
                    RecursionRecord::ReadOnlyNonRecursive => Recursion::ReadOnlyNonRecursive,
                    RecursionRecord::ReadOnlyForceRecursive => Recursion::ReadOnlyForceRecursive,
                },
                create_missing,
            },
            Self::Volume { name, driver, driver_options, labels, no_copy, subpath } => {
                MountSource::Volume { name, driver, driver_options, labels, no_copy, subpath }
            }
            Self::Tmpfs { size, mode, options } => MountSource::Tmpfs { size, mode, options },
        })
    }
}
