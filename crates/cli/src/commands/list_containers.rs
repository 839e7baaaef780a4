//! `ps`

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use ferry_api::container::Port;
use ferry_api::query::ContainerListQuery;
use ferry_api::{ContainerSummary, MountPoint};
use jiff::Timestamp;

use super::filters;
use crate::command_line::Matches;
use crate::console;
use crate::format::listing::{Listing, Row};
use crate::format::units::{human_duration, human_size};
use crate::format::{command, ellipsis, short_id};
use crate::program::Cli;
use crate::report::Failure;
use crate::template::{Mode, Object, Template, Value};

const TYPE: &str = "*formatter.ContainerContext";

const HEADINGS: [(&str, &str); 14] = [
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
];

const TABLE: &str = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t\
                     {{.Ports}}\\t{{.Names}}";

const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\n\
                   created_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\n\
                   status: {{- pad .Status 1 0}}\nnames: {{.Names}}\n\
                   labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

/// `ps`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let quiet = matches.flag("quiet");
    let typed = matches.text("format");
    let mut size = matches.flag("size");
    if !typed.is_empty() {
        let asks_size = probe(typed).map_err(Failure::plain)?;
        size |= asks_size && !quiet && !matches.is_given("size");
    }
    let last = if matches.is_given("last") { matches.int("last") } else { -1 };
    let limit = if matches.flag("latest") && last == -1 { 1 } else { last };
    let query = ContainerListQuery {
        all: matches.flag("all"),
        limit: (limit > 0).then_some(limit),
        size,
        filters: filters(matches),
    };
    if quiet && !typed.is_empty() {
        console::complain(
            "WARNING: Ignoring custom format, because both --format and --quiet are set.",
        );
    }
    let configured = cli.config.text("psFormat").filter(|_| !quiet);
    let format = if typed.is_empty() { configured.unwrap_or("table") } else { typed };
    let format = choose(format, quiet, size);
    let containers = cli.client.container_list(&query).await?;
    let truncate = !matches.flag("no-trunc");
    let now = Timestamp::now();
    let rows = containers.iter().map(|container| row(container, truncate, now)).collect();
    let listing = Listing { format: &format, headings: &HEADINGS };
    console::print(&listing.render(rows).map_err(Failure::plain)?)
}

/// The template for a format by name, or the format itself.
fn choose(format: &str, quiet: bool, size: bool) -> String {
    match format {
        "raw" if quiet => "container_id: {{.ID}}".into(),
        "raw" if size => format!("{RAW}size: {{{{.Size}}}}\n"),
        "raw" => RAW.into(),
        _ if quiet => "{{.ID}}".into(),
        "table" if size => format!("{TABLE}\\t{{{{.Size}}}}"),
        "table" => TABLE.into(),
        other => other.into(),
    }
}

/// A row that remembers what it was asked for.
#[derive(Debug)]
struct Probe {
    row: Row,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl Object for Probe {
    fn type_name(&self) -> &'static str {
        TYPE
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        if name == "Size" {
            self.asked.borrow_mut().insert("Size");
        }
        self.row.call(name, args)
    }

    fn json_fields(&self) -> Vec<(&'static str, Value)> {
        self.asked.borrow_mut().insert("Size");
        self.row.json_fields()
    }
}

/// Tries a template before anything is asked of the engine; says whether it shows sizes, which
/// are costly to find out.
fn probe(format: &str) -> Result<bool, String> {
    let template =
        Template::parse(format).map_err(|error| format!("failed to parse template: {error}"))?;
    let row = row(&ContainerSummary::default(), true, Timestamp::UNIX_EPOCH);
    let probe = Rc::new(Probe { row, asked: RefCell::default() });
    template
        .execute(&Value::Object(probe.clone()), Mode::Plain, &mut String::new())
        .map_err(|error| format!("failed to execute template: {error}"))?;
    let asks = probe.asked.borrow().contains("Size");
    Ok(asks)
}

/// The cells of one container.
pub(super) fn row(container: &ContainerSummary, truncate: bool, now: Timestamp) -> Row {
    let c = container;
    let id = if truncate { short_id(&c.id) } else { &c.id };
    let mut labels: Vec<(String, String)> =
        c.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.sort_unstable();
    let joined: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let networks: Vec<&str> = c.network_settings.networks.keys().map(String::as_str).collect();
    let local = c.mounts.iter().filter(|mount| mount.driver == "local").count();
    let text = |text: String| Value::str(text);
    let cells = vec![
        ("Command", text(command(&c.command, truncate))),
        ("CreatedAt", text(created_at(c.created))),
        ("ID", Value::str(id)),
        ("Image", text(image(c, truncate))),
        ("Labels", text(joined.join(","))),
        ("LocalVolumes", text(local.to_string())),
        ("Mounts", text(mounts(&c.mounts, truncate))),
        ("Names", text(names(&c.names, truncate))),
        ("Networks", text(networks.join(","))),
        ("Platform", Value::Ptr(None, "v1.Platform".into())),
        ("Ports", text(ports(&c.ports))),
        ("RunningFor", text(format!("{} ago", human_duration(now.as_second() - c.created)))),
        ("Size", text(size(c))),
        ("State", Value::str(c.state.as_str())),
        ("Status", Value::str(c.status.as_str())),
    ];
    Row { type_name: TYPE, cells, labels }
}

