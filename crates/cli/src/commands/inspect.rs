//! `inspect` of everything: as the engine wrote it, or through a template.

use ferry_api::query::escape;
use ferry_client::ClientError;
use serde_json::Value as Json;

use crate::command_line::Matches;
use crate::console;
use crate::format::indent_json;
use crate::options::platforms;
use crate::program::Cli;
use crate::report::{self, Failure};
use crate::template::schema::typed;
use crate::template::{Mode, Template, Value};

/// What can be inspected here, in the order in which `inspect` without a type looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

const ORDER: [Kind; 4] = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }

    /// The struct that Docker's client decodes it into.
    fn type_name(self) -> &'static str {
        match self {
            Self::Container => "container.InspectResponse",
            Self::Image => "image.InspectResponse",
            Self::Network => "network.Inspect",
            Self::Volume => "volume.Volume",
        }
    }

    fn path(self, name: &str, options: &Options) -> String {
        let name = match self {
            // The slashes of an image's name stay.
            Self::Image => name.split('/').map(escape).collect::<Vec<_>>().join("/"),
            _ => escape(name),
        };
        let flag =
            |name: &str, is_set: bool| if is_set { format!("?{name}=1") } else { String::new() };
        match self {
            Self::Container => format!("/containers/{name}/json{}", flag("size", options.size)),
            Self::Image => format!("/images/{name}/json{}", options.platform_query()),
            Self::Network => format!("/networks/{name}{}", flag("verbose", options.verbose)),
            Self::Volume => format!("/volumes/{name}"),
        }
    }
}

#[derive(Debug, Default)]
struct Options {
    size: bool,
    verbose: bool,
    /// As the API has it.
    platform: Option<String>,
}

impl Options {
    fn platform_query(&self) -> String {
        self.platform
            .as_ref()
            .map_or(String::new(), |platform| format!("?platform={}", escape(platform)))
    }
}

/// `container inspect`
pub(super) async fn containers(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let options = Options { size: matches.flag("size"), ..Options::default() };
    inspect(cli, matches, &[Kind::Container], &options).await
}

/// `image inspect`
pub(super) async fn images(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let platform = match matches.text("platform") {
        "" => None,
        text => Some(platforms::json(&platforms::parse(text).map_err(Failure::plain)?)),
    };
    inspect(cli, matches, &[Kind::Image], &Options { platform, ..Options::default() }).await
}

/// `network inspect`
pub(super) async fn networks(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let options = Options { verbose: matches.flag("verbose"), ..Options::default() };
    inspect(cli, matches, &[Kind::Network], &options).await
}

/// `volume inspect`
pub(super) async fn volumes(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    inspect(cli, matches, &[Kind::Volume], &Options::default()).await
}

/// `inspect`
pub(super) async fn any(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    const ELSEWHERE: [&str; 6] = ["config", "node", "plugin", "secret", "service", "task"];
    let wanted = matches.text("type");
    let kinds = match ORDER.iter().position(|kind| kind.name() == wanted) {
        Some(at) => &ORDER[at..=at],
        None if wanted.is_empty() => &ORDER[..],
        None if ELSEWHERE.contains(&wanted) => {
            return Err(Failure::plain(format!("inspecting a {wanted} is not supported yet")));
        }
        None => {
            return Err(Failure::plain(format!(
                "unknown type: {wanted:?}: must be one of \"config\", \"container\", \"image\", \
                 \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
            )));
        }
    };
    let options = Options { size: matches.flag("size"), ..Options::default() };
    inspect(cli, matches, kinds, &options).await
}

async fn inspect(
    cli: &Cli,
    matches: &Matches,
    kinds: &[Kind],
    options: &Options,
) -> Result<(), Failure> {
    let mut printer = Printer::new(matches.text("format"))?;
    let mut errors = Vec::new();
    for name in &matches.args {
        match find(cli, name, kinds, options).await {
            Ok((kind, body)) => {
                if options.size && kind != Kind::Container {
                    console::complain(&format!("WARNING: --size ignored for {}", kind.name()));
                }
                errors.extend(printer.add(kind, body).err());
            }
            Err(message) => {
                let failure = Failure::plain(message);
                if failure.wanted_version().is_some() {
                    return Err(failure);
                }
                errors.push(failure.message);
            }
        }
    }
    console::print(&printer.finish())?;
    super::all_or_failure(&errors)
}

