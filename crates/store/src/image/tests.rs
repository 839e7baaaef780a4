use super::*;
use crate::error::ErrorKind;
use crate::prune::PruneFilter;
use crate::scratch::{Platforms, Scratch, config, layer, named_docker_archive};
use crate::store::{LayerStoreKind, MountOptions};
use crate::tar::builder::TarBuilder;

const A: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn scratch() -> (Scratch, ImageId) {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    scratch.load(&named_docker_archive(&[layer("f", b"1")], r#"["a:1"]"#)).unwrap();
    let id = scratch.store.images().resolve("a:1").unwrap();
    (scratch, id)
}

#[track_caller]
fn missing(scratch: &Scratch, reference: &str, words: &str) {
    let error = scratch.store.images().get(reference).unwrap_err();
    assert_eq!(error.to_string(), words);
}

#[test]
fn images_are_found_by_name_id_and_prefix() {
    let (scratch, id) = scratch();
    scratch.tag("a:1", "b");
    let images = scratch.store.images();
    for reference in [
        "a:1",
        "docker.io/library/a:1",
        "b",
        "b:latest",
        id.as_str(),
        id.digest().hex(),
        id.short(),
        &id.as_str()[..10],
    ] {
        assert_eq!(images.get(reference).unwrap().id, id, "{reference}");
    }
    missing(&scratch, "a", "No such image: a:latest");
    missing(&scratch, "nope:x", "No such image: nope:x");
    missing(&scratch, &format!("c@{id}"), &format!("No such image: c@{id}"));
    missing(&scratch, &format!("a:1@{id}"), &format!("No such image: a:1@{id}"));
    missing(
        &scratch,
        &format!("{}:latest", id.short()),
        &format!("No such image: {}:latest", id.short()),
    );
    missing(&scratch, "deadbeef", "No such image: deadbeef:latest");
    missing(&scratch, A, &format!("No such image: sha256:{A}"));
    missing(&scratch, &format!("sha256:{A}"), &format!("No such image: sha256:{A}"));
    missing(
        &scratch,
        "FOO",
        "invalid reference format: repository name (library/FOO) must be lowercase",
    );
    let image = images.get("b").unwrap();
    let names: Vec<String> = image.repo_tags.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["a:1", "b:latest"]);
    assert!(image.last_tagged.is_some());
}

#[test]
fn a_name_wins_over_the_beginning_of_an_id() {
    let (scratch, id) = scratch();
    scratch.load(&named_docker_archive(&[layer("f", b"2")], r#"["other:1"]"#)).unwrap();
    let name = &id.digest().hex()[..4];
    scratch.tag("other:1", name);
    assert_ne!(scratch.store.images().resolve(name).unwrap(), id);
}

#[test]
fn tags_move_and_digests_cannot_be_given() {
    let (scratch, id) = scratch();
    scratch.load(&named_docker_archive(&[layer("f", b"2")], r#"["b:1"]"#)).unwrap();
    scratch.tag("b:1", "a:1");
    assert_ne!(scratch.store.images().resolve("a:1").unwrap(), id);
    assert!(scratch.store.images().get(id.as_str()).unwrap().repo_tags.is_empty());
    let pinned = Reference::parse(&format!("a@{id}")).unwrap();
    let error = scratch.store.images().tag("b:1", &pinned).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = scratch.store.images().tag("none", &Reference::parse("x").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "No such image: none:latest");
}

#[test]
fn the_last_name_takes_the_image_along() {
    let (scratch, id) = scratch();
    scratch.tag("a:1", "b:1");
    assert_eq!(scratch.remove("a:1", false, &[]).unwrap(), ["Untagged: a:1"]);
    let diff_id = Digest::sha256_of(&layer("f", b"1"));
    assert_eq!(
        scratch.remove("b:1", false, &[]).unwrap(),
        ["Untagged: b:1".to_owned(), format!("Deleted: {id}"), format!("Deleted: {diff_id}")]
    );
    assert!(scratch.settled().is_empty());
    assert_eq!(scratch.remove("b:1", false, &[]).unwrap_err(), "No such image: b:1");
}

#[test]
fn removal_by_id_wants_one_repository_or_force() {
    let (scratch, id) = scratch();
    scratch.tag("a:1", "a:2");
    let short = id.short();
    let conflict = format!(
        "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    );
    assert_eq!(scratch.remove(short, false, &[]).unwrap_err(), conflict);
    let removed = scratch.remove(short, true, &[]).unwrap();
    assert_eq!(removed[..2], ["Untagged: a:1", "Untagged: a:2"]);
    assert_eq!(removed.len(), 4);
}

#[test]
fn containers_keep_images_in_dockers_words() {
    let (scratch, id) = scratch();
    let short = id.short();
    let (running, stopped) = ([(A, true)], [(A, false)]);
    for users in [running, stopped] {
        assert_eq!(
            scratch.remove("a:1", false, &users).unwrap_err(),
            format!(
                "conflict: unable to remove repository reference \"a:1\" (must force) - container 0123456789ab is using its referenced image {short}"
            )
        );
    }
    for force in [false, true] {
        assert_eq!(
            scratch.remove(short, force, &running).unwrap_err(),
            format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container 0123456789ab"
            )
        );
    }
    assert_eq!(
        scratch.remove(short, false, &stopped).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container 0123456789ab"
        )
    );
    // By force a running container's image only loses its name.
    assert_eq!(scratch.remove("a:1", true, &running).unwrap(), ["Untagged: a:1"]);
    assert!(scratch.store.images().get(short).is_ok());
    assert_eq!(scratch.remove(short, true, &stopped).unwrap()[0], format!("Deleted: {id}"));
}

#[test]
fn layers_stay_while_a_container_or_another_image_has_them() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let (shared, own) = (layer("f", b"1"), layer("g", b"2"));
    scratch.load(&named_docker_archive(std::slice::from_ref(&shared), r#"["a:1"]"#)).unwrap();
    scratch.load(&named_docker_archive(&[shared, own], r#"["b:1"]"#)).unwrap();
    let image = scratch.store.images().resolve("b:1").unwrap();
    scratch.store.create_container_fs("c", Some(&image)).unwrap();
    // Neither layer goes: the container holds both, the other image one.
    assert_eq!(scratch.remove("b:1", true, &[(A, false)]).unwrap().len(), 2);
    let mount = scratch.store.mount_container_fs("c", MountOptions::default()).unwrap();
    drop(mount);
    scratch.store.remove_container_fs("c").unwrap().delete().unwrap();
    // Image a: its configuration and its layer.
    assert_eq!(scratch.settled().len(), 2);
    assert_eq!(scratch.remove("a:1", false, &[]).unwrap().len(), 3);
    assert!(scratch.settled().is_empty());
}

/// Three images, each the parent of the next; the one between has no name.
fn family() -> (Scratch, Vec<ImageId>) {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let layers = [layer("f", b"1"), layer("g", b"2"), layer("h", b"3")];
    let mut ids: Vec<ImageId> = Vec::new();
    for count in 1..=layers.len() {
        let layers = &layers[..count];
        let configuration = config(layers);
        let names: Vec<String> = (0..count).map(|number| format!("{number}.tar")).collect();
        let tags = if count == 2 { Vec::new() } else { vec![format!("image:{count}")] };
        let manifest = serde_json::json!([{
            "Config": "c.json",
            "RepoTags": tags,
            "Layers": names,
            "Parent": ids.last().map(ToString::to_string).unwrap_or_default(),
        }]);
        let mut archive = TarBuilder::new().file("c.json", configuration.as_bytes());
        for (name, layer) in names.iter().zip(layers) {
            archive = archive.file(name, layer);
        }
        let archive = archive.file("manifest.json", manifest.to_string().as_bytes()).finish();
        scratch.load(&archive).unwrap();
        ids.push(Digest::sha256_of(configuration.as_bytes()).into());
    }
    (scratch, ids)
}

#[test]
fn parents_without_a_name_go_with_their_last_child() {
    let (scratch, ids) = family();
    let removed = scratch.remove_and_prune("image:3").unwrap();
    // Each with its own layer, the child first.
    assert_eq!(removed.len(), 5);
    assert_eq!(removed[0], "Untagged: image:3");
    assert_eq!(removed[1], format!("Deleted: {}", ids[2]));
    assert_eq!(removed[3], format!("Deleted: {}", ids[1]));
    assert!(scratch.store.images().get(ids[0].as_str()).is_ok(), "it has a name");
    assert!(scratch.store.images().get(ids[1].as_str()).is_err());

    let (scratch, ids) = family();
    assert_eq!(scratch.remove("image:3", false, &[]).unwrap().len(), 3);
    assert!(scratch.store.images().get(ids[1].as_str()).is_ok(), "nothing is pruned unasked");
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

#[test]
fn further_platforms_of_a_name_are_found_shown_and_removed_with_it() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    scratch.load(&Platforms::new().archive()).unwrap();
    let images = scratch.store.images();
    let (amd, arm) = (platform("linux/amd64"), platform("linux/arm64"));
    let [first, second] = [&amd, &arm].map(|one| images.get_for("multi:1", one).unwrap().id);
    assert_eq!(images.resolve("multi:1").unwrap(), first);
    assert_eq!(images.get_for(first.short(), &arm).unwrap().id, second);
    assert_eq!(images.parts().unwrap(), HashSet::from([second.clone()]));
    let error = images.get_for("multi:1", &platform("linux/s390x")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image with reference multi:1 was found but its platform (linux/amd64) does not match the specified platform (linux/s390x)"
    );
    // What a name lists is no litter.
    let pruned = scratch
        .store
        .prune_images(&PruneFilter { dangling: true, until: None, labels: Vec::new() }, &|_| {
            Vec::new()
        });
    assert!(pruned.unwrap().removed.is_empty());
    // As long as one stays, the name does.
    let remove = |platforms: &[Platform], user: Option<&ImageId>| {
        let in_use = |image: &ImageId| -> Vec<ImageUse> {
            let used = user.filter(|user| *user == image);
            used.map(|_| ImageUse { container: "c".repeat(64), running: true })
                .into_iter()
                .collect()
        };
        let removed = images.remove_platforms("multi:1", platforms, Removal::default(), &in_use);
        removed.map_err(|error| error.to_string())
    };
    let all = [amd.clone(), platform("linux/s390x")];
    assert!(remove(&all, None).unwrap_err().contains("(linux/s390x)"));
    let refused = remove(std::slice::from_ref(&amd), Some(&first)).unwrap_err();
    assert!(refused.contains("is being used by running container"), "{refused}");
    assert_eq!(images.resolve("multi:1").unwrap(), first);
    let removed = remove(std::slice::from_ref(&amd), None).unwrap();
    assert_eq!(removed[0], Removed::Deleted(first.clone()));
    assert_eq!(images.resolve("multi:1").unwrap(), second);
    assert!(images.get(first.as_str()).is_err());
    let removed = remove(&[arm], None).unwrap();
    assert_eq!(removed[0], Removed::Untagged("multi:1".to_owned()));
    assert!(scratch.settled().is_empty(), "{:?}", scratch.settled());
    // All at once, and by the removal of the name.
    scratch.load(&Platforms::new().archive()).unwrap();
    remove(&[platform("linux/arm64"), amd], None).unwrap();
    assert!(scratch.settled().is_empty());
    scratch.load(&Platforms::new().archive()).unwrap();
    scratch.tag("multi:1", "multi:2");
    scratch.remove("multi:1", false, &[]).unwrap();
    assert_eq!(images.parts().unwrap().len(), 1);
    let removed = scratch.remove("multi:2", false, &[]).unwrap();
    assert!(removed.contains(&format!("Deleted: {second}")), "{removed:?}");
    assert!(scratch.settled().is_empty());
}
