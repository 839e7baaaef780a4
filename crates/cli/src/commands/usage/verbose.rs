//! `system df -v`: every thing with its size.

use std::rc::Rc;

use ferry_api::{ContainerSummary, DiskUsage};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::super::{list_containers, list_images, volumes};
use crate::format::listing::{Listing, Row};
use crate::format::short_id;
use crate::format::units::{human_duration, human_size};
use crate::template::{Field, List, Mode, Struct, Template, Value, shown_time};

const IMAGES: &str = "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t\
                      {{.Size}}\\t{{.SharedSize}}\\t{{.UniqueSize}}\\t{{.Containers}}";
const CONTAINERS: &str = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.LocalVolumes}}\\t\
                          {{.Size}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Names}}";
const VOLUMES: &str = "table {{.Name}}\\t{{.Links}}\\t{{.Size}}";
const CACHE: &str = "table {{.ID}}\\t{{.CacheType}}\\t{{.Size}}\\t{{.CreatedSince}}\\t\
                     {{.LastUsedSince}}\\t{{.UsageCount}}\\t{{.Shared}}";

const RAW_IMAGE: &str = "type: Image\nrepository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\n\
                         image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
const RAW_CONTAINER: &str = "type: Container\ncontainer_id: {{.ID}}\nimage: {{.Image}}\n\
                             command: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
                             state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\n\
                             names: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\n\
                             ports: {{- pad .Ports 1 0}}\nsize: {{.Size}}\n";
const RAW_VOLUME: &str = "type: Volume\nname: {{.Name}}\ndriver: {{.Driver}}\n";
const RAW_CACHE: &str = "type: Build Cache\nbuild_cache_id: {{.ID}}\nparent_id: {{.Parent}}\n\
                         build_cache_type: {{.CacheType}}\ndescription: {{.Description}}\n\
                         created_at: {{.CreatedAt}}\ncreated_since: {{.CreatedSince}}\n\
                         last_used_at: {{.LastUsedAt}}\nlast_used_since: {{.LastUsedSince}}\n\
                         usage_count: {{.UsageCount}}\nin_use: {{.InUse}}\nshared: {{.Shared}}\n";

type Headings = &'static [(&'static str, &'static str)];

const OF_IMAGES: Headings = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];
const OF_CONTAINERS: Headings = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
];
const OF_VOLUMES: Headings = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
const OF_CACHE: Headings = &[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

/// Shows everything, in a table or as `format` wants.
pub(super) fn show(usage: &DiskUsage, format: &str, now: Timestamp) -> Result<String, String> {
    match format {
        "" | "table" => tables(usage, now),
        "raw" => raw(usage, now),
        format => through(usage, format, now),
    }
}

fn tables(usage: &DiskUsage, now: Timestamp) -> Result<String, String> {
    let table = |format, headings, rows| Listing { format, headings }.render(rows);
    let cached = usage.build_cache.iter().filter(|it| !it["Shared"].as_bool().unwrap_or(false));
    let cached: i64 = cached.filter_map(|it| it["Size"].as_i64()).sum();
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\n\
         Build cache usage: {}\n\n{}",
        table(IMAGES, OF_IMAGES, images(usage, true, now))?,
        table(CONTAINERS, OF_CONTAINERS, containers(usage, true, now))?,
        table(VOLUMES, OF_VOLUMES, usage.volumes.iter().map(volumes::row).collect())?,
        human_size(cached, 4),
        table(CACHE, OF_CACHE, cache(usage, true, now))?,
    ))
}

fn raw(usage: &DiskUsage, now: Timestamp) -> Result<String, String> {
    let plain = |format, rows| Listing { format, headings: &[] }.render(rows);
    Ok([
        plain(RAW_IMAGE, images(usage, false, now))?,
        plain(RAW_CONTAINER, containers(usage, false, now))?,
        plain(RAW_VOLUME, usage.volumes.iter().map(volumes::row).collect())?,
        plain(RAW_CACHE, cache(usage, false, now))?,
    ]
    .concat())
}

