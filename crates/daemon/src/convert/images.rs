//! Images.

use std::{collections::BTreeMap, sync::Arc};

use ferry_api::{
    DeleteResponseItem, Empty, Filters, HealthConfig, HistoryItem, ImageInspect, ImageSummary,
    container::DriverData,
    image::{
        AttestationProperties, ImageConfig, ImageMetadata, ImageProperties, ManifestSize, RootFs,
        UnpackedSize,
    },
};
use ferry_engine::ContainerSnapshot;
use ferry_oci::{
    image::{Healthcheck, RunConfig},
    reference::Reference,
};
use ferry_store::{Image, LabelFilter, ManifestSummary, PruneFilter, Removed};
use jiff::Timestamp;

use crate::{
    convert::{shown::signed, times},
    facts::Facts,
    http::error::Failure,
};

/// Shows an image in a list.
pub(crate) fn summary(image: &Image, containers: i64) -> ImageSummary {
    ImageSummary {
        containers,
        created: created(image.config.created.as_deref()).map_or(0, Timestamp::as_second),
        id: image.id.to_string(),
        labels: image.config.config.labels.clone(),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        descriptor: None,
        manifests: Vec::new(),
        repo_digests: Some(familiar(&image.repo_digests)),
        repo_tags: Some(familiar(&image.repo_tags)),
        shared_size: -1,
        size: signed(image.size),
        virtual_size: 0,
    }
}

/// Shows all of an image.
pub(crate) fn inspect(image: &Image, facts: &Facts) -> ImageInspect {
    let document = &image.config;
    let tagged = image
        .last_tagged
        .and_then(|time| Timestamp::new(time.seconds, i32::try_from(time.nanoseconds).ok()?).ok());
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: familiar(&image.repo_tags),
        repo_digests: familiar(&image.repo_digests),
        parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        comment: if document.comment.is_empty() {
            document.history.last().map(|step| step.comment.clone()).unwrap_or_default()
        } else {
            document.comment.clone()
        },
        created: document.created.clone().unwrap_or_default(),
        docker_version: document.docker_version.clone(),
        author: document.author.clone(),
        architecture: document.architecture.clone(),
        variant: document.variant.clone(),
        os: document.os.clone(),
        os_version: document.os_version.clone(),
        size: signed(image.size),
        graph_driver: DriverData { data: None, name: facts.layer_driver.to_owned() },
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: document.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: ImageMetadata { last_tag_time: times::written_or_never(tagged) },
        descriptor: None,
        manifests: Vec::new(),
        config: config(&document.config),
    }
}

/// Shows what an image's name leads to.
pub(crate) fn manifests(
    manifests: Vec<ManifestSummary>,
    containers: &[Arc<ContainerSnapshot>],
) -> Vec<ferry_api::ManifestSummary> {
    manifests.into_iter().map(|manifest| shown_manifest(manifest, containers)).collect()
}

fn shown_manifest(
    manifest: ManifestSummary,
    containers: &[Arc<ContainerSnapshot>],
) -> ferry_api::ManifestSummary {
    let ManifestSummary {
        descriptor,
        is_attestation,
        subject,
        image,
        platform,
        available,
        content_size,
        unpacked_size,
    } = manifest;
    let about = subject.filter(|_| is_attestation).map(|subject| subject.to_string());
    let of_image = platform.filter(|_| !is_attestation).map(|platform| ImageProperties {
        platform,
        size: UnpackedSize { unpacked: signed(unpacked_size) },
        containers: containers
            .iter()
            .filter(|one| image.as_ref().is_some_and(|image| one.image_id == image.as_str()))
            .map(|one| one.id.as_str().to_owned())
            .collect(),
    });
    let kind = match (is_attestation, &of_image) {
        (true, _) => "attestation",
        (false, Some(_)) => "image",
        (false, None) => "unknown",
    };
    let total = content_size.saturating_add(unpacked_size);
    ferry_api::ManifestSummary {
        id: descriptor.digest.to_string(),
        descriptor,
        available,
        size: ManifestSize { content: signed(content_size), total: signed(total) },
        kind: kind.to_owned(),
        image_data: of_image,
        attestation_data: about.map(|about| AttestationProperties { about }),
    }
}

