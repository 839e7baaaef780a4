//! The keys about registries.

use anyhow::{Context as _, bail};
use ferry_distribution::{Insecure, ProxyConfig, RegistryConfig};
use http::Uri;

/// Where what is configured for single registries lies: our own directory before Docker's.
const CERTS_DIRS: [&str; 3] =
    ["/etc/ferry/certs.d", "/etc/docker/certs.d", "/etc/containerd/certs.d"];

/// How registries are reached unless told otherwise.
pub(super) fn default() -> RegistryConfig {
    RegistryConfig {
        certs_dirs: CERTS_DIRS.map(Into::into).to_vec(),
        user_agent: format!("ferry/{} docker/{}", crate::FERRY_VERSION, crate::VERSION),
        ..RegistryConfig::default()
    }
}

/// Reads the mirrors of Docker's registry, in Docker's words.
pub(super) fn mirrors(texts: &[String]) -> anyhow::Result<Vec<String>> {
    texts.iter().map(|text| mirror(text)).collect()
}

fn mirror(text: &str) -> anyhow::Result<String> {
    let invalid = |why: &str| format!("invalid mirror: {why} in {text:?}");
    let Ok(url) = text.parse::<Uri>() else { bail!(invalid("no URL")) };
    match url.scheme_str() {
        Some("http" | "https") => {}
        _ => bail!(
            "invalid mirror: no scheme specified for {text:?}: must use either 'https://' or 'http://'"
        ),
    }
    let authority = url.authority().with_context(|| invalid("no host"))?;
    if authority.as_str().contains('@') {
        bail!("invalid mirror: username/password not allowed in URI {:?}", authority.host());
    }
    if url.query().is_some() || text.contains('#') {
        bail!("invalid mirror: query or fragment at end of the URI {text:?}");
    }
    Ok(format!("{}/", text.trim_end_matches('/')))
}

/// Reads the registries that are trusted without proof.
pub(super) fn insecure(texts: &[String]) -> anyhow::Result<Vec<Insecure>> {
    let read = |text: &String| {
        // Compat: Docker takes a scheme here, and warns.
        let bare = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if bare.is_some() {
            tracing::warn!("insecure registry {text} should not contain '://'");
        }
        Ok(bare.unwrap_or(text).parse::<Insecure>()?)
    };
    texts.iter().map(read).collect()
}

/// Reads how many layers go over the network at once; `what` is part of Docker's words.
///
/// Compat: zero is as many as there are.
pub(super) fn at_once(what: &str, number: i64) -> anyhow::Result<usize> {
    match usize::try_from(number) {
        Ok(0) => Ok(tokio::sync::Semaphore::MAX_PERMITS),
        Ok(number) => Ok(number.min(tokio::sync::Semaphore::MAX_PERMITS)),
        Err(_) => bail!("invalid max concurrent {what}: {number}"),
    }
}

/// Reads how often something is tried.
pub(super) fn attempts(number: i64) -> anyhow::Result<u32> {
    match u32::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("invalid max download attempts: {number}"),
    }
}

/// What is configured goes before what the environment says, one by one.
pub(super) fn with_environment(configured: &ProxyConfig, environment: ProxyConfig) -> ProxyConfig {
    let ProxyConfig { http, https, no_proxy } = configured.clone();
    ProxyConfig {
        http: http.or(environment.http),
        https: https.or(environment.https),
        no_proxy: if no_proxy.is_empty() { environment.no_proxy } else { no_proxy },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        let got = mirror(text).map_err(|error| error.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), expect);
    }

    #[test]
    fn mirrors_are_read_as_docker_reads_them() {
        check("https://m.example", Ok("https://m.example/"));
        check("http://m.example:5000/v/", Ok("http://m.example:5000/v/"));
        check(
            "m.example",
            Err(
                "invalid mirror: no scheme specified for \"m.example\": must use either 'https://' or 'http://'",
            ),
        );
        check(
            "https://u:p@m.example",
            Err("invalid mirror: username/password not allowed in URI \"m.example\""),
        );
        check(
            "https://m.example/?a",
            Err("invalid mirror: query or fragment at end of the URI \"https://m.example/?a\""),
        );
    }

    #[test]
    fn numbers_are_bounded_as_docker_bounds_them() {
        assert_eq!(at_once("downloads", 3).unwrap(), 3);
        assert_eq!(at_once("downloads", 0).unwrap(), tokio::sync::Semaphore::MAX_PERMITS);
        let words = at_once("uploads", -1).unwrap_err().to_string();
        assert_eq!(words, "invalid max concurrent uploads: -1");
        assert_eq!(attempts(1).unwrap(), 1);
        assert_eq!(attempts(0).unwrap_err().to_string(), "invalid max download attempts: 0");
    }

    #[test]
    fn what_is_configured_goes_before_the_environment() {
        let proxy = |http: Option<&str>, no: &str| ProxyConfig {
            http: http.map(str::to_owned),
            https: None,
            no_proxy: no.to_owned(),
        };
        let both = with_environment(&proxy(Some("http://a"), ""), proxy(Some("http://b"), "c"));
        assert_eq!(both, proxy(Some("http://a"), "c"));
    }
}