/// All in one template.
fn through(usage: &DiskUsage, format: &str, now: Timestamp) -> Result<String, String> {
    let list = |rows: Vec<Row>, type_name: &str| {
        let items = rows.into_iter().map(|row| Value::Object(Rc::new(row))).collect();
        Value::List(Rc::new(List { items, type_name: type_name.into(), is_nil: false }))
    };
    let field = |name: &'static str, value: Value| Field {
        name: name.into(),
        json: Some(name.into()),
        omit_empty: false,
        embedded: false,
        value,
    };
    let of_volumes = usage.volumes.iter().map(volumes::row).collect();
    let all = Struct {
        type_name: "*formatter.diskUsageContext".into(),
        fields: vec![
            field("Images", list(images(usage, false, now), "[]*formatter.imageContext")),
            field(
                "Containers",
                list(containers(usage, false, now), "[]*formatter.ContainerContext"),
            ),
            field("Volumes", list(of_volumes, "[]*formatter.volumeContext")),
            field("BuildCache", list(cache(usage, false, now), "[]*formatter.buildCacheContext")),
        ],
    };
    let text = if format == "json" { "{{json .}}" } else { format };
    let text = text.strip_prefix("table").unwrap_or(text).trim_matches(' ');
    let text = text.replace("\\t", "\t").replace("\\n", "\n");
    let template =
        Template::parse(&text).map_err(|error| format!("template parsing error: {error}"))?;
    let mut out = String::new();
    template.execute(&Value::Struct(Rc::new(all)), Mode::Plain, &mut out)?;
    // Compat: no line ends here.
    Ok(out)
}

fn images(usage: &DiskUsage, truncate: bool, now: Timestamp) -> Vec<Row> {
    let row = |image: &ferry_api::ImageSummary| {
        let first = image.repo_tags.as_ref().and_then(|tags| tags.first());
        let (name, tag) =
            first.and_then(|name| name.rsplit_once(':')).unwrap_or(("<none>", "<none>"));
        list_images::row(image, name, tag, "", truncate, now)
    };
    usage.images.iter().map(row).collect()
}

fn containers(usage: &DiskUsage, truncate: bool, now: Timestamp) -> Vec<Row> {
    let row = |container: &ContainerSummary| {
        // The size of the image is not the container's.
        let container = ContainerSummary { size_root_fs: 0, ..container.clone() };
        list_containers::row(&container, truncate, now)
    };
    usage.containers.iter().map(row).collect()
}