fn config(config: &RunConfig) -> ImageConfig {
    let RunConfig {
        // Of the container that was committed; not shown since API 1.50.
        hostname: _,
        domainname: _,
        user,
        exposed_ports,
        env,
        entrypoint,
        cmd,
        volumes,
        working_dir,
        labels,
        stop_signal,
        // Compat: images have it not, containers have.
        stop_timeout: _,
        args_escaped,
        healthcheck,
        on_build,
        shell,
    } = config;
    let set = |set: &BTreeMap<String, ferry_oci::image::Empty>| -> BTreeMap<String, Empty> {
        set.keys().map(|key| (key.clone(), Empty {})).collect()
    };
    ImageConfig {
        args_escaped: *args_escaped,
        cmd: cmd.clone(),
        entrypoint: entrypoint.clone(),
        env: env.clone(),
        exposed_ports: exposed_ports.as_ref().map(set).unwrap_or_default(),
        healthcheck: healthcheck.as_ref().map(health),
        labels: labels.clone(),
        on_build: on_build.clone(),
        shell: shell.clone().unwrap_or_default(),
        stop_signal: stop_signal.clone(),
        user: user.clone(),
        volumes: volumes.as_ref().map(set),
        working_dir: working_dir.clone(),
    }
}

fn health(check: &Healthcheck) -> HealthConfig {
    let Healthcheck { test, interval, timeout, start_period, start_interval, retries } = check;
    HealthConfig {
        test: test.clone().unwrap_or_default(),
        interval: *interval,
        timeout: *timeout,
        start_period: *start_period,
        start_interval: *start_interval,
        retries: *retries,
    }
}

/// Shows the steps of an image, the newest first.
pub(crate) fn history(image: &Image) -> Vec<HistoryItem> {
    let mut sizes = image.layer_sizes.iter();
    let mut items: Vec<HistoryItem> = image
        .config
        .history
        .iter()
        .map(|step| {
            let size = if step.empty_layer { 0 } else { sizes.next().copied().unwrap_or_default() };
            HistoryItem {
                comment: step.comment.clone(),
                created: created(step.created.as_deref()).map_or(0, Timestamp::as_second),
                created_by: step.created_by.clone(),
                id: "<missing>".to_owned(),
                size: signed(size),
                tags: None,
            }
        })
        .collect();
    items.reverse();
    if let Some(newest) = items.first_mut() {
        newest.id = image.id.to_string();
        newest.tags = Some(familiar(&image.repo_tags)).filter(|tags| !tags.is_empty());
    }
    items
}

/// Shows what a removal did.
pub(crate) fn removed(removed: Vec<Removed>) -> Vec<DeleteResponseItem> {
    let items = removed.into_iter().map(|removed| match removed {
        Removed::Untagged(untagged) => {
            DeleteResponseItem { untagged, ..DeleteResponseItem::default() }
        }
        Removed::Deleted(image) => {
            DeleteResponseItem { deleted: image.to_string(), ..DeleteResponseItem::default() }
        }
        Removed::DeletedLayer(chain) => {
            DeleteResponseItem { deleted: chain.to_string(), ..DeleteResponseItem::default() }
        }
    });
    items.collect()
}

/// Chooses the images that filters ask for, and of each the names that they ask for.
///
/// # Errors
///
/// A filter that is not known, or a value that it does not take.
pub(crate) fn filtered(images: Vec<Image>, filters: &Filters) -> Result<Vec<Image>, Failure> {
    filters.check(&["dangling", "label", "before", "since", "until", "reference"])?;
    let dangling = filters.boolean("dangling")?;
    let position = |filter: &str| -> Result<Option<Timestamp>, Failure> {
        let Some(name) = filters.values(filter).next() else { return Ok(None) };
        let image = find(&images, name)
            .ok_or_else(|| Failure::not_found(format!("No such image: {name}")))?;
        Ok(created(image.config.created.as_deref()))
    };
    let mut before = position("before")?;
    let since = position("since")?;
    if let Some(until) = filters.values("until").next() {
        let until = until_time(until)?;
        before = Some(before.map_or(until, |before| before.min(until)));
    }
    let labels: Vec<&str> = filters.values("label").collect();
    let references: Vec<&str> = filters.values("reference").collect();
    let mut chosen = Vec::new();
    for mut image in images {
        let time = created(image.config.created.as_deref()).unwrap_or_default();
        let is_dangling = image.repo_tags.is_empty() && image.repo_digests.is_empty();
        let of_image = image.config.config.labels.as_ref();
        if dangling.is_some_and(|dangling| dangling != is_dangling)
            || before.is_some_and(|before| time >= before)
            || since.is_some_and(|since| time <= since)
            || !labels.iter().all(|label| has_label(of_image, label))
        {
            continue;
        }
        if !references.is_empty() {
            let fits = |name: &Reference| references.iter().any(|pattern| is_like(name, pattern));
            image.repo_tags.retain(fits);
            image.repo_digests.retain(fits);
            if image.repo_tags.is_empty() && image.repo_digests.is_empty() {
                continue;
            }
        }
        chosen.push(image);
    }
    Ok(chosen)
}

