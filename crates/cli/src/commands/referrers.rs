//! `image referrers`: what a registry has about an image, such as signatures.

use ferry_distribution::{RoleKind, Selector};
use ferry_oci::manifest::Descriptor;
use ferry_oci::reference::Reference;

use crate::command_line::Matches;
use crate::console;
use crate::format::listing::{Listing, Row};
use crate::format::units::human_size;
use crate::program::Cli;
use crate::registries::{self, Access};
use crate::report::Failure;
use crate::template::Value;

const HEADINGS: [(&str, &str); 4] = [
    ("Digest", "DIGEST"),
    ("ArtifactType", "ARTIFACT TYPE"),
    ("MediaType", "MEDIA TYPE"),
    ("Size", "SIZE"),
];

/// `image referrers`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let name = matches.args.first().map_or("", String::as_str);
    let name = Reference::parse(name).map_err(|error| Failure::plain(error.to_string()))?;
    let access = Access {
        is_insecure: !matches.flag_or_true("tls-verify"),
        credentials: matches.value("creds").map(str::to_owned),
        ..Access::default()
    };
    let repository = registries::open(&cli.config, &name, RoleKind::Pull, &access)?;
    let subject = match registries::selector(&name) {
        Selector::Digest(digest) => digest,
        tag @ Selector::Tag(_) => {
            let found = repository.head_manifest(&tag).await.map_err(registries::failure)?;
            let missing = || Failure::plain(format!("no such manifest: {name}"));
            found.ok_or_else(missing)?.digest
        }
    };
    let wanted = matches.value("artifact-type");
    let found = repository.referrers(&subject, wanted).await.map_err(registries::failure)?;
    let format = match matches.text("format") {
        "" | "table" => "table {{.Digest}}\\t{{.ArtifactType}}\\t{{.Size}}",
        other => other,
    };
    let listing = Listing { format, headings: &HEADINGS };
    console::print(&listing.render(found.iter().map(row).collect()).map_err(Failure::plain)?)
}

fn row(referrer: &Descriptor) -> Row {
    let size = human_size(i64::try_from(referrer.size).unwrap_or(i64::MAX), 4);
    let kind = referrer.artifact_type.as_deref().unwrap_or_default();
    let cells = vec![
        ("ArtifactType", Value::str(console::cell(kind))),
        ("Digest", Value::str(referrer.digest.as_str())),
        ("MediaType", Value::str(console::cell(&referrer.media_type))),
        ("Size", Value::str(size)),
    ];
    let label = |(key, value): (&String, &String)| (console::cell(key), console::cell(value));
    let labels = referrer.annotations.iter().map(label).collect();
    Row { type_name: "*referrers.context", cells, labels }
}

#[cfg(test)]
mod tests {
    use ferry_oci::digest::Digest;

    use super::*;

    #[test]
    fn a_referrer_is_a_row() {
        let mut referrer = Descriptor::new("m", Digest::sha256_of(b""), 1500);
        referrer.artifact_type = Some("application/sig".into());
        let format = "{{.ArtifactType}} {{.MediaType}} {{.Size}}";
        let listing = Listing { format, headings: &HEADINGS };
        assert_eq!(listing.render(vec![row(&referrer)]).unwrap(), "application/sig m 1.5kB\n");
    }
}
