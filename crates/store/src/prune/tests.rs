use super::*;
use crate::scratch::{Scratch, layer};
use crate::store::{ImportOptions, LayerStoreKind};

fn scratch() -> Scratch {
    Scratch::new(LayerStoreKind::Directories)
}

fn import(scratch: &Scratch, name: Option<&str>, size: usize, label: &str, year: u16) -> ImageId {
    let options = ImportOptions {
        reference: name.map(|name| Reference::parse(name).unwrap()),
        changes: vec![format!("LABEL {label}")],
        created: format!("{year}-06-15T12:00:00Z"),
        ..ImportOptions::default()
    };
    let archive = layer(&format!("f{size}"), &vec![1; size]);
    scratch.store.import(archive.as_slice(), options).unwrap()
}

const ALL: PruneFilter = PruneFilter { dangling: false, until: None, labels: Vec::new() };
const DANGLING: PruneFilter = PruneFilter { dangling: true, until: None, labels: Vec::new() };

/// Prunes; gives the ids of the images that went, and the bytes.
fn prune(scratch: &Scratch, filter: &PruneFilter, used: &[&ImageId]) -> (Vec<String>, u64) {
    let users = |image: &ImageId| -> Vec<ImageUse> {
        let user = ImageUse { container: "c".into(), running: false };
        if used.contains(&image) { vec![user] } else { Vec::new() }
    };
    let ids: Vec<String> = scratch.images();
    let pruned = scratch.store.prune_images(filter, &users).unwrap();
    let mut gone: Vec<String> = pruned
        .removed
        .into_iter()
        .filter_map(|removed| match removed {
            Removed::Deleted(id) if ids.contains(&id.to_string()) => Some(id.to_string()),
            _ => None,
        })
        .collect();
    gone.sort();
    (gone, pruned.bytes)
}

impl Scratch {
    fn images(&self) -> Vec<String> {
        let images = self.store.images().list().unwrap();
        images.into_iter().map(|image| image.id.to_string()).collect()
    }
}

#[test]
fn only_images_without_a_tag_are_dangling() {
    let scratch = scratch();
    import(&scratch, Some("named:1"), 10, "a=b", 2024);
    let nameless = import(&scratch, None, 200, "a=b", 2024);
    assert_eq!(prune(&scratch, &DANGLING, &[&nameless]), (vec![], 0));
    assert_eq!(prune(&scratch, &DANGLING, &[]), (vec![nameless.to_string()], 200));
    assert_eq!(prune(&scratch, &DANGLING, &[]), (vec![], 0));
}

#[test]
fn images_in_use_stay_and_all_others_go() {
    let scratch = scratch();
    let used = import(&scratch, Some("used:1"), 10, "a=b", 2024);
    let other = import(&scratch, Some("other:1"), 200, "a=b", 2024);
    scratch.tag("other:1", "again:1");
    assert_eq!(prune(&scratch, &ALL, &[&used]), (vec![other.to_string()], 200));
    assert_eq!(scratch.images(), [used.to_string()]);
}

#[test]
fn time_and_labels_choose() {
    let scratch = scratch();
    let old = import(&scratch, None, 1, "a=b", 2001);
    let new = import(&scratch, None, 2, "a=c", 2024);
    let until = |year| Some(parse_time(&format!("{year}-01-01T00:00:00Z")).unwrap());
    let label = |negated, value: Option<&str>| {
        let (key, value) = ("a".to_owned(), value.map(str::to_owned));
        PruneFilter { labels: vec![LabelFilter { negated, key, value }], ..DANGLING }
    };
    assert_eq!(prune(&scratch, &PruneFilter { until: until(2001), ..DANGLING }, &[]).0.len(), 0);
    assert_eq!(prune(&scratch, &label(false, Some("x")), &[]).0.len(), 0);
    assert_eq!(prune(&scratch, &label(true, None), &[]).0.len(), 0);
    assert_eq!(prune(&scratch, &label(false, Some("c")), &[]).0, [new.to_string()]);
    let before = PruneFilter { until: until(2010), ..label(true, Some("c")) };
    assert_eq!(prune(&scratch, &before, &[]).0, [old.to_string()]);
}

#[test]
fn times_are_read() {
    #[track_caller]
    fn check(text: &str, expect: Option<(i64, u32)>) {
        assert_eq!(parse_time(text).map(|time| (time.seconds, time.nanoseconds)), expect, "{text}");
    }
    check("1970-01-01T00:00:00Z", Some((0, 0)));
    check("2024-02-29T23:59:59.5Z", Some((1_709_251_199, 500_000_000)));
    check("2026-11-21T15:08:56.836738249Z", Some((1_795_273_736, 836_738_249)));
    check("1969-12-31T23:00:00-01:00", Some((0, 0)));
    check("1970-01-01T01:30:00.0000000001+01:30", Some((0, 0)));
    for text in ["", "2024-02-29", "2024-02-29T23:59:59", "2024-02-29T23:59:59.Z", "é-02-29T23:59Z"]
    {
        check(text, None);
    }
}

#[test]
fn what_nothing_needs_is_looked_for_once() {
    let scratch = scratch();
    for (size, label) in [(10, "a=1"), (20, "a=2"), (30, "a=3")] {
        import(&scratch, None, size, label, 2024);
    }
    let here = || std::fs::read_dir(scratch.store.layout().layers()).unwrap().count();
    let before = here();
    let asked = std::cell::Cell::new(0);
    let users = |_: &ImageId| -> Vec<ImageUse> {
        assert_eq!(here(), before);
        asked.set(asked.get() + 1);
        Vec::new()
    };
    let pruned = scratch.store.prune_images(&DANGLING, &users).unwrap();
    assert_eq!((pruned.bytes, asked.get() >= 3), (60, true));
    assert!(scratch.settled().is_empty());
}
