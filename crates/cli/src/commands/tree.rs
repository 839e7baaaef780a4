//! `images --tree`: images with the platforms that they are for.

use ferry_api::query::ImageListQuery;
use ferry_api::{Filters, ImageSummary};
use ferry_oci::platform::Platform;

use crate::command_line::Matches;
use crate::format::short_id;
use crate::format::units::human_size;
use crate::note::is_colored;
use crate::program::Cli;
use crate::report::Failure;
use crate::{console, terminal};

/// Blanks between columns.
const SPACING: usize = 3;
/// The columns when there is no terminal.
const DEFAULT_WIDTH: usize = 80;
/// The first column is not made narrower than this for the others' sake.
const LEAST_NAME: usize = 12;

const TITLE: &str = "\x1b[39m\x1b[1m";
const NAME: &str = "\x1b[34m\x1b[1m";
const NORMAL: &str = "\x1b[39m";
const FAINT: &str = "\x1b[39m\x1b[2m";
const CHIP: &str = "\x1b[38;5;0m\x1b[48;5;14m";

/// The columns after the name: title, width, whether it stands to the right.
const COLUMNS: [(&str, usize, bool); 4] =
    [("ID", 12, false), ("DISK USAGE", 10, true), ("CONTENT SIZE", 12, true), ("EXTRA", 5, false)];

/// An image or one of its platforms.
#[derive(Debug)]
struct Details {
    id: String,
    disk_usage: i64,
    content_size: i64,
    in_use: bool,
}

#[derive(Debug)]
struct Child {
    platform: String,
    is_here: bool,
    details: Details,
}

#[derive(Debug)]
struct Entry {
    names: Vec<String>,
    created: i64,
    details: Details,
    children: Vec<Child>,
}

/// `images --tree`
pub(super) async fn run(cli: &Cli, matches: &Matches, filters: Filters) -> Result<(), Failure> {
    let refused = [
        ("quiet", "quiet"),
        ("no-trunc", "no-trunc"),
        ("digests", "show-digest"),
        ("format", "format"),
    ];
    for (flag, shown) in refused {
        if matches.is_given(flag) && matches.text(flag) != "false" {
            return Err(Failure::plain(format!("--{shown} is not yet supported with --tree")));
        }
    }
    let query = ImageListQuery {
        all: matches.flag("all"),
        filters,
        manifests: true,
        ..ImageListQuery::default()
    };
    let images = cli.client.image_list(&query).await?;
    let width = terminal::columns(std::io::stdout()).map_or(DEFAULT_WIDTH, usize::from);
    console::print(&show(&images, width, is_colored(std::io::stdout())))
}

fn show(images: &[ImageSummary], width: usize, is_colored: bool) -> String {
    let mut entries: Vec<Entry> = images.iter().map(entry).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.created));
    let page = Page::new(&entries, width, is_colored);
    let mut out = page.head(width);
    let has_children = entries.iter().any(|entry| !entry.children.is_empty());
    for entry in &entries {
        page.entry(entry, &mut out);
        if has_children {
            out.push('\n');
        }
    }
    out
}

fn entry(image: &ImageSummary) -> Entry {
    let mut names: Vec<String> = image.repo_tags.clone().unwrap_or_default();
    names.retain(|name| name != "<none>:<none>");
    names.sort_by_key(|name| std::cmp::Reverse(name.chars().count()));
    let children: Vec<Child> = image
        .manifests
        .iter()
        .filter(|manifest| manifest.kind == "image")
        .filter_map(|manifest| {
            let data = manifest.image_data.as_ref()?;
            let details = Details {
                id: manifest.id.clone(),
                disk_usage: manifest.size.total,
                content_size: manifest.size.content,
                in_use: !data.containers.is_empty(),
            };
            Some(Child { platform: platform(&data.platform), is_here: manifest.available, details })
        })
        .collect();
    let details = Details {
        id: image.id.clone(),
        disk_usage: image.size,
        content_size: children.iter().map(|child| child.details.content_size).sum(),
        in_use: image.containers > 0 || children.iter().any(|child| child.details.in_use),
    };
    Entry { names, created: image.created, details, children }
}