/// The records of the build cache, those first that were used longest ago.
fn cache(usage: &DiskUsage, truncate: bool, now: Timestamp) -> Vec<Row> {
    let time = |record: &Json, key: &str| record[key].as_str()?.parse::<Timestamp>().ok();
    let text = |record: &Json, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let mut records: Vec<&Json> = usage.build_cache.iter().collect();
    records.sort_by_key(|record| (time(record, "LastUsedAt"), text(record, "ID")));
    let since = |then: Option<Timestamp>| {
        then.map_or_else(String::new, |then| {
            format!("{} ago", human_duration(now.as_second() - then.as_second()))
        })
    };
    let row = |record: &&Json| {
        let is = |key: &str| record[key].as_bool().unwrap_or(false);
        let id = text(record, "ID");
        let id = if truncate { short_id(&id).to_owned() } else { id };
        let mark = if is("InUse") { "*" } else { "" };
        let parents = record["Parents"].as_array().into_iter().flatten().filter_map(Json::as_str);
        let parents: Vec<&str> = parents.collect();
        let parent = if parents.is_empty() { text(record, "Parent") } else { parents.join(", ") };
        let number = |key: &str| record[key].as_i64().unwrap_or(0);
        let at = |key: &str| match time(record, key) {
            Some(_) => shown_time(&text(record, key)),
            None => String::new(),
        };
        let cells = vec![
            ("CacheType", Value::str(text(record, "Type"))),
            ("CreatedAt", Value::str(at("CreatedAt"))),
            ("CreatedSince", Value::str(since(time(record, "CreatedAt")))),
            ("Description", Value::str(text(record, "Description"))),
            ("ID", Value::str(format!("{id}{mark}"))),
            ("InUse", Value::str(is("InUse").to_string())),
            ("LastUsedAt", Value::str(at("LastUsedAt"))),
            ("LastUsedSince", Value::str(since(time(record, "LastUsedAt")))),
            ("Parent", Value::str(parent)),
            ("Shared", Value::str(is("Shared").to_string())),
            ("Size", Value::str(human_size(number("Size"), 3))),
            ("UsageCount", Value::str(number("UsageCount").to_string())),
        ];
        Row { type_name: "*formatter.buildCacheContext", cells, labels: Vec::new() }
    };
    records.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> DiskUsage {
        serde_json::from_value(serde_json::json!({
            "LayersSize": 1000,
            "Images": [{"Id": format!("sha256:{}", "1".repeat(64)), "RepoTags": ["multi:latest"],
                        "Created": 1_700_000_000, "Size": 123_456_789, "SharedSize": -1, "Containers": 2}],
            "BuildCache": [
                {"ID": "bc1bc1bc1bc1bc1", "Type": "regular", "Description": "desc", "InUse": false,
                 "Shared": false, "Size": 500, "CreatedAt": "2024-01-02T03:04:05Z",
                 "LastUsedAt": "2024-01-03T03:04:05Z", "UsageCount": 3},
                {"ID": "bc2bc2bc2bc2bc2", "Type": "source.local", "Description": "other", "InUse": true,
                 "Shared": true, "Size": 1500, "CreatedAt": "2024-01-02T03:04:05Z", "LastUsedAt": null,
                 "UsageCount": 1},
            ],
        }))
        .unwrap()
    }

    fn check(format: &str) -> Result<String, String> {
        show(&usage(), format, Timestamp::from_second(1_790_000_000).unwrap())
    }

    // Each as Docker's client 28.2 shows it.

    #[test]
    fn the_build_cache_is_shown_by_its_age() {
        let text = check("").unwrap();
        assert!(
            text.ends_with(
                "Build cache usage: 500B\n\n\
                 CACHE ID        CACHE TYPE     SIZE      CREATED       LAST USED     USAGE     SHARED\n\
                 bc2bc2bc2bc2*   source.local   1.5kB     2 years ago                 1         true\n\
                 bc1bc1bc1bc1    regular        500B      2 years ago   2 years ago   3         false\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_template_sees_all_lists() {
        let text = check(
            "{{range .Images}}{{.Repository}} {{.Size}};{{end}}{{range .BuildCache}}{{.ID}} {{.UsageCount}};{{end}}",
        );
        assert_eq!(text.unwrap(), "multi 123MB;bc2bc2bc2bc2bc2* 1;bc1bc1bc1bc1bc1 3;");
        let json = check("json").unwrap();
        assert!(json.starts_with(r#"{"Images":[{"Containers":"2","CreatedAt":"#), "{json}");
        assert!(
            json.contains(r#"],"Containers":[],"Volumes":[],"BuildCache":[{"CacheType":"#),
            "{json}"
        );
        assert!(json.ends_with('}'));
        assert_eq!(
            check("{{.Nope}}").unwrap_err(),
            "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.diskUsageContext"
        );
    }

    #[test]
    fn raw_names_the_kind_of_each() {
        let text = check("raw").unwrap();
        assert!(text.starts_with(
            "type: Image\nrepository: multi\ntag: latest\ndigest: \nimage_id: sha256:111"
        ));
        assert!(
            text.contains("\n\ntype: Build Cache\nbuild_cache_id: bc2bc2bc2bc2bc2*\nparent_id: \n")
        );
    }
}
