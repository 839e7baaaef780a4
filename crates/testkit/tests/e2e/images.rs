//! Images in: every archive that is honest, and none that is not.

use ferry_testkit::image::sha256;
use ferry_testkit::tar::{Entry, Tar};
use ferry_testkit::{Compression, Env, Image, api};
use serde_json::json;

fn load(env: &Env, archive: &[u8]) -> api::Answer {
    let headers = [("Content-Type", "application/x-tar")];
    api::request(env.socket(), "POST", "/images/load", &headers, Some(archive)).unwrap()
}

/// An image of a few odd files under `/t`, over busybox.
fn odd_image(env: &Env) -> Image {
    let long = format!("t/{}/{}", "d".repeat(90), "f".repeat(120));
    let mut tar = Tar::new();
    tar.directory("t/", 0o755).file("t/plain", 0o640, "content");
    tar.directory(&format!("t/{}/", "d".repeat(90)), 0o755).file(&long, 0o644, "long");
    tar.gnu_long_file(&format!("t/{}", "g".repeat(180)), b"gnu");
    tar.symlink("t/link", "plain")
        .entry(&Entry { link: "t/plain", ..Entry::new(b'1', "t/hard", 0o640) });
    tar.entry(&Entry { uid: 1000, gid: 1001, ..Entry::new(b'0', "t/owned", 0o4755) });
    tar.entry(&Entry { device: (1, 3), ..Entry::new(b'3', "t/null", 0o666) });
    tar.entry(&Entry::new(b'6', "t/pipe", 0o644));
    let xattr: &[(&str, &[u8])] =
        &[("SCHILY.xattr.user.color", b"blue"), ("mtime", b"1700000000.123456789")];
    tar.entry(&Entry { pax: xattr, content: b"x", ..Entry::new(b'0', "t/xattr", 0o644) });
    if env.is_foreign() {
        // Docker knows no sparse files in layers.
        tar.file(
            "t/sparse",
            0o644,
            [vec![0; 1 << 20], vec![b'z'; 512], vec![0; (1 << 20) - 512]].concat(),
        );
    } else {
        tar.gnu_sparse_file("t/sparse", 1 << 20, &[b'z'; 512], 2 << 20);
    }
    let mut upper = Tar::new();
    upper.directory("t/", 0o755).file("t/.wh.gone", 0o644, "");
    upper.directory("t/opaque/", 0o755).file("t/opaque/.wh..wh..opq", 0o644, "").file(
        "t/opaque/new",
        0o644,
        "new",
    );
    let mut middle = Tar::new();
    middle.directory("t/", 0o755).file("t/gone", 0o644, "gone");
    middle.directory("t/opaque/", 0o755).file("t/opaque/old", 0o644, "old");
    Image::busybox().layer(&tar).layer(&middle).layer(&upper)
}

#[track_caller]
fn check_odd(env: &Env, name: &str) {
    let run = |script: &str| env.docker(&["run", "--rm", name, "sh", "-c", script]).ok();
    assert_eq!(run("cat /t/plain /t/link /t/hard"), "contentcontentcontent");
    assert_eq!(
        run("stat -c '%a %u %g %F' /t/plain /t/owned /t/null /t/pipe"),
        "640 0 0 regular file\n4755 1000 1001 regular empty file\n666 0 0 character special file\n644 0 0 fifo"
    );
    assert_eq!(run("stat -c %h /t/plain"), "2");
    assert_eq!(
        run("stat -c '%t %T' /t/null; echo x >/t/null; cat /t/ddd*/fff*; cat /t/ggg*"),
        "1 3\nlonggnu"
    );
    assert_eq!(run("stat -c '%s %Y' /t/sparse /t/xattr"), "2097152 1700000000\n1 1700000000");
    assert_eq!(
        run(
            "tail -c +1048577 /t/sparse | head -c 512 | tr -d z | wc -c; head -c 1000 /t/sparse | tr -d '\\0' | wc -c"
        ),
        "0\n0"
    );
    assert_eq!(
        run("ls /t/opaque; ls /t/gone 2>&1; true"),
        "new\nls: /t/gone: No such file or directory"
    );
    // What the image has can be changed, in the container alone.
    assert_eq!(
        run("echo more >>/t/plain; rm -r /t/opaque; mkdir /t/opaque; ls /t/opaque; cat /t/plain"),
        "contentmore"
    );
    assert_eq!(run("cat /t/plain"), "content");
}

