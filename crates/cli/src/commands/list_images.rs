//! `images`

use ferry_api::ImageSummary;
use ferry_api::query::ImageListQuery;
use jiff::Timestamp;

use super::filters;
use super::list_containers::created_at;
use crate::command_line::Matches;
use crate::console;
use crate::format::listing::{Listing, Row};
use crate::format::short_id;
use crate::format::units::{human_duration, human_size};
use crate::program::Cli;
use crate::report::Failure;
use crate::template::Value;

const HEADINGS: [(&str, &str); 11] = [
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const SINCE: &str = "{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}";

/// `images`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let mut filters = filters(matches);
    if let Some(name) = matches.args.first() {
        filters.add("reference", name.as_str());
    }
    if matches.flag("tree") {
        return Box::pin(super::tree::run(cli, matches, filters)).await;
    }
    let typed = matches.text("format");
    let quiet = matches.flag("quiet");
    let digests = matches.flag("digests");
    let configured = cli.config.text("imagesFormat").filter(|_| !quiet);
    let format = if typed.is_empty() { configured.unwrap_or("table") } else { typed };
    let format = choose(format, quiet, digests);
    let query = ImageListQuery { all: matches.flag("all"), filters, ..ImageListQuery::default() };
    let images = cli.client.image_list(&query).await?;
    let show_digests = digests || format.contains("{{.Digest}}");
    let now = Timestamp::now();
    let truncate = !matches.flag("no-trunc");
    let rows =
        images.iter().flat_map(|image| rows(image, truncate, show_digests, digests, now)).collect();
    let listing = Listing { format: &format, headings: &HEADINGS };
    console::print(&listing.render(rows).map_err(Failure::plain)?)
}

fn choose(format: &str, quiet: bool, digests: bool) -> String {
    match format {
        "table" if quiet => "{{.ID}}".into(),
        "table" if digests => format!(
            "table {{{{.Repository}}}}\\t{{{{.Tag}}}}\\t{{{{.Digest}}}}\\t{{{{.ID}}}}\\t{SINCE}\\t{{{{.Size}}}}"
        ),
        "table" => format!(
            "table {{{{.Repository}}}}\\t{{{{.Tag}}}}\\t{{{{.ID}}}}\\t{SINCE}\\t{{{{.Size}}}}"
        ),
        "raw" if quiet => "image_id: {{.ID}}".into(),
        "raw" => {
            let digest = if digests { "digest: {{.Digest}}\n" } else { "" };
            format!(
                "repository: {{{{ .Repository }}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\n\
                 created_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
            )
        }
        other if digests && other.starts_with("table") && !other.contains("{{.Digest}}") => {
            format!("{other}\\t{{{{.Digest}}}}")
        }
        other => other.into(),
    }
}

/// The names of an image, each with its tag and digest, as rows.
fn rows(
    image: &ImageSummary,
    truncate: bool,
    show_digests: bool,
    digest_rows: bool,
    now: Timestamp,
) -> Vec<Row> {
    const NONE: &str = "<none>";
    let tags = image.repo_tags.as_deref().unwrap_or_default();
    let digests = image.repo_digests.as_deref().unwrap_or_default();
    let tags: Vec<(String, &str)> = tags
        .iter()
        .filter(|name| *name != "<none>:<none>")
        .filter_map(|name| name.rsplit_once(':'))
        .map(|(name, tag)| (familiar(name), tag))
        .collect();
    let digests: Vec<(String, &str)> = digests
        .iter()
        .filter(|name| *name != "<none>@<none>")
        .filter_map(|name| name.split_once('@'))
        .map(|(name, digest)| (familiar(name), digest))
        .collect();
    let mut names: Vec<(String, &str, &str)> = Vec::new();
    for (repository, tag) in &tags {
        let own: Vec<&str> = digests
            .iter()
            .filter(|(name, _)| show_digests && name == repository)
            .map(|(_, digest)| *digest)
            .collect();
        if own.is_empty() {
            names.push((repository.clone(), tag, NONE));
        }
        names.extend(own.into_iter().map(|digest| (repository.clone(), *tag, digest)));
    }
    let untagged = digests.iter().filter(|(name, _)| tags.iter().all(|(other, _)| other != name));
    for (repository, digest) in untagged {
        if digest_rows {
            names.push((repository.clone(), NONE, digest));
        } else if names.iter().all(|(name, ..)| name != repository) {
            names.push((repository.clone(), NONE, ""));
        }
    }
    if names.is_empty() {
        names.push((NONE.into(), NONE, NONE));
    }
    names
        .into_iter()
        .map(|(repository, tag, digest)| row(image, &repository, tag, digest, truncate, now))
        .collect()
}

/// A name in the short form that people type.
fn familiar(name: &str) -> String {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}

/// The cells of one name of an image.
pub(super) fn row(
    image: &ImageSummary,
    repository: &str,
    tag: &str,
    digest: &str,
    truncate: bool,
    now: Timestamp,
) -> Row {
    let known = |number: i64, show: String| if number == -1 { "N/A".to_owned() } else { show };
    let since = if image.created <= 0 {
        String::new()
    } else {
        format!("{} ago", human_duration(now.as_second() - image.created))
    };
    let unique = if image.size == -1 || image.shared_size == -1 {
        "N/A".to_owned()
    } else {
        human_size(image.size - image.shared_size, 4)
    };
    let text = |text: String| Value::str(text);
    let cells = vec![
        ("Containers", text(known(image.containers, image.containers.to_string()))),
        ("CreatedAt", text(created_at(image.created))),
        ("CreatedSince", text(since)),
        ("Digest", Value::str(digest)),
        ("ID", Value::str(if truncate { short_id(&image.id) } else { &image.id })),
        ("Repository", Value::str(repository)),
        ("SharedSize", text(known(image.shared_size, human_size(image.shared_size, 4)))),
        ("Size", text(human_size(image.size, 3))),
        ("Tag", Value::str(tag)),
        ("UniqueSize", text(unique)),
        ("VirtualSize", text(human_size(image.size, 4))),
    ];
    Row { type_name: "*formatter.imageContext", cells, labels: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str], digests: &[&str]) -> ImageSummary {
        let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        ImageSummary {
            id: "sha256:0123456789abcdef".into(),
            repo_tags: list(tags),
            repo_digests: list(digests),
            created: 10,
            size: 2_070_000,
            ..ImageSummary::default()
        }
    }

    #[track_caller]
    fn check(image: &ImageSummary, digests: bool, expect: &str) {
        let now = Timestamp::from_second(7_210).unwrap();
        let listing = Listing { format: &choose("table", false, digests), headings: &HEADINGS };
        let rows = rows(image, true, digests, digests, now);
        let text = listing.render(rows).unwrap();
        let (_heading, body) = text.split_once('\n').unwrap();
        assert_eq!(body, expect);
    }

    #[test]
    fn each_name_of_an_image_is_a_row() {
        check(
            &image(&["a:1", "a:2", "h:5000/b:x"], &[]),
            false,
            "a            1         0123456789ab   2 hours ago   2.07MB\n\
             a            2         0123456789ab   2 hours ago   2.07MB\n\
             h:5000/b     x         0123456789ab   2 hours ago   2.07MB\n",
        );
        check(
            &image(&[], &[]),
            false,
            "<none>       <none>    0123456789ab   2 hours ago   2.07MB\n",
        );
        check(
            &image(&["a:1"], &["a@sha256:ff"]),
            true,
            "a            1         sha256:ff   0123456789ab   2 hours ago   2.07MB\n",
        );
    }
}
