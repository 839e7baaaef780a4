//! `buildx imagetools inspect`

use std::rc::Rc;

use ferry_distribution::{RawManifest, Repository, RoleKind};
use ferry_oci::manifest::{Descriptor, Index};
use ferry_oci::reference::Reference;
use serde_json::{Value as Json, json};

use super::attestations::{Images, Kind};
use super::{Repositories, failure, refuse_builder};
use crate::command_line::Matches;
use crate::console;
use crate::format::tabs;
use crate::program::Cli;
use crate::registries;
use crate::report::Failure;
use crate::template::schema::typed;
use crate::template::{Field, Mode, Struct, Template, Value};

pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let typed = matches.args.first().map_or("", String::as_str);
    let format = matches.text("format");
    if matches.flag("raw") && !format.is_empty() {
        return Err(Failure::plain("format and raw cannot be used together"));
    }
    refuse_builder(matches)?;
    let name = Reference::parse(typed).map_err(|error| Failure::plain(error.to_string()))?;
    let name = name.with_default_tag();
    let template = match format {
        "" => None,
        text => Some(Template::parse(text).map_err(Failure::plain)?),
    };
    let repository = Repositories::new(cli, RoleKind::Pull).get(&name)?;
    let fetched = repository.manifest(&registries::selector(&name)).await;
    let raw = fetched.map_err(|error| failure(&name, error))?.raw;
    if matches.flag("debug") {
        console::complain(&format!("resolved {name} as {}", raw.digest));
    }
    if matches.flag("raw") {
        // Without a newline, so that the digest of what is printed is the right one.
        return console::print(&String::from_utf8_lossy(&raw.bytes));
    }
    let Some(template) = template else { return console::print(&table(&name, &raw)?) };
    // Compat: what begins with the manifest is the table, whatever comes after.
    let is_table = format
        .strip_prefix("{{")
        .is_some_and(|rest| rest.trim_start_matches(['-', ' ']).starts_with(".Manifest"));
    if is_table {
        return console::print(&table(&name, &raw)?);
    }
    let value = value(typed, format, &repository, &raw).await?;
    let mut out = String::new();
    let result = template.execute(&value, Mode::Buildx, &mut out);
    console::print(&out)?;
    result.map_err(|error| Failure::plain(format!("template: {}", error_of(&error))))
}

/// An error of a template, without the word that it may begin with already.
fn error_of(error: &str) -> &str {
    error.strip_prefix("template: ").unwrap_or(error)
}

/// What templates see.
async fn value(
    name: &str,
    format: &str,
    repository: &Repository,
    raw: &RawManifest,
) -> Result<Value, Failure> {
    let images = Images::load(repository, raw.clone()).await.map_err(registries::failure)?;
    let configs = images.configs(repository).await.map_err(registries::failure)?;
    let mut fields = vec![
        ("Name", Some("name"), Value::str(name)),
        ("Manifest", Some("manifest"), manifest(raw)?),
        ("Image", Some("image"), by_platform(&images, configs, "*v1.Image")),
    ];
    for (field, kind, stub) in [
        ("SBOM", Kind::Sbom, "imagetools.sbomStub"),
        ("Provenance", Kind::Provenance, "imagetools.provenanceStub"),
    ] {
        // They may be large: who does not ask for them does not wait for them.
        let found = match format.contains(field) {
            true => images.statements(repository, kind).await.map_err(registries::failure)?,
            false => serde_json::Map::new(),
        };
        fields.push((field, None, by_platform(&images, found, stub)));
    }
    let fields = fields.into_iter().map(|(name, json, value)| Field {
        name: name.into(),
        json: json.map(Into::into),
        omit_empty: true,
        embedded: false,
        value,
    });
    let type_name =
        if images.are_several() { "imagetools.tplInputs" } else { "imagetools.tplInput" };
    Ok(Value::Struct(Rc::new(Struct { type_name: type_name.into(), fields: fields.collect() })))
}

/// Of several images a map; of one the thing itself.
fn by_platform(images: &Images, found: serde_json::Map<String, Json>, type_name: &str) -> Value {
    if images.are_several() {
        return typed(&Json::Object(found), &format!("map[string]{type_name}"));
    }
    let one = found.into_iter().next().map_or(Json::Null, |(_, one)| one);
    typed(&one, type_name)
}

fn manifest(raw: &RawManifest) -> Result<Value, Failure> {
    let descriptor = raw.descriptor();
    let failed = |error: serde_json::Error| Failure::plain(error.to_string());
    if !descriptor.is_index() {
        let json = serde_json::to_value(&descriptor).map_err(failed)?;
        return Ok(typed(&json, "v1.Descriptor"));
    }
    let mut json: Json = serde_json::from_slice(&raw.bytes).map_err(failed)?;
    json["digest"] = json!(descriptor.digest);
    json["size"] = json!(descriptor.size);
    Ok(typed(&json, "imagetools.Index"))
}

