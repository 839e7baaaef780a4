//! `volume ls`, `volume create` and `volume rm`.

use ferry_api::query::{VolumeListQuery, VolumeRemoveQuery};
use ferry_api::{Volume, VolumeCreateRequest};

use super::filters;
use crate::command_line::Matches;
use crate::console;
use crate::format::listing::{Listing, Row};
use crate::format::natural_key;
use crate::format::units::human_size;
use crate::options::lists::key_value;
use crate::program::Cli;
use crate::report::Failure;
use crate::template::Value;

const HEADINGS: [(&str, &str); 10] = [
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Availability", "AVAILABILITY"),
    ("Status", "STATUS"),
];

/// `volume ls`
pub(super) async fn list(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    if matches.flag("cluster") {
        return Err(Failure::plain("--cluster is not supported: there are no cluster volumes"));
    }
    let query = VolumeListQuery { filters: filters(matches) };
    let mut volumes = cli.client.volume_list(&query).await?.volumes;
    volumes.sort_by_cached_key(|volume| natural_key(&volume.name));
    let quiet = matches.flag("quiet");
    let typed = matches.text("format");
    let configured = cli.config.text("volumesFormat").filter(|_| !quiet);
    let format = match if typed.is_empty() { configured.unwrap_or("table") } else { typed } {
        "table" if quiet => "{{.Name}}",
        "table" => "table {{.Driver}}\\t{{.Name}}",
        "raw" if quiet => "name: {{.Name}}",
        "raw" => "name: {{.Name}}\ndriver: {{.Driver}}\n",
        other => other,
    };
    let rows = volumes.iter().map(row).collect();
    let listing = Listing { format, headings: &HEADINGS };
    console::print(&listing.render(rows).map_err(Failure::plain)?)
}

/// The cells of one volume.
pub(super) fn row(volume: &Volume) -> Row {
    let labels: Vec<(String, String)> =
        volume.labels.clone().unwrap_or_default().into_iter().collect();
    let joined: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let usage = volume.usage_data.as_ref();
    let links = usage.map_or("N/A".into(), |usage| usage.ref_count.to_string());
    let size = usage.map_or("N/A".into(), |usage| human_size(usage.size, 4));
    let cells = vec![
        ("Availability", Value::str("N/A")),
        ("Driver", Value::str(volume.driver.as_str())),
        ("Group", Value::str("N/A")),
        ("Labels", Value::str(joined.join(","))),
        ("Links", Value::str(links)),
        ("Mountpoint", Value::str(volume.mountpoint.as_str())),
        ("Name", Value::str(volume.name.as_str())),
        ("Scope", Value::str(volume.scope.as_str())),
        ("Size", Value::str(size)),
        ("Status", Value::str("N/A")),
    ];
    Row { type_name: "*formatter.volumeContext", cells, labels }
}

/// `volume create`
pub(super) async fn create(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    const CLUSTER: [&str; 10] = [
        "availability",
        "group",
        "limit-bytes",
        "required-bytes",
        "scope",
        "secret",
        "sharing",
        "topology-preferred",
        "topology-required",
        "type",
    ];
    if let Some(flag) = CLUSTER.iter().find(|flag| matches.is_given(flag)) {
        return Err(Failure::plain(format!(
            "--{flag} is not supported: there are no cluster volumes"
        )));
    }
    let pairs = |name: &str| matches.list(name).iter().map(|pair| key_value(pair)).collect();
    let request = VolumeCreateRequest {
        driver: matches.value("driver").unwrap_or("local").into(),
        driver_opts: pairs("opt"),
        labels: pairs("label"),
        name: matches.args.first().cloned().unwrap_or_default(),
    };
    let volume = cli.client.volume_create(&request).await?;
    console::line(&volume.name)
}

/// `volume rm`
pub(super) async fn remove(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = VolumeRemoveQuery { force: matches.flag("force") };
    super::each(&matches.args, async |name| {
        cli.client.volume_remove(name, &query).await?;
        Ok(name)
    })
    .await
}