#[test]
fn docker_archives_of_every_packing() {
    let env = Env::start();
    let image = odd_image(&env);
    for packing in Compression::ALL {
        if packing == Compression::Xz && env.is_foreign() {
            continue;
        }
        let name = format!("odd:{}", format!("{packing:?}").to_lowercase());
        let answer = load(&env, &packing.pack(&image.docker_archive(&[&name]))).is(200);
        assert!(answer.text().contains(&format!("Loaded image: {name}")), "{}", answer.text());
        assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
        check_odd(&env, &name);
        env.docker(&["rmi", &name]).exits(0);
    }
}

#[test]
fn oci_layouts_of_every_packing() {
    // Docker's own store wants `manifest.json` beside the layout; see `what_docker_saves`.
    let env = Env::builder().own().start();
    let image = odd_image(&env);
    for packing in Compression::ALL {
        let name = format!("odd:{}", format!("{packing:?}").to_lowercase());
        let answer = load(&env, &image.oci_layout(Some(&name), packing)).is(200);
        assert!(!answer.text().contains("errorDetail"), "{packing:?}: {}", answer.text());
        let id = image.id();
        let found = env.docker(&["images", "-q", "--no-trunc"]).ok();
        assert!(found.contains(&id), "{packing:?}: {found}");
        check_odd(&env, &id);
        env.docker(&["rmi", "-f", &id]).exits(0);
    }
}

#[test]
fn what_docker_saves() {
    let env = Env::start();
    let image = odd_image(&env);
    for packing in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
        let answer = load(&env, &image.saved("odd:saved", packing)).is(200);
        assert!(answer.text().contains("Loaded image: odd:saved"), "{}", answer.text());
        assert_eq!(env.inspect("odd:saved", "{{.Id}}"), image.id());
        check_odd(&env, "odd:saved");
        env.docker(&["rmi", "odd:saved"]).exits(0);
    }
}

#[test]
fn load_by_the_client() {
    let env = Env::builder().without_busybox().start();
    let folder = env.host_folder();
    let image = Image::busybox().with("Env", json!(["A=b"]));
    let file = folder.join("image.tar.gz");
    std::fs::write(&file, Compression::Gzip.pack(&image.docker_archive(&["one:1", "two/three:4"])))
        .unwrap();
    let said = env.docker(&["load", "-i", &file.to_string_lossy()]).ok();
    assert_eq!(said, "Loaded image: one:1\nLoaded image: two/three:4");
    let piped = env.invoke(&["load"]).stdin(std::fs::read(&file).unwrap()).run().ok();
    assert_eq!(piped, said);
    let quiet = env.docker(&["load", "-q", "-i", &file.to_string_lossy()]).ok();
    assert_eq!(quiet, said);
    let nameless = image.with("Cmd", json!(["true"]));
    let said = env.invoke(&["load"]).stdin(nameless.docker_archive(&[])).run().ok();
    assert_eq!(said, format!("Loaded image ID: {}", nameless.id()));
    env.docker(&["load", "-i", "/no/such"]).exits(1).says("no such file or directory");
    for name in ["one:1", "two/three:4", &nameless.id()] {
        env.docker(&["rmi", name]).exits(0);
    }
}