/// What is shown without a template.
fn table(name: &Reference, raw: &RawManifest) -> Result<String, Failure> {
    let (kind, digest) = (console::cell(&raw.media_type), &raw.digest);
    let head = format!("Name:\t{name}\nMediaType:\t{kind}\nDigest:\t{digest}\n");
    if !raw.descriptor().is_index() {
        return Ok(tabs::align_from(&head, 0, 1));
    }
    let index = Index::parse(&raw.bytes)
        .map_err(|error| Failure::plain(format!("the index {digest}: {error}")))?;
    let mut out = tabs::align_from(&head, 0, 1);
    out.push_str(&tabs::align_from("\t\nManifests:\t\n", 0, 1));
    let mut block = String::new();
    for (at, member) in index.manifests.iter().enumerate() {
        if at > 0 {
            block.push_str("\t\n");
        }
        rows(name, member, &mut block);
        let is_shown = member.platform.is_some() && !member.annotations.is_empty();
        if is_shown {
            block.push_str("  Annotations:\t\n");
            out.push_str(&tabs::align_from(&std::mem::take(&mut block), 0, 1));
            let line = |(key, value): (&String, &String)| {
                format!("    {}:\t{}\n", console::cell(key), console::cell(value))
            };
            let lines = member.annotations.iter().map(line);
            out.push_str(&tabs::align_from(&lines.collect::<String>(), 0, 1));
        }
    }
    if !block.is_empty() {
        out.push_str(&tabs::align_from(&block, 0, 1));
    }
    Ok(out)
}

fn rows(name: &Reference, member: &Descriptor, out: &mut String) {
    let mut row =
        |key: &str, value: &str| out.push_str(&format!("  {key}:\t{}\n", console::cell(value)));
    match name.tag() {
        Some(tag) => row("Name", &format!("{}:{tag}@{}", name.name(), member.digest)),
        None => row("Name", &format!("{}@{}", name.name(), member.digest)),
    }
    row("MediaType", &member.media_type);
    let Some(platform) = &member.platform else { return };
    row("Platform", &platform.to_string());
    if !platform.os_version.is_empty() {
        row("OSVersion", &platform.os_version);
    }
    if !platform.os_features.is_empty() {
        row("OSFeatures", &platform.os_features.join(", "));
    }
    if !member.urls.is_empty() {
        row("URLs", &member.urls.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_shown_as_buildx_shows_it() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let index = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": "m", "digest": digest, "size": 1,
             "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"mediaType": "m", "digest": digest, "size": 1, "annotations": {"a": "b", "long": "c"},
             "platform": {"os": "unknown", "architecture": "unknown"}},
        ]});
        let raw = RawManifest::new(ferry_oci::manifest::media_type::OCI_INDEX, index.to_string());
        let name = Reference::parse("h:1/a:1").unwrap();
        let shown = table(&name, &raw).unwrap();
        let expect = format!(
            "Name:      h:1/a:1\n\
             MediaType: application/vnd.oci.image.index.v1+json\n\
             Digest:    {}\n\
             \x20          \n\
             Manifests: \n\
             \x20 Name:        h:1/a:1@{digest}\n\
             \x20 MediaType:   m\n\
             \x20 Platform:    linux/arm/v7\n\
             \x20              \n\
             \x20 Name:        h:1/a:1@{digest}\n\
             \x20 MediaType:   m\n\
             \x20 Platform:    unknown/unknown\n\
             \x20 Annotations: \n\
             \x20   a:    b\n\
             \x20   long: c\n",
            raw.digest
        );
        assert_eq!(shown, expect);
    }

    #[test]
    fn what_registries_say_does_not_command_the_terminal() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let index = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": "m\u{1b}[2J", "digest": digest, "size": 1, "urls": ["u\u{9b}1m"],
             "annotations": {"a\r": "b\n  Name:\tother\u{7f}"}, "platform": {
                "os": "l\u{1b}", "architecture": "a", "os.version": "\u{7}", "os.features": ["\u{8}"]}},
        ]});
        let raw = RawManifest::new(ferry_oci::manifest::media_type::OCI_INDEX, index.to_string());
        let shown = table(&Reference::parse("h:1/a:1").unwrap(), &raw).unwrap();
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(shown.matches("  Name:").count(), 2, "{shown}");
        assert_eq!(shown.lines().filter(|line| line.starts_with("  Name:")).count(), 1, "{shown}");
    }

    #[test]
    fn json_is_spread_over_lines() {
        let raw = RawManifest::new(ferry_oci::manifest::media_type::OCI_MANIFEST, "{}");
        let template = Template::parse("{{json .}}").unwrap();
        let mut out = String::new();
        template.execute(&manifest(&raw).unwrap(), Mode::Buildx, &mut out).unwrap();
        let expect = format!(
            "{{\n  \"mediaType\": \"{}\",\n  \"digest\": \"{}\",\n  \"size\": 2\n}}",
            raw.media_type, raw.digest
        );
        assert_eq!(out, expect);
    }
}