/// Reads which images a prune may take.
///
/// # Errors
///
/// A filter that is not known, or a value that it does not take.
pub(crate) fn prune_filter(filters: &Filters) -> Result<PruneFilter, Failure> {
    filters.check(&["dangling", "label", "label!", "until"])?;
    let until = match filters.values("until").collect::<Vec<_>>()[..] {
        [] => None,
        // Compat: Docker answers 500 to what is no time.
        [text] => Some(until_time(text).map_err(|_failure| {
            Failure::internal(format!("failed to parse value as time or duration: {text:?}"))
        })?),
        _ => return Err(Failure::internal("more than one until filter specified")),
    };
    let labels = |negated: bool| {
        let values = filters.values(if negated { "label!" } else { "label" });
        values.map(move |text| {
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (text, None),
            };
            LabelFilter { negated, key: key.to_owned(), value }
        })
    };
    Ok(PruneFilter {
        dangling: filters.boolean("dangling")?.unwrap_or(true),
        until: until.map(|time| ferry_store::Timestamp {
            seconds: time.as_second(),
            nanoseconds: u32::try_from(time.subsec_nanosecond()).unwrap_or(0),
        }),
        labels: labels(false).chain(labels(true)).collect(),
    })
}

/// Reads a moment: RFC 3339, seconds since 1970, or a duration ago.
fn until_time(text: &str) -> Result<Timestamp, Failure> {
    let invalid = || Failure::invalid(format!("invalid filter 'until={text}'"));
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = times::read(text) {
        return Ok(time);
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_error| invalid())?;
    Timestamp::now().checked_sub(span).map_err(|_error| invalid())
}

fn find<'a>(images: &'a [Image], name: &str) -> Option<&'a Image> {
    let hex = name.trim_start_matches("sha256:");
    let named = Reference::parse(name).ok().map(Reference::with_default_tag);
    images.iter().find(|image| {
        image.id.as_str().trim_start_matches("sha256:").starts_with(hex)
            || named.as_ref().is_some_and(|named| image.repo_tags.contains(named))
    })
}

fn has_label(labels: Option<&BTreeMap<String, String>>, wanted: &str) -> bool {
    let Some(labels) = labels else { return false };
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|own| own == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether a name is like a pattern of `path.Match`; a pattern without a tag fits all tags.
fn is_like(name: &Reference, pattern: &str) -> bool {
    is_glob(pattern, &name.familiar()) || is_glob(pattern, &name.familiar_name())
}

/// Matches `*` and `?` within segments.
fn is_glob(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.take_while(|at| !text.get(..*at).unwrap_or_default().contains('/'))
                .any(|at| is_glob(rest.as_str(), text.get(at..).unwrap_or_default()))
        }
        Some(wanted) => {
            let mut own = text.chars();
            own.next().is_some_and(|own| own == wanted || (wanted == '?' && own != '/'))
                && is_glob(rest.as_str(), own.as_str())
        }
    }
}

fn familiar(names: &[Reference]) -> Vec<String> {
    names.iter().map(Reference::familiar).collect()
}

fn created(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prune_takes_what_dangles_unless_told_otherwise() {
        let read = |text: &str| prune_filter(&Filters::parse(text).unwrap());
        let filter = read("{}").unwrap();
        assert!(filter.dangling && filter.until.is_none() && filter.labels.is_empty());
        let filter = read(r#"{"dangling":["0"],"label":["a=b"],"label!":["c"]}"#).unwrap();
        assert!(!filter.dangling);
        let label = |negated, key: &str, value: Option<&str>| LabelFilter {
            negated,
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        assert_eq!(filter.labels, [label(false, "a", Some("b")), label(true, "c", None)]);
        for (text, status, words) in [
            (r#"{"nope":["1"]}"#, 400, "invalid filter 'nope'"),
            (r#"{"dangling":["x"]}"#, 400, "invalid filter 'dangling=[x]'"),
            (r#"{"until":["x"]}"#, 500, "failed to parse value as time or duration: \"x\""),
        ] {
            let failure = read(text).unwrap_err();
            assert_eq!((failure.status.as_u16(), failure.message.as_str()), (status, words));
        }
    }

    #[test]
    fn patterns_fit_within_segments() {
        for (pattern, text, expect) in [
            ("busy*", "busybox", true),
            ("busy*:latest", "busybox:latest", true),
            ("b?sybox", "busybox", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("bus", "busybox", false),
        ] {
            assert_eq!(is_glob(pattern, text), expect, "{pattern} {text}");
        }
        let name = Reference::parse("busybox").unwrap().with_default_tag();
        assert!(is_like(&name, "busybox"));
        assert!(is_like(&name, "busybox:latest"));
        assert!(!is_like(&name, "busybox:1"));
    }
}