#[test]
fn images_are_listed_and_inspected() {
    let env = Env::start();
    let image = Image::busybox()
        .with("Env", json!(["A=b", "PATH=/bin"]))
        .with("Entrypoint", json!(["/bin/echo"]))
        .with("Cmd", json!(["hi"]))
        .with("User", json!("app"))
        .with("WorkingDir", json!("/tmp"))
        .with("Labels", json!({ "k": "v" }));
    load(&env, &image.docker_archive(&["repo/it:9"])).is(200);
    let id = image.id();
    let line = env
        .docker(&["images", "--format", "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}}", "repo/it"])
        .ok();
    assert!(line.starts_with(&format!("repo/it 9 {} ", &id[7..19])), "{line}");
    assert!(line.ends_with("MB"), "{line}");
    let template = "{{.Id}} {{.RepoTags}} {{.Config.Env}} {{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.User}} \
        {{.Config.WorkingDir}} {{.Config.Labels.k}} {{.Os}} {{.Created}} {{.RootFS.Type}} {{len .RootFS.Layers}}";
    assert_eq!(
        env.inspect("repo/it:9", template),
        format!(
            "{id} [repo/it:9] [A=b PATH=/bin] [/bin/echo] [hi] app /tmp v linux 2024-05-06T07:08:09.123456789Z layers 1"
        )
    );
    assert_eq!(
        env.inspect("repo/it:9", "{{index .RootFS.Layers 0}}"),
        format!("sha256:{}", sha256(&image.layers[0]))
    );
    for name in [&id[7..19], &id, "repo/it:9"] {
        assert_eq!(env.docker(&["image", "inspect", "-f", "{{.Id}}", name]).ok(), id);
    }
    assert_eq!(env.docker(&["run", "--rm", "repo/it:9"]).ok(), "hi");
    assert_eq!(env.docker(&["run", "--rm", "repo/it:9", "there"]).ok(), "there");
    assert_eq!(
        env.docker(&[
            "run",
            "--rm",
            "--entrypoint",
            "sh",
            "repo/it:9",
            "-c",
            "pwd; id -un; echo $A"
        ])
        .ok(),
        "/tmp\napp\nb"
    );
    let history = env
        .docker(&["history", "--no-trunc", "--format", "{{.ID}} {{.CreatedBy}}", "repo/it:9"])
        .ok();
    assert_eq!(history, format!("{id} layer 0"));
    env.docker(&["history", "nope"]).exits(1).says("No such image: nope");
    env.docker(&["image", "inspect", "nope"]).exits(1).says("No such image: nope");
    env.docker(&["rmi", "repo/it:9"]).exits(0);
}