/// A moment as Go prints it in the local zone.
pub(super) fn created_at(seconds: i64) -> String {
    let stamp = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let local = stamp.to_zoned(jiff::tz::TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

fn names(names: &[String], truncate: bool) -> String {
    let stripped: Vec<&str> =
        names.iter().map(|name| name.strip_prefix('/').unwrap_or(name)).collect();
    // A name with a slash is a link's.
    let own = stripped.iter().find(|name| truncate && !name.contains('/'));
    own.map_or_else(|| stripped.join(","), |name| (*name).to_owned())
}

fn image(container: &ContainerSummary, truncate: bool) -> String {
    let image = container.image.as_str();
    if image.is_empty() {
        return "<no image>".into();
    }
    if !truncate {
        return image.into();
    }
    let short = short_id(&container.image_id);
    if !short.is_empty() && short == short_id(image) {
        return short.into();
    }
    image.split_once('@').map_or(image, |(name, _digest)| name).into()
}

fn mounts(mounts: &[MountPoint], truncate: bool) -> String {
    let shown: Vec<_> = mounts
        .iter()
        .map(|mount| if mount.name.is_empty() { &mount.source } else { &mount.name })
        .map(|name| if truncate { ellipsis(name, 15) } else { name.into() })
        .collect();
    shown.join(",")
}

fn size(container: &ContainerSummary) -> String {
    let own = human_size(container.size_rw, 3);
    if container.size_root_fs > 0 {
        format!("{own} (virtual {})", human_size(container.size_root_fs, 3))
    } else {
        own
    }
}

/// Ports as `ps` shows them: neighbours in one range, and those that go elsewhere at the end.
pub(super) fn ports(ports: &[Port]) -> String {
    let join = |ip: &str, port: &str| {
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by(|a, b| {
        (a.private_port, &a.ip, a.public_port, &a.kind).cmp(&(
            b.private_port,
            &b.ip,
            b.public_port,
            &b.kind,
        ))
    });
    // Groups in the order in which they began: address, protocol, first and last port.
    let mut groups: Vec<(&str, &str, u16, u16)> = Vec::new();
    let mut shown = Vec::new();
    let mut elsewhere = Vec::new();
    let show = |(ip, kind, first, last): (&str, &str, u16, u16)| {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if ip.is_empty() {
            format!("{range}/{kind}")
        } else {
            format!("{}->{range}/{kind}", join(ip, &range))
        }
    };
    for port in sorted {
        let current = port.private_port;
        if !port.ip.is_empty() && port.public_port != current {
            let host = join(&port.ip, &port.public_port.to_string());
            elsewhere.push(format!("{host}->{current}/{}", port.kind));
            continue;
        }
        let same =
            |(ip, kind, ..): &&mut (&str, &str, u16, u16)| *ip == port.ip && *kind == port.kind;
        match groups.iter_mut().find(same) {
            None => groups.push((&port.ip, &port.kind, current, current)),
            Some(group) if group.3.checked_add(1) == Some(current) => group.3 = current,
            Some(group) => {
                shown.push(show(*group));
                (group.2, group.3) = (current, current);
            }
        }
    }
    shown.extend(groups.into_iter().map(show));
    shown.extend(elsewhere);
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_ports(list: &[(&str, u16, u16, &str)], expect: &str) {
        let list: Vec<Port> = list
            .iter()
            .map(|(ip, private_port, public_port, kind)| Port {
                ip: (*ip).into(),
                private_port: *private_port,
                public_port: *public_port,
                kind: (*kind).into(),
            })
            .collect();
        assert_eq!(ports(&list), expect);
    }

    #[test]
    fn ports_are_grouped_as_docker_groups_them() {
        check_ports(&[("", 80, 0, "tcp"), ("", 81, 0, "tcp")], "80-81/tcp");
        check_ports(&[("0.0.0.0", 80, 8080, "tcp")], "0.0.0.0:8080->80/tcp");
        check_ports(
            &[("0.0.0.0", 80, 80, "tcp"), ("0.0.0.0", 81, 81, "tcp"), ("::", 80, 80, "tcp")],
            "0.0.0.0:80-81->80-81/tcp, [::]:80->80/tcp",
        );
        check_ports(
            &[("", 9, 0, "udp"), ("", 7, 0, "tcp"), ("", 9, 0, "tcp")],
            "7/tcp, 9/tcp, 9/udp",
        );
    }

    #[test]
    fn a_table_of_containers_is_docker_s() {
        let container = ContainerSummary {
            id: "0123456789abcdef".into(),
            names: vec!["/web".into(), "/other/link".into()],
            image: "busybox".into(),
            command: "sh -c 'echo hello; sleep 5'".into(),
            created: 1_000,
            status: "Up 5 minutes".into(),
            ..ContainerSummary::default()
        };
        let now = Timestamp::from_second(1_305).unwrap();
        let listing = Listing { format: &choose("table", false, true), headings: &HEADINGS };
        assert_eq!(
            listing.render(vec![row(&container, true, now)]).unwrap(),
            "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS     NAMES     SIZE\n\
             0123456789ab   busybox   \"sh -c 'echo hello; …\"   5 minutes ago   Up 5 minutes             web       0B\n"
        );
    }

    #[test]
    fn sizes_are_asked_for_when_the_template_shows_them() {
        assert_eq!(probe("{{.ID}}"), Ok(false));
        assert_eq!(probe("{{.ID}} {{.Size}}"), Ok(true));
        assert_eq!(probe("{{json .}}"), Ok(true));
        assert_eq!(probe("{{if eq .ID \"x\"}}{{.Size}}{{end}}"), Ok(false));
    }
}