/// Asks for the first kind that has something of that name.
async fn find(
    cli: &Cli,
    name: &str,
    kinds: &[Kind],
    options: &Options,
) -> Result<(Kind, String), String> {
    if name.is_empty() {
        let kind = kinds.first().map_or("container", |kind| kind.name());
        return Err(match kind {
            "container" => "invalid container name or ID: value is empty".into(),
            kind => format!("invalid {kind} name or ID: value is empty"),
        });
    }
    for kind in kinds {
        match cli.client.get_raw(&kind.path(name, options)).await {
            Ok(body) => return Ok((*kind, String::from_utf8_lossy(&body).into_owned())),
            Err(error) if kinds.len() > 1 && is_elsewhere(&error) => {}
            Err(error) => return Err(report::words(&error)),
        }
    }
    Err(format!("Error: No such object: {name}"))
}

/// Whether the next kind is to be looked at: there is none of this kind, or no such kind.
fn is_elsewhere(error: &ClientError) -> bool {
    error.is_not_found() || matches!(error.status(), Some(501))
}

/// Collects what is inspected and shows it at the end.
enum Printer {
    /// The raw bodies, to be indented.
    Raw(Vec<String>),
    /// Each as JSON of the typed value on one line.
    Json(Vec<String>),
    Template {
        template: Template,
        out: String,
    },
}

impl Printer {
    fn new(format: &str) -> Result<Self, Failure> {
        match format {
            "" => Ok(Self::Raw(Vec::new())),
            "json" => Ok(Self::Json(Vec::new())),
            text => {
                let template = Template::parse(text).map_err(|error| {
                    Failure::new(64, format!("template parsing error: {error}"))
                })?;
                Ok(Self::Template { template, out: String::new() })
            }
        }
    }

    fn add(&mut self, kind: Kind, body: String) -> Result<(), String> {
        match self {
            Self::Raw(bodies) => {
                bodies.push(body.trim_end().to_owned());
                Ok(())
            }
            Self::Json(bodies) => {
                bodies.push(body.trim_end().to_owned());
                Ok(())
            }
            Self::Template { template, out } => {
                let json: Json = serde_json::from_str(&body)
                    .map_err(|error| format!("unable to read inspect data: {error}"))?;
                let text = execute(template, &json, kind.type_name())?;
                out.push_str(&text);
                out.push('\n');
                Ok(())
            }
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Raw(bodies) if bodies.is_empty() => "[]\n".into(),
            Self::Raw(bodies) => format!("{}\n", indent_json(&format!("[{}]", bodies.join(",")))),
            Self::Json(bodies) => format!("[{}]\n", bodies.join(",")),
            Self::Template { out, .. } if out.is_empty() => "\n".into(),
            Self::Template { out, .. } => out,
        }
    }
}

/// Executes on the struct, and on the untyped JSON if that fails.
fn execute(template: &Template, json: &Json, type_name: &str) -> Result<String, String> {
    let mut out = String::new();
    if template.execute(&typed(json, type_name), Mode::Plain, &mut out).is_ok() {
        return Ok(out);
    }
    out.clear();
    template
        .execute(&Value::untyped(json), Mode::Strict, &mut out)
        .map_err(|error| format!("template parsing error: {error}"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_shown_as_they_came() {
        let mut printer = Printer::new("").unwrap();
        printer.add(Kind::Volume, "{\"Name\":\"a\\u0026b\",\"Odd\":1.50}\n".into()).unwrap();
        assert_eq!(
            printer.finish(),
            "[\n    {\n        \"Name\": \"a\\u0026b\",\n        \"Odd\": 1.50\n    }\n]\n"
        );
        assert_eq!(Printer::new("").unwrap().finish(), "[]\n");
    }

    #[test]
    fn what_the_struct_lacks_is_looked_up_in_the_json() {
        let mut printer = Printer::new("{{.Name}} {{.Odd}}").unwrap();
        printer.add(Kind::Volume, "{\"Name\":\"v\",\"Odd\":1.5}".into()).unwrap();
        assert_eq!(printer.finish(), "v 1.5\n");
        assert_eq!(Printer::new("{{").err().unwrap().code, 64);
    }
}