#[test]
fn image_lists_are_filtered() {
    let env = Env::start();
    let one = Image::busybox().with("Labels", json!({ "color": "red" }));
    let two = Image::busybox().with("Labels", json!({ "color": "blue" }));
    load(&env, &one.docker_archive(&["one:1", "one:2"])).is(200);
    load(&env, &two.docker_archive(&["two:1"])).is(200);
    let list = |words: &[&str]| {
        let mut all = vec!["images", "--format", "{{.Repository}}:{{.Tag}}"];
        all.extend(words);
        let mut lines: Vec<String> = env.docker(&all).ok().lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(list(&["one"]), ["one:1", "one:2"]);
    assert_eq!(list(&["one:2"]), ["one:2"]);
    assert_eq!(list(&["--filter", "label=color"]), ["one:1", "one:2", "two:1"]);
    assert_eq!(list(&["--filter", "label=color=blue"]), ["two:1"]);
    assert_eq!(list(&["--filter", "reference=*:1"]), ["one:1", "two:1"]);
    env.docker(&["images", "--filter", "nope=1"]).exits(1).says("invalid filter 'nope'");
    for name in ["one:1", "one:2", "two:1"] {
        env.docker(&["rmi", name]).exits(0);
    }
}

#[test]
fn tag_and_remove() {
    let env = Env::start();
    let image = Image::busybox().with("Env", json!(["TAGGED=1"]));
    load(&env, &image.docker_archive(&["a:1"])).is(200);
    let id = image.id();
    env.docker(&["tag", "a:1", "b/c:2"]).exits(0);
    env.docker(&["tag", &id[7..19], "registry.example:5000/d"]).exits(0);
    assert_eq!(env.inspect("registry.example:5000/d:latest", "{{.Id}}"), id);
    env.docker(&["tag", "nope", "x"]).exits(1).says("No such image: nope");
    env.docker(&["tag", "a:1", "UPPER"]).exits(1).says("must be lowercase");
    assert_eq!(env.docker(&["rmi", "b/c:2"]).ok(), "Untagged: b/c:2");
    env.docker(&["rmi", &id]).exits(1).says("image is referenced in multiple repositories");
    assert_eq!(
        env.docker(&["rmi", "registry.example:5000/d"]).ok(),
        "Untagged: registry.example:5000/d:latest"
    );
    env.docker(&["create", "--name", "user", "a:1"]).exits(0);
    env.docker(&["rmi", "a:1"])
        .exits(1)
        .says("conflict: unable to remove repository reference \"a:1\" (must force)");
    env.docker(&["rm", "user"]).exits(0);
    let said = env.docker(&["rmi", "a:1"]).ok();
    assert!(said.starts_with(&format!("Untagged: a:1\nDeleted: {id}")), "{said}");
    env.docker(&["rmi", "a:1"]).exits(1).says("No such image: a:1");
    env.docker(&["run", "--rm", "busybox", "true"]).exits(0);
}

#[test]
fn a_running_containers_image_stays() {
    let env = Env::start();
    let image = Image::busybox().with("Env", json!(["RUNS=1"]));
    load(&env, &image.docker_archive(&["used:1"])).is(200);
    let id = env.run_detached(&["used:1", "sleep", "1000"]);
    env.docker(&["rmi", "-f", &image.id()])
        .exits(1)
        .says("image is being used by running container");
    assert_eq!(env.docker(&["exec", &id, "echo", "still"]).ok(), "still");
    env.docker(&["rm", "-f", &id]).exits(0);
    env.docker(&["rmi", "used:1"]).exits(0);
}

#[test]
fn import_makes_an_image_of_a_root() {
    let env = Env::start();
    let layer = Image::busybox().layers.remove(0);
    let folder = env.host_folder();
    let file = folder.join("root.tar");
    for packing in Compression::ALL {
        // Docker executes `xz`, which a reference engine's root may lack.
        if packing == Compression::Xz && env.is_foreign() {
            continue;
        }
        std::fs::write(&file, packing.pack(&layer)).unwrap();
        let id = env
            .docker(&[
                "import",
                "-c",
                "CMD [\"echo\", \"imported\"]",
                "-c",
                "ENV X=y",
                "-c",
                "WORKDIR /tmp",
                "-m",
                "said so",
                &file.to_string_lossy(),
                "imported:1",
            ])
            .ok();
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        assert_eq!(env.docker(&["run", "--rm", "imported:1"]).ok(), "imported");
        assert_eq!(
            env.inspect("imported:1", "{{.Config.Cmd}} {{.Config.WorkingDir}} {{.Comment}}"),
            "[echo imported] /tmp said so"
        );
        env.docker(&["rmi", "imported:1"]).exits(0);
    }
    let piped = env.invoke(&["import", "-"]).stdin(layer).run().ok();
    assert_eq!(env.docker(&["run", "--rm", &piped, "echo", "by id"]).ok(), "by id");
    env.docker(&["rmi", &piped]).exits(0);
    env.invoke(&["import", "-", "BAD"]).stdin("").run().exits(1).says("must be lowercase");
}

/// Every layer that tries to reach outside the root it is unpacked to.
fn hostile_layers() -> Vec<(&'static str, Vec<u8>)> {
    let dot_dot = |name| Entry { content: b"evil", ..Entry::new(b'0', name, 0o644) };
    let mut all = Vec::new();
    for (what, name) in [
        ("parent", "../escaped"),
        ("deep parent", "a/../../../escaped"),
        ("middle", "a/b/../../../../escaped"),
    ] {
        all.push((what, Tar::new().entry(&dot_dot(name)).finish()));
    }
    let through =
        |link: &str| Tar::new().symlink("door", link).file("door/escaped", 0o644, "evil").finish();
    all.push(("a link upwards", through("../../../../../../../../../tmp")));
    all.push(("an absolute link", through("/tmp")));
    all.push((
        "a hard link upwards",
        Tar::new().hard_link("passwd", "../../../../../../../../../etc/passwd").finish(),
    ));
    all.push((
        "an absolute hard link",
        Tar::new().hard_link("passwd", "/etc/passwd-of-the-host").finish(),
    ));
    let mut chain = Tar::new();
    chain.symlink("one", "..").symlink("one/two", "..").file("one/two/escaped", 0o644, "evil");
    all.push(("a chain of links", chain.finish()));
    let mut hard = Tar::new();
    hard.symlink("door", "/tmp").hard_link("again", "door").file("again/escaped", 0o644, "evil");
    all.push(("a hard link to a link", hard.finish()));
    let mut whiteout = Tar::new();
    whiteout.symlink("door", "/etc").file("door/.wh.passwd", 0o644, "");
    all.push(("a whiteout through a link", whiteout.finish()));
    all
}

#[test]
fn no_layer_leaves_its_root() {
    let env = Env::start();
    let hosts = std::fs::read("/etc/passwd").unwrap();
    for (what, layer) in hostile_layers() {
        let mut image = Image::busybox();
        image.layers.push(layer);
        let answer = load(&env, &image.docker_archive(&["hostile:1"]));
        let refused = answer.status != 200 || answer.text().contains("errorDetail");
        if refused {
            env.docker(&["image", "inspect", "hostile:1"]).exits(1);
        } else {
            // Docker takes some of these and resolves them inside the root; that is as safe.
            env.docker(&["run", "--rm", "hostile:1", "true"]).exits(0);
            env.docker(&["rmi", "hostile:1"]).exits(0);
        }
        for path in ["/tmp/escaped", "/escaped", "/var/escaped", "/var/tmp/escaped"] {
            assert!(!std::path::Path::new(path).exists(), "{what}: {path} was written");
        }
        assert_eq!(std::fs::read("/etc/passwd").unwrap(), hosts, "{what}");
    }
    if !env.is_foreign() {
        assert_eq!(env.docker(&["images", "-aq"]).ok().lines().count(), 1, "only busybox is left");
        env.assert_nothing_left();
    }
}

#[test]
fn an_archive_that_leaves_its_root_is_refused_and_leaves_nothing() {
    let env = Env::builder().own().start();
    let before = ferry_testkit::observe::files(&env.data_root().join("layers"));
    for (what, layer) in hostile_layers().into_iter().take(3) {
        let mut image = Image::busybox();
        image.layers.push(layer);
        let answer = load(&env, &image.docker_archive(&["hostile:1"]));
        let refused = answer.status != 200 || answer.text().contains("errorDetail");
        assert!(refused, "{what}: {}", answer.text());
        assert_eq!(
            ferry_testkit::observe::files(&env.data_root().join("layers")),
            before,
            "{what}"
        );
        env.assert_nothing_left();
    }
}

#[test]
fn the_archives_own_names_are_not_trusted() {
    let env = Env::start();
    // A layer that no image has: what is there already would not be read at all.
    let image = Image::new(vec![]).layer(Tar::new().file("unique", 0o644, "unique to this test"));
    let config = image.configuration();
    for (config_name, layer_name) in [
        ("../../../../etc/passwd", "layer.tar"),
        ("config.json", "../../../../../etc/passwd"),
        ("config.json", "/etc/passwd"),
        ("config.json", "missing.tar"),
        ("missing.json", "layer.tar"),
    ] {
        let manifest =
            json!([{ "Config": config_name, "RepoTags": ["hostile:1"], "Layers": [layer_name] }]);
        let mut tar = Tar::new();
        tar.file("config.json", 0o644, &config).file("layer.tar", 0o644, &image.layers[0]);
        tar.file("manifest.json", 0o644, manifest.to_string());
        let answer = load(&env, &tar.finish());
        let refused = answer.status >= 400 || answer.text().contains("errorDetail");
        assert!(refused, "{config_name} {layer_name}: {}", answer.text());
        env.docker(&["image", "inspect", "hostile:1"]).exits(1);
    }
    // An archive whose configuration states another layer than the one it has.
    let mut other = image.clone();
    let stated = other.configuration();
    other.layers[0] = Tar::new().file("x", 0o644, "not what was stated").finish();
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["hostile:1"], "Layers": ["l.tar"] }]);
    let mut tar = Tar::new();
    tar.file("c.json", 0o644, &stated).file("l.tar", 0o644, &other.layers[0]);
    tar.file("manifest.json", 0o644, manifest.to_string());
    let answer = load(&env, &tar.finish());
    assert!(answer.status >= 400 || answer.text().contains("errorDetail"), "{}", answer.text());
}

