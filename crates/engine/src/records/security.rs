//! What keeps a container from harm, in its record.

use ferry_oci::runtime::Seccomp;
use serde::{Deserialize, Serialize};

use crate::spec::{SeccompChoice, Security};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SecurityRecord {
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    seccomp: SeccompRecord,
    #[serde(default)]
    no_new_privileges: bool,
    #[serde(default)]
    system_paths_unconfined: bool,
    #[serde(default)]
    masked_paths: Option<Vec<String>>,
    #[serde(default)]
    readonly_paths: Option<Vec<String>>,
}

impl SecurityRecord {
    pub(super) fn from_domain(domain: &Security) -> Self {
        let Security {
            options,
            seccomp,
            no_new_privileges,
            system_paths_unconfined,
            masked_paths,
            readonly_paths,
        } = domain;
        Self {
            options: options.clone(),
            seccomp: SeccompRecord::from_domain(seccomp),
            no_new_privileges: *no_new_privileges,
            system_paths_unconfined: *system_paths_unconfined,
            masked_paths: masked_paths.clone(),
            readonly_paths: readonly_paths.clone(),
        }
    }

    pub(super) fn into_domain(self) -> Result<Security, String> {
        let Self {
            options,
            seccomp,
            no_new_privileges,
            system_paths_unconfined,
            masked_paths,
            readonly_paths,
        } = self;
        Ok(Security {
            options,
            seccomp: seccomp.into_domain(),
            no_new_privileges,
            system_paths_unconfined,
            masked_paths,
            readonly_paths,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SeccompRecord {
    #[default]
    Default,
    Unconfined,
    Profile(Box<Seccomp>),
}

impl SeccompRecord {
    pub(super) fn from_domain(choice: &SeccompChoice) -> Self {
        match choice {
            SeccompChoice::Default => Self::Default,
            SeccompChoice::Unconfined => Self::Unconfined,
            SeccompChoice::Profile(profile) => Self::Profile(profile.clone()),
        }
    }

    pub(super) fn into_domain(self) -> SeccompChoice {
        match self {
            Self::Default => SeccompChoice::Default,
            Self::Unconfined => SeccompChoice::Unconfined,
            Self::Profile(profile) => SeccompChoice::Profile(profile),
        }
    }
}
