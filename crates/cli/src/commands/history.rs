//! `history`

use ferry_api::HistoryItem;
use ferry_api::query::ImageHistoryQuery;
use jiff::Timestamp;

use crate::command_line::Matches;
use crate::console;
use crate::format::listing::{Listing, Row};
use crate::format::units::{human_duration, human_size};
use crate::format::{ellipsis, short_id};
use crate::program::Cli;
use crate::report::Failure;
use crate::template::Value;

const HEADINGS: [(&str, &str); 6] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

/// `history`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let image = matches.args.first().map_or("", String::as_str);
    let platform = crate::options::platforms::one(matches.text("platform"))?;
    let is_human = matches.flag_or_true("human");
    let typed = matches.text("format");
    let format = match typed {
        "" | "table" if matches.flag("quiet") => "{{.ID}}",
        "" | "table" if is_human => {
            "table {{.ID}}\\t{{.CreatedSince}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}"
        }
        "" | "table" => {
            "table {{.ID}}\\t{{.CreatedAt}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}"
        }
        other => other,
    };
    let history = cli.client.image_history(image, &ImageHistoryQuery { platform }).await?;
    let truncate = !matches.flag("no-trunc");
    let now = Timestamp::now();
    let rows = history.iter().map(|item| row(item, truncate, is_human, now)).collect();
    let listing = Listing { format, headings: &HEADINGS };
    console::print(&listing.render(rows).map_err(Failure::plain)?)
}

fn row(item: &HistoryItem, truncate: bool, is_human: bool, now: Timestamp) -> Row {
    let created = Timestamp::from_second(item.created).unwrap_or(Timestamp::UNIX_EPOCH);
    let local = created.to_zoned(jiff::tz::TimeZone::system());
    let created_at = local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().replace("+00:00", "Z");
    let created_since = if item.created <= 0 {
        "N/A".to_owned()
    } else {
        format!("{} ago", human_duration(now.as_second() - item.created))
    };
    let created_by = item.created_by.replace('\t', " ");
    let size = if is_human { human_size(item.size, 3) } else { item.size.to_string() };
    let cells = vec![
        ("Comment", Value::str(item.comment.as_str())),
        ("CreatedAt", Value::str(created_at)),
        (
            "CreatedBy",
            Value::str(if truncate {
                ellipsis(&created_by, 45)
            } else {
                created_by.as_str().into()
            }),
        ),
        ("CreatedSince", Value::str(created_since)),
        ("ID", Value::str(if truncate { short_id(&item.id) } else { &item.id })),
        ("Size", Value::str(size)),
    ];
    Row { type_name: "*image.historyContext", cells, labels: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_cells_of_docker() {
        let item = HistoryItem {
            id: "<missing>".into(),
            created: 1_000,
            created_by: "/bin/sh -c #(nop)\tCMD [\"sh\"] and a lot more that is cut".into(),
            size: 1_500,
            ..HistoryItem::default()
        };
        let now = Timestamp::from_second(1_090).unwrap();
        let listing =
            Listing { format: "{{.ID}}|{{.CreatedSince}}|{{.CreatedBy}}|{{.Size}}", headings: &[] };
        assert_eq!(
            listing.render(vec![row(&item, true, true, now)]).unwrap(),
            "<missing>|About a minute ago|/bin/sh -c #(nop) CMD [\"sh\"] and a lot more …|1.5kB\n"
        );
    }
}
