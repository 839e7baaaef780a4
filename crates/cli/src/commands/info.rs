//! `info`

use ferry_api::SystemInfo;
use serde_json::{Value as Json, json};

use super::version;
use crate::command_line::Matches;
use crate::console;
use crate::format::units::binary_size;
use crate::program::Cli;
use crate::report::Failure;
use crate::template::schema::typed;
use crate::template::{Mode, Template};

/// `info`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let format = match matches.text("format") {
        "json" => "{{json .}}",
        text => text,
    };
    let template = if format.is_empty() {
        None
    } else {
        let parse = Template::parse(format);
        Some(parse.map_err(|error| Failure::new(64, format!("template parsing error: {error}")))?)
    };
    let server: Result<Json, Failure> = match cli.client.get_raw("/info").await {
        Ok(body) => serde_json::from_slice(&body)
            .map_err(|error| Failure::plain(format!("cannot read the engine's answer: {error}"))),
        Err(error) => Err(error.into()),
    };
    if server.as_ref().is_err_and(|failure: &Failure| failure.wanted_version().is_some()) {
        return server.map(|_answer| ());
    }
    if let Some(template) = template {
        return show_template(cli, &template, server);
    }
    let debug = cli.debug;
    console::print(&format!(
        "Client:\n Version:    {}\n Context:    {}\n Debug Mode: {debug}\n\nServer:\n",
        version::VERSION,
        cli.context
    ))?;
    let server = server?;
    let info: SystemInfo = serde_json::from_value(server)
        .map_err(|error| Failure::plain(format!("cannot read the engine's answer: {error}")))?;
    console::print(&show(&info))?;
    for warning in info.warnings.iter().flatten() {
        console::complain(warning);
    }
    Ok(())
}

fn show_template(
    cli: &Cli,
    template: &Template,
    server: Result<Json, Failure>,
) -> Result<(), Failure> {
    let (mut info, failure) = match server {
        Ok(info) => (info, None),
        Err(failure) => (json!({}), Some(failure)),
    };
    let mut client = version::client(cli);
    client["Debug"] = cli.debug.into();
    client["Plugins"] = json!([]);
    info["ClientInfo"] = client;
    let mut out = String::new();
    let result = template.execute(&typed(&info, "system.dockerInfo"), Mode::Plain, &mut out);
    console::line(&out)?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    result.map_err(Failure::plain)
}

/// The engine's state for people.
fn show(info: &SystemInfo) -> String {
    let mut out = Lines::default();
    out.field("Containers", info.containers);
    out.deeper("Running", info.containers_running);
    out.deeper("Paused", info.containers_paused);
    out.deeper("Stopped", info.containers_stopped);
    out.field("Images", info.images);
    out.text("Server Version", &info.server_version);
    out.text("Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        out.deeper(name, value);
    }
    out.text("Logging Driver", &info.logging_driver);
    out.text("Cgroup Driver", &info.cgroup_driver);
    out.text("Cgroup Version", &info.cgroup_version);
    out.line(" Plugins:");
    out.deeper("Volume", info.plugins.volume.join(" "));
    out.deeper("Network", info.plugins.network.join(" "));
    if let Some(plugins) = info.plugins.authorization.as_ref().filter(|list| !list.is_empty()) {
        out.deeper("Authorization", plugins.join(" "));
    }
    out.deeper("Log", info.plugins.log.join(" "));
    if let Some(directories) = info.cdi_spec_dirs.as_ref().filter(|list| !list.is_empty()) {
        out.line(" CDI spec directories:");
        directories.iter().for_each(|directory| out.line(&format!("  {directory}")));
    }
    out.field("Swarm", &info.swarm.local_node_state);
    runtimes(&mut out, info);
    machine(&mut out, info);
    registries(&mut out, info);
    out.field("Live Restore Enabled", info.live_restore_enabled);
    if !info.product_license.is_empty() {
        out.field("Product License", &info.product_license);
    }
    out.line("");
    out.0
}

fn runtimes(out: &mut Lines, info: &SystemInfo) {
    let names: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    if !names.is_empty() {
        out.field("Runtimes", names.join(" "));
        out.field("Default Runtime", &info.default_runtime);
    }
    if info.os_type == "linux" {
        out.field("Init Binary", &info.init_binary);
        out.field("containerd version", &info.containerd_commit.id);
        out.field("runc version", &info.runc_commit.id);
        out.field("init version", &info.init_commit.id);
    }
    if info.security_options.is_empty() {
        return;
    }
    out.line(" Security Options:");
    for option in &info.security_options {
        let pairs: Vec<(&str, &str)> =
            option.split(',').map(|pair| pair.split_once('=').unwrap_or(("name", pair))).collect();
        for (key, value) in &pairs {
            match *key {
                "name" => out.line(&format!("  {value}")),
                "profile" => out.line(&format!("   Profile: {value}")),
                _ => {}
            }
        }
    }
}

fn machine(out: &mut Lines, info: &SystemInfo) {
    out.text("Kernel Version", &info.kernel_version);
    out.text("Operating System", &info.operating_system);
    out.text("OSType", &info.os_type);
    out.text("Architecture", &info.architecture);
    out.field("CPUs", info.n_cpu);
    out.field("Total Memory", binary_size(info.mem_total));
    out.text("Name", &info.name);
    out.text("ID", &info.id);
    out.field("Docker Root Dir", &info.docker_root_dir);
    out.field("Debug Mode", info.debug);
    if info.debug {
        out.deeper("File Descriptors", info.n_fd);
        out.deeper("Goroutines", info.n_goroutines);
        out.deeper("System Time", &info.system_time);
        out.deeper("EventsListeners", info.n_events_listener);
    }
    out.text("HTTP Proxy", &info.http_proxy);
    out.text("HTTPS Proxy", &info.https_proxy);
    out.text("No Proxy", &info.no_proxy);
    if !info.labels.is_empty() {
        out.line(" Labels:");
        info.labels.iter().for_each(|label| out.line(&format!("  {label}")));
    }
    out.field("Experimental", info.experimental_build);
}

fn registries(out: &mut Lines, info: &SystemInfo) {
    let Some(registry) = &info.registry_config else { return };
    let insecure: Vec<&String> = registry
        .index_configs
        .iter()
        .filter(|(_, index)| !index.secure)
        .map(|(name, _)| name)
        .chain(&registry.insecure_registry_cidrs)
        .collect();
    if !insecure.is_empty() {
        out.line(" Insecure Registries:");
        insecure.iter().for_each(|name| out.line(&format!("  {name}")));
    }
    if let Some(mirrors) = registry.mirrors.as_ref().filter(|list| !list.is_empty()) {
        out.line(" Registry Mirrors:");
        mirrors.iter().for_each(|mirror| out.line(&format!("  {mirror}")));
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(&format!(" {name}: {value}"));
    }

    /// A field that is left out when it is empty.
    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.field(name, value);
        }
    }

    fn deeper(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(&format!("  {name}: {value}"));
    }
}
