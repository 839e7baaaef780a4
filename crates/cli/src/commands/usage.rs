//! `system df`

mod verbose;

use ferry_api::query::DiskUsageQuery;
use ferry_api::{ContainerSummary, DiskUsage};
use jiff::Timestamp;

use crate::command_line::Matches;
use crate::console;
use crate::format::listing::{Listing, Row};
use crate::format::units::human_size;
use crate::program::Cli;
use crate::report::Failure;
use crate::template::Value;

const RAW: &str = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\n\
                   reclaimable: {{.Reclaimable}}\n";

const TYPE: &str = "*formatter.diskUsageImagesContext";

const HEADINGS: [(&str, &str); 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// `system df`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let format = match matches.text("format") {
        "" | "table" => {
            "table {{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}"
        }
        "raw" => RAW,
        other => other,
    };
    let usage = cli.client.disk_usage(&DiskUsageQuery::default()).await?;
    if matches.flag("verbose") {
        let text = verbose::show(&usage, matches.text("format"), Timestamp::now());
        return console::print(&text.map_err(Failure::plain)?);
    }
    let rows = vec![images(&usage), containers(&usage), local_volumes(&usage), cache(&usage)];
    let listing = Listing { format, headings: &HEADINGS };
    console::print(&listing.render(rows).map_err(Failure::plain)?)
}

fn row(kind: &str, total: usize, active: usize, size: i64, reclaimable: String) -> Row {
    let cells = vec![
        ("Active", Value::str(active.to_string())),
        ("Reclaimable", Value::str(reclaimable)),
        ("Size", Value::str(human_size(size, 4))),
        ("TotalCount", Value::str(total.to_string())),
        ("Type", Value::str(kind)),
    ];
    Row { type_name: TYPE, cells, labels: Vec::new() }
}

/// A size, and how much of the whole it is.
fn share(part: i64, whole: i64) -> String {
    let size = human_size(part, 4);
    if whole > 0 { format!("{size} ({}%)", part * 100 / whole) } else { size }
}

fn images(usage: &DiskUsage) -> Row {
    let used: Vec<_> = usage.images.iter().filter(|image| image.containers > 0).collect();
    let unique: i64 = used
        .iter()
        .filter(|image| image.size != -1 && image.shared_size != -1)
        .map(|image| image.size - image.shared_size)
        .sum();
    let whole = usage.layers_size;
    row("Images", usage.images.len(), used.len(), whole, share(whole - unique, whole))
}

fn is_active(container: &ContainerSummary) -> bool {
    container.state.contains("running")
        || container.state.contains("paused")
        || container.state.contains("restarting")
}

fn containers(usage: &DiskUsage) -> Row {
    let all: i64 = usage.containers.iter().map(|container| container.size_rw).sum();
    let idle: i64 = usage
        .containers
        .iter()
        .filter(|container| !is_active(container))
        .map(|container| container.size_rw)
        .sum();
    let active = usage.containers.iter().filter(|container| is_active(container)).count();
    row("Containers", usage.containers.len(), active, all, share(idle, all))
}

fn local_volumes(usage: &DiskUsage) -> Row {
    let known = || usage.volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
    let all: i64 = known().filter(|it| it.size != -1).map(|it| it.size).sum();
    let used: i64 = known().filter(|it| it.size != -1 && it.ref_count > 0).map(|it| it.size).sum();
    let active = known().filter(|it| it.ref_count > 0).count();
    row("Local Volumes", usage.volumes.len(), active, all, share(all - used, all))
}

fn cache(usage: &DiskUsage) -> Row {
    let number = |record: &serde_json::Value, key: &str| record[key].as_i64().unwrap_or(0);
    let is_set = |record: &serde_json::Value, key: &str| record[key].as_bool().unwrap_or(false);
    let records = &usage.build_cache;
    let all = records.iter().filter(|it| !is_set(it, "Shared")).map(|it| number(it, "Size")).sum();
    let idle = records
        .iter()
        .filter(|it| !is_set(it, "Shared") && !is_set(it, "InUse"))
        .map(|it| number(it, "Size"))
        .sum();
    let active = records.iter().filter(|it| is_set(it, "InUse")).count();
    row("Build Cache", records.len(), active, all, human_size(idle, 4))
}
