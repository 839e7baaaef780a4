//! `system scrub` and `system convert-layers`, which are ours: looking over what is stored.

use ferry_api::maintenance::{ConvertReport, ScrubFinding, ScrubReport};
use ferry_api::query::{ConvertLayersQuery, ScrubQuery};
use serde_json::Value as Json;

use super::progress::{self, Sink};
use crate::command_line::Matches;
use crate::console;
use crate::credentials::{Store, key};
use crate::program::Cli;
use crate::report::Failure;

/// `system scrub`; it fails when something is damaged and was not mended.
pub(super) async fn scrub(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = ScrubQuery { repair: matches.flag("repair") };
    let registry = matches.value("registry").unwrap_or("docker.io");
    let key = key(registry);
    // A store that fails knows nobody; the registry may not ask.
    let mut auth = Store::of(&cli.config, key).get(key).unwrap_or_default();
    key.clone_into(&mut auth.serveraddress);
    let auth = auth.to_header();
    let messages = cli.client.scrub(&query, Some(&auth)).await?;
    let mut report = None;
    let mut lines = Vec::new();
    progress::show_with(messages, Sink::Stderr, &mut |aux| {
        if aux.get("Damage").is_some() {
            lines.extend(finding(aux));
        } else {
            report = serde_json::from_value::<ScrubReport>(aux.clone()).ok();
        }
    })
    .await?;
    for line in lines {
        console::line(&line)?;
    }
    let report = report.ok_or_else(|| Failure::plain("the engine did not end its report"))?;
    let checked: Vec<String> =
        report.checked.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    console::line(&format!(
        "Checked: {}\nDamaged: {}\nRepaired: {}",
        checked.join(", "),
        report.damaged,
        report.repaired
    ))?;
    if report.damaged > report.repaired { Err(Failure::silent(1)) } else { Ok(()) }
}

/// One thing that was found: `layer sha256:...: problem (repair)`.
fn finding(aux: &Json) -> Option<String> {
    let finding: ScrubFinding = serde_json::from_value(aux.clone()).ok()?;
    let damage = finding.damage?;
    let repair = match damage.repair.as_str() {
        "" | "none" => String::new(),
        repair => format!(" ({repair})"),
    };
    Some(format!("{} {}: {}{repair}", damage.kind, damage.digest, damage.problem))
}

/// `system convert-layers`
pub(super) async fn convert(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = ConvertLayersQuery { driver: matches.args.first().cloned() };
    let messages = cli.client.convert_layers(&query).await?;
    let mut report = ConvertReport::default();
    progress::show_with(messages, Sink::Stderr, &mut |aux| {
        if let Ok(last) = serde_json::from_value(aux.clone()) {
            report = last;
        }
    })
    .await?;
    console::line(&format!(
        "Converted: {}\nIn use: {}\nDamaged: {}",
        report.converted, report.in_use, report.damaged
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line() {
        let aux = serde_json::json!({"Damage": {
            "Kind": "blob", "Digest": "sha256:1", "Problem": "its bytes have another digest",
            "Images": [], "Repair": "pulled",
        }});
        assert_eq!(finding(&aux).unwrap(), "blob sha256:1: its bytes have another digest (pulled)");
        assert_eq!(finding(&serde_json::json!({"Damaged": 0})), None);
    }
}
