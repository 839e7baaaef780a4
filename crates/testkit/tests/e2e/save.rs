//! Images and files out as archives.

use std::collections::BTreeMap;

use ferry_testkit::env::reference_host;
use ferry_testkit::image::sha256;
use ferry_testkit::registry::Form;
use ferry_testkit::tar::Tar;
use ferry_testkit::{Compression, Env, FaultRegistry, Image};
use serde_json::{Value, json};

use crate::pull::{image_of, scrub};

/// The files of an archive, by name.
pub(crate) fn members(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut rest = archive;
    while rest.len() >= 512 && rest[0] != 0 {
        let text = |from: usize, to: usize| {
            let field = &rest[from..to];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).trim().to_owned()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
        let prefix = text(345, 500);
        let name =
            if prefix.is_empty() { text(0, 100) } else { format!("{prefix}/{}", text(0, 100)) };
        if matches!(rest[156], b'0' | 0) {
            files.insert(name, rest[512..512 + size].to_vec());
        }
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
    files
}

pub(crate) fn json_of(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Value {
    let bytes = files.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", files.keys()));
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn what_is_saved_can_be_loaded() {
    let env = Env::start();
    let image = Image::busybox()
        .with("Env", json!(["SAVED=1"]))
        .layer(Tar::new().file("saved", 0o640, "saved").symlink("link", "saved"));
    env.load(&image, "saved:1");
    env.docker(&["tag", "saved:1", "saved/too:2"]).exits(0);
    let folder = env.host_folder();
    let file = folder.join("image.tar").to_string_lossy().into_owned();
    env.docker(&["save", "-o", &file, "saved:1", "saved/too:2"]).exits(0);
    let archive = std::fs::read(&file).unwrap();
    let piped = env.docker(&["save", "saved:1", "saved/too:2"]).exits(0).stdout;
    assert_eq!(members(&piped), members(&archive), "the same image gives the same archive");
    let files = members(&archive);
    let manifest = json_of(&files, "manifest.json");
    assert_eq!(manifest[0]["RepoTags"], json!(["saved:1", "saved/too:2"]));
    let config = manifest[0]["Config"].as_str().unwrap();
    assert_eq!(files[config], image.configuration());
    for (layer, diff) in manifest[0]["Layers"].as_array().unwrap().iter().zip(&image.layers) {
        assert_eq!(&files[layer.as_str().unwrap()], diff, "layers are what they were");
    }
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("blobs/sha256/")) {
        assert_eq!(name.trim_start_matches("blobs/sha256/"), sha256(bytes));
    }
    env.docker(&["rmi", "-f", &image.id()]).exits(0);
    let said = env.docker(&["load", "-i", &file]).ok();
    assert_eq!(said, "Loaded image: saved:1\nLoaded image: saved/too:2");
    assert_eq!(env.inspect("saved/too:2", "{{.Id}}"), image.id());
    assert_eq!(
        env.docker(&["run", "--rm", "saved:1", "sh", "-c", "cat /link; echo $SAVED"]).ok(),
        "saved1"
    );
    env.docker(&["rmi", "-f", &image.id()]).exits(0);
}

#[test]
fn a_pulled_image_is_saved_as_it_came() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    let zstd = Form { layers: Compression::Zstd, ..Form::default() };
    for (tag, form) in [("gzip", Form::default()), ("zstd", zstd), ("v2", Form::docker())] {
        let image = image_of(50, 3, 2000).with("Env", json!([format!("TAG={tag}")]));
        let published = registry.publish(&format!("came:{tag}"), &image, form);
        let name = registry.name(&format!("came:{tag}"));
        env.docker(&["pull", &name]).exits(0);
        let archive = env.docker(&["save", &name]).exits(0).stdout;
        let files = members(&archive);
        let index = json_of(&files, "index.json");
        assert_eq!(index["manifests"][0]["digest"], published.digest.as_str(), "{index}");
        for layer in published.layers.iter().chain([&published.digest, &published.id]) {
            let stored = &files[&format!("blobs/sha256/{}", &layer[7..])];
            assert_eq!(format!("sha256:{}", sha256(stored)), *layer);
        }
        env.docker(&["rmi", "-f", &published.id]).exits(0);
        drop(env.invoke(&["load"]).stdin(archive.clone()).run().ok());
        assert_eq!(env.inspect(&name, "{{.Id}}"), published.id);
        let again = env.docker(&["save", &name]).exits(0).stdout;
        assert_eq!(members(&again), files, "saved, loaded and saved it is the same");
        env.docker(&["rmi", "-f", &published.id]).exits(0);
    }
    scrub(&env);
}

#[test]
fn several_images_in_one_archive() {
    let env = Env::start();
    let (one, two) = (image_of(51, 2, 500), image_of(52, 1, 500));
    env.load(&one, "several:one");
    env.load(&two, "several:two");
    let archive = env.docker(&["save", "several:one", "several:two"]).exits(0).stdout;
    let manifest = json_of(&members(&archive), "manifest.json");
    assert_eq!(manifest.as_array().map(Vec::len), Some(2));
    env.docker(&["rmi", "several:one", "several:two"]).exits(0);
    drop(env.invoke(&["load"]).stdin(archive).run().ok());
    assert_eq!(env.inspect("several:one", "{{.Id}}"), one.id());
    assert_eq!(env.inspect("several:two", "{{.Id}}"), two.id());
    // By id there is no name to load it under.
    let archive = env.docker(&["save", &two.id()]).exits(0).stdout;
    env.docker(&["rmi", "several:one", "several:two"]).exits(0);
    let said = env.invoke(&["load"]).stdin(archive).run().ok();
    assert_eq!(said, format!("Loaded image ID: {}", two.id()));
    env.docker(&["rmi", &two.id()]).exits(0);
}

#[test]
fn what_cannot_be_saved() {
    let env = Env::start();
    let said = env.docker(&["save", "nope:1"]).exits(1);
    assert!(said.err().contains("reference does not exist"), "{said:?}");
    assert!(said.stdout.is_empty(), "an archive that cannot be is not begun");
    env.docker(&["save", "-o", "/no/such/folder/file", "busybox"]).exits(1);
    let folder = env.host_folder();
    let file = folder.join("kept").to_string_lossy().into_owned();
    env.docker(&["save", "-o", &file, "nope:1"]).exits(1);
    assert!(!std::path::Path::new(&file).exists(), "nothing is left of what failed");
    env.api("GET", "/images/nope:1/get", None).is(404);
}

#[test]
fn the_reference_engine_loads_what_is_saved() {
    let Some(host) = reference_host() else {
        println!("not run: there is no FERRY_REFERENCE to load it in");
        return;
    };
    let env = Env::builder().own().start();
    let image = Image::busybox().layer(Tar::new().file("from", 0o644, "ferry"));
    env.load(&image, "from-ferry:1");
    let archive = env.docker(&["save", "from-ferry:1"]).exits(0).stdout;
    let reference = Env::foreign(&host);
    let said = reference.invoke(&["load"]).stdin(archive).run().ok();
    assert_eq!(said, "Loaded image: from-ferry:1");
    assert_eq!(reference.inspect("from-ferry:1", "{{.Id}}"), image.id());
    let back = reference.docker(&["save", "from-ferry:1"]).exits(0).stdout;
    env.docker(&["rmi", "-f", &image.id()]).exits(0);
    drop(env.invoke(&["load"]).stdin(back).run().ok());
    assert_eq!(env.inspect("from-ferry:1", "{{.Id}}"), image.id());
}

#[test]
fn an_export_has_the_files_of_the_container() {
    let env = Env::start();
    let volume = env.host_folder();
    std::fs::write(volume.join("not-exported"), "x").unwrap();
    let bind = format!("{}:/mounted", volume.display());
    let script = "echo new >/new; rm /etc/group; mkdir /dir; ln /new /dir/hard; chmod 4711 /new; echo up; sleep 1000";
    let id = env.run_detached(&["--name", "exported", "-v", &bind, "busybox", "sh", "-c", script]);
    crate::lifecycle::wait_for_log(&env, &id, "up");
    for running in [true, false] {
        let archive = env.docker(&["export", "exported"]).exits(0).stdout;
        let files = members(&archive);
        let names: Vec<_> = files.keys().cloned().collect();
        // One of two hard links has the content.
        assert!(names.iter().any(|name| name == "new" || name == "dir/hard"), "{names:?}");
        assert!(!files.contains_key("etc/group") && files.contains_key("etc/passwd"));
        assert!(!files.contains_key("mounted/not-exported"), "what is mounted stays out");
        let imported = env.invoke(&["import", "-", "exported:1"]).stdin(archive).run().ok();
        let run = |script| env.docker(&["run", "--rm", "exported:1", "sh", "-c", script]).ok();
        assert_eq!(
            run("cat /dir/hard; stat -c '%a %h' /new; ls /etc/group 2>/dev/null; true"),
            "new\n4711 2"
        );
        env.docker(&["rmi", &imported]).exits(0);
        if running {
            env.docker(&["stop", "-t", "0", "exported"]).exits(0);
        }
    }
    env.docker(&["export", "nope"]).exits(1).says("No such container: nope");
    env.docker(&["rm", "-f", "exported"]).exits(0);
}
