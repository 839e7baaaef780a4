//! `image prune`

use ferry_api::Filters;
use ferry_api::query::ImagePruneQuery;
use serde_json::Value as Json;

use crate::command_line::Matches;
use crate::config::Config;
use crate::format::units::human_size;
use crate::program::Cli;
use crate::report::Failure;
use crate::{console, prompt};

/// `image prune`
pub(super) async fn images(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let all = matches.flag("all");
    let mut filters = super::filters(matches);
    filters.add("dangling", (!all).to_string());
    add_configured(&mut filters, &cli.config);
    let which = if all {
        "images without at least one container associated to them"
    } else {
        "dangling images"
    };
    let warning =
        format!("WARNING! This will remove all {which}.\nAre you sure you want to continue?");
    if !matches.flag("force") && !prompt::confirm(&warning).await? {
        // Compat: it is no failure, and nothing is said.
        return Ok(());
    }
    let report = cli.client.image_prune(&ImagePruneQuery { filters }).await?;
    let mut out = String::new();
    for item in report.images_deleted.as_deref().unwrap_or_default() {
        if out.is_empty() {
            out.push_str("Deleted Images:\n");
        }
        if item.untagged.is_empty() {
            out.push_str(&format!("deleted: {}\n", item.deleted));
        } else {
            out.push_str(&format!("untagged: {}\n", item.untagged));
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let bytes = i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX);
    console::print(&format!("{out}Total reclaimed space: {}\n", human_size(bytes, 4)))
}

/// Adds `pruneFilters` of the configuration, unless the opposite was typed.
fn add_configured(filters: &mut Filters, config: &Config) {
    let configured = config.json().get("pruneFilters").and_then(Json::as_array);
    for text in configured.into_iter().flatten().filter_map(Json::as_str) {
        let Some((name, value)) = text.split_once('=') else { continue };
        let opposite = match name {
            "label" => "label!",
            "label!" => "label",
            _ => "",
        };
        if opposite.is_empty() || !filters.values(opposite).any(|it| it == value) {
            filters.add(name, value);
        }
    }
}
