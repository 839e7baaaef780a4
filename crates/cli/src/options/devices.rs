//! Devices, their limits, and limits of processes.

use std::collections::BTreeMap;

use ferry_api::Ulimit;
use ferry_api::host_config::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};

use super::numbers;
use crate::format::units::parse_bytes;
use crate::template::quote::quote;

/// `source[:target[:permissions]]`
pub(crate) fn device(value: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<&str> = value.split(':').collect();
    let is_mode = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        let count = letters.len();
        letters.dedup();
        count > 0 && count == letters.len() && letters.iter().all(|c| "rwm".contains(*c))
    };
    let (source, target, mode) = match parts[..] {
        [path] => (path, path, "rwm"),
        [path, mode] if is_mode(mode) => (path, path, mode),
        [source, target] => (source, target, "rwm"),
        [_, _, mode] if !is_mode(mode) => return Err(format!("bad mode specified: {mode}")),
        [source, target, mode] => (source, target, mode),
        _ => return Err(format!("bad format for path: {value}")),
    };
    if !target.starts_with('/') {
        return Err(format!("{target} is not an absolute path"));
    }
    Ok(DeviceMapping {
        path_on_host: source.into(),
        path_in_container: target.into(),
        cgroup_permissions: mode.into(),
    })
}

/// Whether it is the name of a CDI device: `vendor/class=name`.
pub(crate) fn is_cdi_name(value: &str) -> bool {
    value.split_once('=').is_some_and(|(kind, name)| {
        let is_word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c))
        };
        is_word(name)
            && kind.split_once('/').is_some_and(|(vendor, class)| is_word(vendor) && is_word(class))
    })
}

/// `type major:minor permissions`
pub(crate) fn cgroup_rule(value: &str) -> Result<String, String> {
    let is_number =
        |text: &str| text == "*" || !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let parts: Vec<&str> = value.split(' ').collect();
    let is_rule = match parts[..] {
        [kind, numbers, mode] => {
            matches!(kind, "a" | "b" | "c")
                && numbers
                    .split_once(':')
                    .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
                && (1..=3).contains(&mode.len())
                && mode.chars().all(|c| "rwm".contains(c))
        }
        _ => false,
    };
    if is_rule { Ok(value.into()) } else { Err(format!("invalid device cgroup format '{value}'")) }
}

fn path_and_value(value: &str) -> Result<(&str, &str), String> {
    let Some((path, amount)) = value.split_once(':').filter(|(path, _)| !path.is_empty()) else {
        return Err(format!("bad format: {value}"));
    };
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {value}"));
    }
    Ok((path, amount))
}

/// `path:rate`, in bytes or in operations per second.
pub(crate) fn throttle(value: &str, in_bytes: bool) -> Result<ThrottleDevice, String> {
    let (path, rate) = path_and_value(value)?;
    let parsed = if in_bytes {
        parse_bytes(rate).ok().and_then(|rate| u64::try_from(rate).ok())
    } else {
        rate.parse().ok()
    };
    let Some(rate) = parsed else {
        let form = if in_bytes {
            "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and \
             can be kb, mb, or gb"
        } else {
            "<device-path>:<number>. Number must be a positive integer"
        };
        return Err(format!("invalid rate for device: {value}. The correct format is {form}"));
    };
    Ok(ThrottleDevice { path: path.into(), rate })
}

/// `path:weight`, between 10 and 1000; zero is none.
pub(crate) fn weight(value: &str) -> Result<WeightDevice, String> {
    let (path, weight) = path_and_value(value)?;
    let weight = weight
        .parse()
        .ok()
        .filter(|weight| *weight == 0 || (10..=1000).contains(weight))
        .ok_or_else(|| format!("invalid weight for device: {value}"))?;
    Ok(WeightDevice { path: path.into(), weight })
}

/// `type=soft[:hard]`
pub(crate) fn ulimit(value: &str) -> Result<Ulimit, String> {
    const TYPES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let Some((name, limits)) = value.split_once('=') else {
        return Err(format!("invalid ulimit argument: {value}"));
    };
    if !TYPES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_error| format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text)))
    };
    let parts: Vec<&str> = limits.split(':').collect();
    let (soft, hard) = match parts[..] {
        [both] => (number(both)?, number(both)?),
        [soft, hard] => (number(soft)?, number(hard)?),
        _ => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, \
                 `soft[:hard]`"
            ));
        }
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(if soft == -1 {
            format!(
                "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
            )
        } else {
            format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
        });
    }
    Ok(Ulimit { name: name.into(), hard, soft })
}

/// `all`, a count, or `key=value` pairs with commas.
pub(crate) fn gpus(value: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut capabilities: Vec<String> = Vec::new();
    for field in super::mounts::fields(value) {
        let (key, item) = field.split_once('=').unwrap_or(("count", field.as_str()));
        let invalid_count = || {
            format!(
                "invalid count ({item}): value must be either \"all\" or an integer: invalid syntax"
            )
        };
        match key {
            "driver" => request.driver = item.into(),
            "count" if item == "all" => request.count = -1,
            "count" => request.count = numbers::int(item).map_err(|_error| invalid_count())?,
            "device" => request.device_ids = Some(item.split(',').map(Into::into).collect()),
            "capabilities" => capabilities.extend(item.split(',').map(String::from)),
            "options" => {
                let pairs = item.split(',').map(super::lists::key_value);
                request.options = Some(pairs.collect::<BTreeMap<_, _>>());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if request.device_ids.is_none() && request.count == 0 && !value.contains("count") {
        request.count = 1;
    }
    if capabilities.iter().all(|capability| capability != "gpu") {
        capabilities.push("gpu".into());
    }
    request.capabilities = Some(vec![capabilities]);
    if request.options.is_none() {
        request.options = Some(BTreeMap::new());
    }
    Ok(request)
}
