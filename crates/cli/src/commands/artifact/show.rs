//! `artifact inspect` and `artifact ls`

use ferry_distribution::{RawManifest, RoleKind};
use ferry_oci::manifest::{Descriptor, Manifest, media_type};
use ferry_oci::reference::Reference;
use serde_json::{Value as Json, json};

use super::{TITLE, fetch, kind};
use crate::command_line::Matches;
use crate::console;
use crate::format::indent_json;
use crate::format::listing::{Listing, Row};
use crate::format::units::human_size;
use crate::program::Cli;
use crate::report::Failure;
use crate::template::schema::typed;
use crate::template::{Mode, Template, Value};

const HEADINGS: [(&str, &str); 4] =
    [("File", "FILE"), ("MediaType", "MEDIA TYPE"), ("Size", "SIZE"), ("Digest", "DIGEST")];

/// `artifact inspect`
pub(in crate::commands) async fn inspect(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let template = match matches.text("format") {
        "" | "json" => None,
        text => Some(
            Template::parse(text)
                .map_err(|error| Failure::new(64, format!("template parsing error: {error}")))?,
        ),
    };
    let (name, repository) = super::open(cli, matches, RoleKind::Pull)?;
    let (raw, manifest) = fetch(&name, &repository).await?;
    let shown = shown(&name, &raw, &manifest);
    let Some(template) = template else {
        let text = console::harmless_json(&shown.to_string());
        let is_plain = matches.text("format") == "json";
        return console::line(&if is_plain { text } else { indent_json(&text) });
    };
    let mut out = String::new();
    template
        .execute(&typed(&shown, "artifact.Inspect"), Mode::Plain, &mut out)
        .map_err(|error| Failure::new(64, format!("template parsing error: {error}")))?;
    console::line(&console::harmless(&out))
}

/// `artifact ls`
pub(in crate::commands) async fn list(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let (name, repository) = super::open(cli, matches, RoleKind::Pull)?;
    let (_, manifest) = fetch(&name, &repository).await?;
    let format = match matches.text("format") {
        "" | "table" => "table {{.File}}\\t{{.MediaType}}\\t{{.Size}}\\t{{.Digest}}",
        other => other,
    };
    let listing = Listing { format, headings: &HEADINGS };
    let rows = files(&manifest).map(row).collect();
    console::print(&listing.render(rows).map_err(Failure::plain)?)
}

/// The layers, but for the empty one that stands for none.
fn files(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    manifest.layers.iter().filter(|layer| layer.media_type != media_type::OCI_EMPTY)
}

fn title(file: &Descriptor) -> &str {
    file.annotations.get(TITLE).map_or("", String::as_str)
}

fn row(file: &Descriptor) -> Row {
    let size = human_size(i64::try_from(file.size).unwrap_or(i64::MAX), 4);
    let cells = vec![
        ("Digest", Value::str(file.digest.as_str())),
        ("File", Value::str(console::cell(title(file)))),
        ("MediaType", Value::str(console::cell(&file.media_type))),
        ("Size", Value::str(size)),
    ];
    let label = |(key, value): (&String, &String)| (console::cell(key), console::cell(value));
    let labels = file.annotations.iter().map(label).collect();
    Row { type_name: "*artifact.context", cells, labels }
}

fn shown(name: &Reference, raw: &RawManifest, manifest: &Manifest) -> Json {
    let files = files(manifest).map(|file| {
        json!({
            "Title": title(file), "MediaType": file.media_type, "Digest": file.digest,
            "Size": file.size, "Annotations": file.annotations,
        })
    });
    json!({
        "Name": name.familiar(),
        "Digest": raw.digest,
        "MediaType": raw.media_type,
        "ArtifactType": kind(manifest),
        "Subject": manifest.subject,
        "Config": manifest.config,
        "Files": files.collect::<Vec<_>>(),
        "Annotations": manifest.annotations,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ferry_distribution::{ArtifactParts, build_artifact};
    use ferry_oci::digest::Digest;

    use super::*;

    #[test]
    fn an_artifact_is_shown_with_its_files() {
        let mut file = Descriptor::new("text/plain", Digest::sha256_of(b"x"), 1500);
        file.annotations.insert(TITLE.into(), "x.txt".into());
        let raw = build_artifact(ArtifactParts {
            artifact_type: Some("text/x".into()),
            files: vec![file],
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            ..ArtifactParts::default()
        });
        let manifest = Manifest::parse(&raw.bytes).unwrap();
        let name = Reference::parse("h:1/a:1").unwrap();
        let value = typed(&shown(&name, &raw, &manifest), "artifact.Inspect");
        let template = "{{.ArtifactType}} {{(index .Files 0).Title}} {{index .Annotations \"a\"}}";
        let mut out = String::new();
        Template::parse(template).unwrap().execute(&value, Mode::Plain, &mut out).unwrap();
        assert_eq!(out, "text/x x.txt b");
        let listing = Listing { format: "{{.File}} {{.Size}}", headings: &HEADINGS };
        assert_eq!(listing.render(files(&manifest).map(row).collect()).unwrap(), "x.txt 1.5kB\n");
    }
}
