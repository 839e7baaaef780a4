//! `network ls`

use ferry_api::NetworkInspect;
use ferry_api::query::NetworkListQuery;

use super::filters;
use crate::command_line::Matches;
use crate::console;
use crate::format::listing::{Listing, Row};
use crate::format::{natural_key, short_id};
use crate::program::Cli;
use crate::report::Failure;
use crate::template::{Value, shown_time};

const HEADINGS: [(&str, &str); 9] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

/// `network ls`
pub(super) async fn list(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = NetworkListQuery { filters: filters(matches) };
    let mut networks = cli.client.network_list(&query).await?;
    networks.sort_by_cached_key(|network| natural_key(&network.name));
    let quiet = matches.flag("quiet");
    let typed = matches.text("format");
    let configured = cli.config.text("networksFormat").filter(|_| !quiet);
    let format = match if typed.is_empty() { configured.unwrap_or("table") } else { typed } {
        "table" if quiet => "{{.ID}}",
        "table" => "table {{.ID}}\\t{{.Name}}\\t{{.Driver}}\\t{{.Scope}}",
        "raw" if quiet => "network_id: {{.ID}}",
        "raw" => "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
        other => other,
    };
    let truncate = !matches.flag("no-trunc");
    let rows = networks.iter().map(|network| row(network, truncate)).collect();
    let listing = Listing { format, headings: &HEADINGS };
    console::print(&listing.render(rows).map_err(Failure::plain)?)
}

fn row(network: &NetworkInspect, truncate: bool) -> Row {
    let labels: Vec<(String, String)> =
        network.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let joined: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let id = if truncate { short_id(&network.id) } else { &network.id };
    let cells = vec![
        ("CreatedAt", Value::str(shown_time(&network.created))),
        ("Driver", Value::str(network.driver.as_str())),
        ("ID", Value::str(id)),
        ("IPv4", Value::str(network.enable_ipv4.to_string())),
        ("IPv6", Value::str(network.enable_ipv6.to_string())),
        ("Internal", Value::str(network.internal.to_string())),
        ("Labels", Value::str(joined.join(","))),
        ("Name", Value::str(network.name.as_str())),
        ("Scope", Value::str(network.scope.as_str())),
    ];
    Row { type_name: "*network.networkContext", cells, labels }
}
