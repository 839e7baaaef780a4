//! `--mount`, `--volume` and `--tmpfs`.

use std::collections::BTreeMap;
use std::path::Path;

use ferry_api::Mount;
use ferry_api::mount::{BindOptions, Driver, ImageOptions, TmpfsOptions, VolumeOptions};

use super::lists::key_value;
use super::numbers;
use crate::format::units::parse_bytes;

/// The fields of one line of comma-separated values; a field in double quotes may hold commas.
pub(crate) fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().map_or(0, |field| field.len());
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut fields, '"');
            }
            '"' if quoted => quoted = false,
            '"' if field == 0 => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            c => push(&mut fields, c),
        }
    }
    fields
}

fn push(fields: &mut [String], c: char) {
    if let Some(field) = fields.last_mut() {
        field.push(c);
    }
}

/// A path of this host that begins with a dot, made absolute.
pub(crate) fn absolute(path: &str) -> String {
    match std::env::current_dir() {
        Ok(here) if path.starts_with('.') => clean(&here.join(path)),
        _ => path.into(),
    }
}

/// A path without `.` and `..`, by its text alone.
fn clean(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

/// Reads the value of `--mount`.
pub(crate) fn mount(value: &str) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    for field in fields(value) {
        let (name, item) = match field.split_once('=') {
            Some((name, item)) => (name, Some(item)),
            None => (field.as_str(), None),
        };
        set(&mut mount, &name.to_lowercase(), item, &field)?;
    }
    check(&mount)?;
    Ok(mount)
}

fn set(mount: &mut Mount, name: &str, item: Option<&str>, field: &str) -> Result<(), String> {
    let Some(item) = item else {
        match name {
            "readonly" | "ro" => mount.read_only = true,
            "volume-nocopy" => volume(mount).no_copy = true,
            "bind-nonrecursive" => bind(mount).non_recursive = true,
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        return Ok(());
    };
    let invalid = || format!("invalid value for {name}: {item}");
    let truth = || numbers::boolean(item).map_err(|_error| invalid());
    match name {
        "type" => mount.kind = item.to_lowercase(),
        "source" | "src" if item == "." || item.starts_with("./") => mount.source = absolute(item),
        "source" | "src" => mount.source = item.into(),
        "target" | "dst" | "destination" => mount.target = item.into(),
        "readonly" | "ro" => mount.read_only = truth()?,
        "consistency" => mount.consistency = item.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = item.to_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = truth()?,
        "bind-recursive" => recursive(bind(mount), item)?,
        "bind-create-src" => bind(mount).create_mountpoint = truth()?,
        "volume-subpath" => volume(mount).subpath = item.into(),
        "volume-nocopy" => volume(mount).no_copy = truth()?,
        "volume-label" => insert(&mut volume(mount).labels, item),
        "volume-driver" => driver(mount).name = item.into(),
        "volume-opt" => insert(&mut driver(mount).options, item),
        "image-subpath" => {
            mount.image_options.get_or_insert_with(ImageOptions::default).subpath = item.into();
        }
        "tmpfs-size" => tmpfs(mount).size_bytes = parse_bytes(item).map_err(|_error| invalid())?,
        "tmpfs-mode" => {
            tmpfs(mount).mode = u32::from_str_radix(item, 8).map_err(|_error| invalid())?;
        }
        _ => return Err(format!("unexpected key '{name}' in '{field}'")),
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_with(BindOptions::default)
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_with(VolumeOptions::default)
}

fn driver(mount: &mut Mount) -> &mut Driver {
    volume(mount).driver_config.get_or_insert_with(Driver::default)
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default)
}

fn insert(map: &mut BTreeMap<String, String>, item: &str) {
    let (key, value) = key_value(item);
    if !key.is_empty() {
        map.insert(key, value);
    }
}

fn recursive(options: &mut BindOptions, item: &str) -> Result<(), String> {
    match item {
        "enabled" => options.non_recursive = false,
        "disabled" => options.non_recursive = true,
        "writable" => options.read_only_non_recursive = true,
        "readonly" => options.read_only_force_recursive = true,
        _ => {
            return Err(format!(
                "invalid value for bind-recursive: {item} (must be \"enabled\", \"disabled\", \
                 \"writable\", or \"readonly\")"
            ));
        }
    }
    Ok(())
}

fn check(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.as_str();
    let needs = |option: &str, other: &str| {
        Err(format!("option '{option}' requires '{other}' to be specified in conjunction"))
    };
    if kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let mixed = [
        ("volume", mount.volume_options.is_some()),
        ("bind", mount.bind_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
        ("image", mount.image_options.is_some()),
    ];
    if let Some((other, _)) = mixed.into_iter().find(|(name, is_set)| *is_set && *name != kind) {
        return Err(format!("cannot mix '{other}-*' options with mount type '{kind}'"));
    }
    if let Some(options) = &mount.bind_options {
        if options.read_only_non_recursive && !mount.read_only {
            return needs("bind-recursive=writable", "readonly");
        }
        if options.read_only_force_recursive && !mount.read_only {
            return needs("bind-recursive=readonly", "readonly");
        }
        if options.read_only_force_recursive && options.propagation != "rprivate" {
            return needs("bind-recursive=readonly", "bind-propagation=rprivate");
        }
    }
    Ok(())
}

/// What `--volume` means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A volume without a name, at a path.
    Anonymous,
    /// The text for `Binds`.
    Bind(String),
}

/// Reads the value of `--volume`.
pub(crate) fn volume_spec(spec: &str) -> Result<Volume, String> {
    let invalid = |why: &str| Err(format!("invalid spec: {spec}: {why}"));
    if spec.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    if spec.chars().count() <= 2 {
        return Ok(Volume::Anonymous);
    }
    let mut sections = vec![String::new()];
    for c in spec.chars() {
        let section = sections.last().map_or("", String::as_str);
        // Compat: Docker takes one letter before a colon for a Windows drive.
        let mut letters = section.chars();
        let is_drive = letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none();
        if c == ':' && !is_drive {
            sections.push(String::new());
        } else {
            push(&mut sections, c);
        }
    }
    if let [_, _, _, _, ..] = sections.as_slice() {
        return invalid("too many colons");
    }
    if sections.iter().any(String::is_empty) {
        return invalid("empty section between colons");
    }
    let [source, ..] = sections.as_slice() else { return Ok(Volume::Anonymous) };
    if sections.len() == 1 {
        return Ok(Volume::Anonymous);
    }
    if source.starts_with('.') {
        let (_, rest) = spec.split_once(':').unwrap_or((spec, ""));
        return Ok(Volume::Bind(format!("{}:{rest}", absolute(source))));
    }
    Ok(Volume::Bind(spec.into()))
}