fn platform(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if !platform.variant.is_empty() {
        text.push('/');
        text.push_str(&platform.variant);
    }
    text
}

struct Page {
    name_width: usize,
    /// How many of the other columns there is room for.
    columns: usize,
    is_colored: bool,
}

impl Page {
    fn new(entries: &[Entry], width: usize, is_colored: bool) -> Self {
        let mut name_width = width;
        let mut columns = 0;
        for (_, width, _) in COLUMNS {
            match name_width.checked_sub(width + SPACING) {
                Some(left) if left >= LEAST_NAME => name_width = left,
                _ => break,
            }
            columns += 1;
        }
        let widest = entries
            .iter()
            .flat_map(|entry| {
                let names = entry.names.iter().map(|name| name.chars().count());
                names.chain(entry.children.iter().map(|it| it.platform.chars().count() + 3))
            })
            .chain(entries.iter().filter(|it| it.names.is_empty()).map(|_| UNTAGGED.len()))
            .chain([TITLE_OF_NAMES.len()])
            .max();
        Self { name_width: name_width.min(widest.unwrap_or(0)), columns, is_colored }
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.is_colored { format!("{color}{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A cell of a width; what is too long is cut.
    fn cell(&self, color: &str, text: &str, width: usize, to_right: bool) -> String {
        let length = text.chars().count();
        if length > width {
            return self.paint(color, &cut(text, width));
        }
        let fill = " ".repeat(width - length);
        let painted = self.paint(color, text);
        if to_right { format!("{fill}{painted}") } else { format!("{painted}{fill}") }
    }

    fn head(&self, width: usize) -> String {
        let warning = "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.";
        let (legend, length) = if self.is_colored {
            let legend = format!(
                "\x1b[1m\x1b[106m\x1b[30mi\x1b[0m\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m {CHIP} U \x1b[0m In Use "
            );
            (legend, 21)
        } else {
            ("Info ->  U In Use ".to_owned(), 18)
        };
        let fill = " ".repeat(width.saturating_sub(length));
        // Compat: the titles are coloured everywhere.
        let titles = [(TITLE_OF_NAMES, self.name_width, false)];
        let titles =
            titles.iter().chain(&COLUMNS[..self.columns]).map(|(title, width, to_right)| {
                let plain = Self { name_width: 0, columns: 0, is_colored: true };
                plain.cell(TITLE, title, *width, *to_right)
            });
        let titles: Vec<String> = titles.collect();
        let warning = self.paint("\x1b[93m", warning);
        format!("{warning}\n{fill}{legend}\n\n{}\n", titles.join(&" ".repeat(SPACING)))
    }

    fn entry(&self, entry: &Entry, out: &mut String) {
        match entry.names.split_last() {
            None => out.push_str(&self.cell(FAINT, UNTAGGED, self.name_width, false)),
            Some((last, others)) => {
                for name in others {
                    out.push_str(&format!("{}\n", self.paint(NAME, name)));
                }
                out.push_str(&self.cell(NAME, last, self.name_width, false));
            }
        }
        self.details(&entry.details, NORMAL, out);
        for (at, child) in entry.children.iter().enumerate() {
            let branch = if at + 1 == entry.children.len() { "└─ " } else { "├─ " };
            let color = if child.is_here { NORMAL } else { FAINT };
            let text = format!("{branch}{}", child.platform);
            out.push_str(&self.cell(color, &text, self.name_width, false));
            self.details(&child.details, color, out);
        }
    }

    fn details(&self, details: &Details, color: &str, out: &mut String) {
        let texts = [
            short_id(&details.id).to_owned(),
            human_size(details.disk_usage, 3),
            human_size(details.content_size, 3),
        ];
        let gap = " ".repeat(SPACING);
        for ((_, width, to_right), text) in COLUMNS[..self.columns].iter().zip(&texts) {
            out.push_str(&format!("{gap}{}", self.cell(color, text, *width, *to_right)));
        }
        if let Some((_, width, _)) = COLUMNS[..self.columns].get(texts.len()) {
            let chip = match (details.in_use, self.is_colored) {
                (true, true) => self.cell(CHIP, " U ", *width, false),
                (true, false) => self.cell("", "U", *width, false),
                (false, _) => " ".repeat(*width),
            };
            out.push_str(&format!("{gap}{chip}"));
        }
        out.push('\n');
    }
}

const UNTAGGED: &str = "<untagged>";
const TITLE_OF_NAMES: &str = "IMAGE";

fn cut(text: &str, width: usize) -> String {
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<ImageSummary> {
        let hex = |c: char| c.to_string().repeat(64);
        let manifest = |c: char,
                        platform: &str,
                        here: bool,
                        content: i64,
                        unpacked: i64,
                        used: bool| {
            let (variant, words) = match platform.split('/').collect::<Vec<_>>()[..] {
                [os, architecture, variant] => (variant, [os, architecture]),
                [os, architecture] => ("", [os, architecture]),
                _ => panic!("two or three words"),
            };
            let platform =
                serde_json::json!({"os": words[0], "architecture": words[1], "variant": variant});
            let digest = format!("sha256:{}", hex(c));
            let containers: &[&str] = if used { &["c1"] } else { &[] };
            serde_json::json!({
                "ID": digest, "Kind": "image", "Available": here,
                "Descriptor": {"mediaType": "t", "digest": digest, "size": 500},
                "Size": {"Content": content, "Total": content + unpacked},
                "ImageData": {"Platform": platform, "Size": {"Unpacked": unpacked}, "Containers": containers},
            })
        };
        let image = |c: char,
                     tags: &[&str],
                     created: i64,
                     size: i64,
                     containers: i64,
                     manifests: serde_json::Value| {
            serde_json::from_value(serde_json::json!({
                "Id": format!("sha256:{}", hex(c)), "RepoTags": tags, "Created": created,
                "Size": size, "Containers": containers, "Manifests": manifests,
            }))
            .unwrap()
        };
        let none = || serde_json::json!([]);
        vec![
            image(
                '1',
                &["multi:latest", "a/very/long/repository/name:and-a-tag"],
                1_700_000_000,
                123_456_789,
                -1,
                serde_json::json!([
                    manifest('a', "linux/amd64", true, 30_000_000, 70_000_000, true),
                    manifest('b', "linux/arm64/v8", false, 0, 0, false),
                ]),
            ),
            image('3', &[], 1_600_000_000, 10, 2, none()),
            image('4', &["nomani:1"], 1_750_000_000, 10, 2, none()),
        ]
    }

    #[test]
    fn platforms_stand_beneath_their_image() {
        // As Docker's client 28.2 shows it.
        let expect = "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.
                                                              Info ->  U In Use \n
\x1b[39m\x1b[1mIMAGE\x1b[0m                           \x1b[39m\x1b[1mID\x1b[0m             \x1b[39m\x1b[1mDISK USAGE\x1b[0m   \x1b[39m\x1b[1mCONTENT SIZE\x1b[0m   \x1b[39m\x1b[1mEXTRA\x1b[0m
nomani:1                        444444444444          10B             0B   U    \n
a/very/long/repository/name:and-a-tag
multi:latest                    111111111111        123MB           30MB   U    
├─ linux/amd64                  aaaaaaaaaaaa        100MB           30MB   U    
└─ linux/arm64/v8               bbbbbbbbbbbb           0B             0B        \n
<untagged>                      333333333333          10B             0B   U    \n
";
        assert_eq!(show(&images(), 80, false), expect);
    }

    #[test]
    fn a_narrow_terminal_has_fewer_columns() {
        let text = show(&images(), 40, false);
        assert!(text.contains("\nmulti:latest   111111111111        123MB\n"), "{text}");
    }
}
