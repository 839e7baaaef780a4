//! Where the credentials of a registry are kept.

use ferry_api::registry::AuthConfig;
use serde_json::Value as Json;

use super::{file, helper};
use crate::config::Config;
use crate::console;

/// Where the credentials of one registry are kept: in the file, or with a helper.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    config: &'a Config,
    helper: Option<String>,
    /// The helper was not configured; it is from the first credentials on.
    is_default: bool,
}

impl<'a> Store<'a> {
    /// The store that `credHelpers` has for the registry, else that of `credsStore`, else the
    /// system's while no credentials are in the file.
    pub(crate) fn of(config: &'a Config, server: &str) -> Self {
        let json = config.json();
        let text = |value: Option<&Json>| value.and_then(Json::as_str).map(str::to_owned);
        let own = text(json.get("credHelpers").and_then(|helpers| helpers.get(server)));
        let helper = own.or_else(|| text(json.get("credsStore"))).filter(|name| !name.is_empty());
        let has_any = |key: &str| {
            json.get(key).and_then(Json::as_object).is_some_and(|entries| !entries.is_empty())
        };
        if helper.is_none() && !has_any("credHelpers") && !has_any("auths") {
            let helper = helper::default_name().map(str::to_owned);
            let is_default = helper.is_some();
            return Self { config, helper, is_default };
        }
        Self { config, helper, is_default: false }
    }

    /// The credentials of a registry; nobody's when none are kept.
    pub(crate) fn get(&self, server: &str) -> Result<AuthConfig, String> {
        match &self.helper {
            Some(name) => helper::get(name, server),
            None => Ok(file::get(self.config, server)),
        }
    }

    /// Keeps credentials. A password in the file is warned of once.
    pub(crate) fn store(&self, auth: &AuthConfig) -> Result<(), String> {
        if let Some(name) = &self.helper {
            helper::store(name, auth)?;
            // The file says only that there are some.
            let known =
                AuthConfig { serveraddress: auth.serveraddress.clone(), ..AuthConfig::default() };
            let default = self.is_default.then_some(name.as_str());
            return file::store(self.config, &known, default).map(drop);
        }
        let is_new = file::store(self.config, auth, None)?;
        if is_new && !auth.password.is_empty() {
            console::complain(&format!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
                 Configure a credential helper to remove this warning. See\n\
                 https://docs.docker.com/go/credential-store/\n",
                self.config.path().display()
            ));
        }
        Ok(())
    }

    /// Forgets the credentials of a registry.
    pub(crate) fn erase(&self, server: &str) -> Result<(), String> {
        if let Some(name) = &self.helper {
            helper::erase(name, server)?;
        }
        file::erase(self.config, server)
    }
}