#[test]
fn both_layer_stores_give_the_same_tree() {
    for store in ["erofs", "overlay2"] {
        if store == "erofs" && !kernel_mounts_erofs_from_files() {
            continue;
        }
        let env = Env::builder().own().flags(&["--storage-driver", store]).start();
        let image = odd_image(&env);
        load(&env, &image.docker_archive(&["odd:1"])).is(200);
        check_odd(&env, "odd:1");
        let layers = ferry_testkit::observe::files(&env.data_root().join("layers"));
        let indexes = layers.iter().filter(|path| path.ends_with("index.erofs")).count();
        assert_eq!(indexes > 0, store == "erofs", "{layers:?}");
    }
}

/// What an engine that was told nothing chose; where it is not EROFS, asking for it must be refused.
fn kernel_mounts_erofs_from_files() -> bool {
    let mut env = Env::builder().own().start();
    let chosen = env.api("GET", "/info", None).json()["Driver"].clone();
    if chosen == "erofs" {
        return true;
    }
    assert_eq!(chosen, "overlay2");
    env.kill_engine();
    let mut refused = env.spawn_engine(&["--storage-driver", "erofs"], &[]);
    let status = refused.wait().expect("waiting for a child of ours");
    let log = env.log_tail(1);
    assert!(!status.success() && log.contains("overlay2 works on all of them"), "{log}");
    env.start_engine();
    false
}
