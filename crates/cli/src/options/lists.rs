//! Values of flags that may come many times.

use std::net::IpAddr;

use crate::template::quote::quote;

/// `NAME=value`, or `NAME` for the value that the client's environment has.
pub(crate) fn env(value: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let name = value.split('=').next().unwrap_or_default();
    if name.is_empty() {
        return Err(format!("invalid environment variable: {value}"));
    }
    if value.contains('=') {
        return Ok(value.into());
    }
    Ok(lookup(name).map_or_else(|| value.into(), |found| format!("{name}={found}")))
}

/// A label, with or without a value.
pub(crate) fn label(value: &str) -> Result<String, String> {
    if value.split('=').next().unwrap_or_default().is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    Ok(value.into())
}

/// `name=value` of a filter, in the form the engine wants: the name in lower case.
pub(crate) fn filter(value: &str) -> Result<String, String> {
    let Some((name, rest)) = value.split_once('=') else {
        return Err("bad format of filter (expected name=value)".into());
    };
    Ok(format!("{}={}", name.trim().to_lowercase(), rest.trim()))
}

/// `host:ip` or `host=ip`.
pub(crate) fn extra_host(value: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: {}", quote(value));
    let (host, address) =
        value.split_once('=').or_else(|| value.split_once(':')).ok_or_else(bad)?;
    if host.is_empty() || host.contains(':') {
        return Err(bad());
    }
    let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = inner.filter(|inner| !inner.is_empty()).unwrap_or(address);
    if address != "host-gateway" && ip_address(address).is_err() {
        return Err(format!("invalid IP address in add-host: {}", quote(address)));
    }
    Ok(format!("{host}:{address}"))
}

/// An address in its usual form.
pub(crate) fn ip_address(value: &str) -> Result<String, String> {
    value
        .trim()
        .parse::<IpAddr>()
        .map(|address| address.to_string())
        .map_err(|_error| format!("IP address is not correctly formatted: {value}"))
}

/// One of the standard streams.
pub(crate) fn attach(value: &str) -> Result<String, String> {
    let lower = value.to_lowercase();
    if matches!(lower.as_str(), "stdin" | "stdout" | "stderr") {
        return Ok(lower);
    }
    Err("valid streams are STDIN, STDOUT and STDERR".into())
}

/// A domain to search names in; a dot is none.
pub(crate) fn dns_search(value: &str) -> Result<String, String> {
    let value = value.trim_matches(' ');
    if value == "." {
        return Ok(value.into());
    }
    let bad = || format!("{value} is not a valid domain");
    let name = value.strip_suffix('.').unwrap_or(value);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.starts_with(|c: char| c.is_ascii_alphanumeric())
            && label.ends_with(|c: char| c.is_ascii_alphanumeric())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let has_letter = name.chars().any(|c| c.is_ascii_alphabetic());
    if !has_letter || name.len() >= 255 || !name.split('.').all(is_label) {
        return Err(bad());
    }
    Ok(name.into())
}

/// `name[:alias]`
pub(crate) fn link(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("empty string specified for links".into());
    }
    if value.split(':').count() > 2 {
        return Err(format!("bad format for links: {value}"));
    }
    Ok(value.into())
}

/// A kernel parameter that belongs to a namespace.
pub(crate) fn sysctl(value: &str) -> Result<String, String> {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    match value.split_once('=') {
        Some((name, _))
            if NAMES.contains(&name)
                || name.starts_with("net.")
                || name.starts_with("fs.mqueue.") =>
        {
            Ok(value.into())
        }
        _ => Err(format!("sysctl '{value}' is not allowed")),
    }
}

/// Splits `name=value` at the first `=`; without one the value is empty.
pub(crate) fn key_value(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.into(), value.into())
}
