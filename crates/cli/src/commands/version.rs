//! `version`

use serde_json::{Value as Json, json};

use crate::command_line::Matches;
use crate::console;
use crate::format::tabs;
use crate::program::Cli;
use crate::report::Failure;
use crate::template::schema::typed;
use crate::template::{Mode, Template};

/// The version of Docker's client that this one follows, with our own.
pub(crate) const VERSION: &str = concat!("28.5.2+ferry", env!("CARGO_PKG_VERSION"));
/// The revision it was built from.
pub(crate) const BUILD: &str = match option_env!("FERRY_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
/// When it was built.
const BUILT: &str = match option_env!("FERRY_BUILT") {
    Some(built) => built,
    None => "unknown",
};

/// What the client says about itself.
pub(super) fn client(cli: &Cli) -> Json {
    json!({
        "Version": VERSION,
        "DefaultAPIVersion": ferry_api::API_VERSION,
        "GitCommit": BUILD,
        "GoVersion": "rust",
        "Os": "linux",
        "Arch": architecture(),
        "BuildTime": BUILT,
        "Context": cli.context,
    })
}

/// The architecture by Go's name.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `version`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let template = match matches.text("format") {
        "" => None,
        "json" => Some("{{json .}}"),
        text => Some(text),
    };
    let template = match template {
        Some(text) => Some(
            Template::parse_named("version", text)
                .map_err(|error| Failure::new(64, format!("template parsing error: {error}")))?,
        ),
        None => None,
    };
    let answer = cli.client.get_raw("/version").await;
    let server: Result<Json, Failure> = match answer {
        Ok(body) => serde_json::from_slice(&body)
            .map(with_readable_times)
            .map_err(|error| Failure::plain(format!("cannot read the engine's version: {error}"))),
        Err(error) => Err(error.into()),
    };
    if server.as_ref().is_err_and(|failure: &Failure| failure.wanted_version().is_some()) {
        return server.map(|_answer| ());
    }
    let mut client = client(cli);
    client["ApiVersion"] = cli.client.api_version().into();
    let versions = json!({
        "Client": client,
        "Server": server.as_ref().map_or(Json::Null, Clone::clone),
    });
    if let Some(template) = template {
        let mut out = String::new();
        let result =
            template.execute(&typed(&versions, "system.versionInfo"), Mode::Plain, &mut out);
        console::line(&out)?;
        server?;
        return result.map_err(Failure::plain);
    }
    console::print(&show(&versions))?;
    server.map(|_answer| ())
}

/// The engine's build time in its component as people read it.
fn with_readable_times(mut server: Json) -> Json {
    for component in server["Components"].as_array_mut().into_iter().flatten() {
        if component["Name"] == "Engine"
            && let Some(time) = component.pointer_mut("/Details/BuildTime")
        {
            *time = built(time.as_str().unwrap_or_default()).into();
        }
    }
    server
}

/// The versions for people.
fn show(versions: &Json) -> String {
    let text = |json: &Json, key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let client = &versions["Client"];
    let mut out = format!(
        "Client:\n Version:\t{}\n API version:\t{}\n Go version:\t{}\n Git commit:\t{}\n \
         Built:\t{}\n OS/Arch:\t{}/{}\n Context:\t{}\n",
        text(client, "Version"),
        text(client, "ApiVersion"),
        text(client, "GoVersion"),
        text(client, "GitCommit"),
        built(&text(client, "BuildTime")),
        text(client, "Os"),
        text(client, "Arch"),
        text(client, "Context"),
    );
    let server = &versions["Server"];
    if server.is_object() {
        let platform = server["Platform"]["Name"].as_str().unwrap_or_default();
        let heading = if platform.is_empty() { String::new() } else { format!(" {platform}") };
        out.push_str(&format!("\nServer:{heading}\n"));
        for component in server["Components"].as_array().into_iter().flatten() {
            out.push_str(&format!(
                " {}:\n  Version:\t{}\n",
                text(component, "Name"),
                text(component, "Version")
            ));
            component_details(&mut out, component);
        }
    }
    tabs::align_from(&out, 20, 1)
}

/// The details of a component; the engine's own have an order and words of their own.
fn component_details(out: &mut String, component: &Json) {
    let details = &component["Details"];
    let text = |key: &str| details[key].as_str().unwrap_or_default().to_owned();
    if component["Name"] == "Engine" {
        out.push_str(&format!(
            "  API version:\t{} (minimum version {})\n  Go version:\t{}\n  Git commit:\t{}\n  \
             Built:\t{}\n  OS/Arch:\t{}/{}\n  Experimental:\t{}\n",
            text("ApiVersion"),
            text("MinAPIVersion"),
            text("GoVersion"),
            text("GitCommit"),
            text("BuildTime"),
            text("Os"),
            text("Arch"),
            text("Experimental"),
        ));
        return;
    }
    let mut keys: Vec<&String> = details.as_object().into_iter().flat_map(|it| it.keys()).collect();
    keys.sort_unstable();
    for key in keys {
        out.push_str(&format!("  {key}:\t{}\n", text(key)));
    }
}

/// A build time the way C prints it, if it is RFC 3339.
fn built(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(stamp) => {
            stamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string()
        }
        Err(_other_form) => text.to_owned(),
    }
}
