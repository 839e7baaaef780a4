//! `buildx imagetools`: as Buildx does it, byte for byte.

use ferry_testkit::registry::{At, Form, Published, What};
use ferry_testkit::{Client, Compression, FaultRegistry, Folder, Output};
use serde_json::{Value, json};

use crate::pull::image_of;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Two images and an index of both, one with an attestation.
struct Source {
    registry: FaultRegistry,
    folder: Folder,
    mine: Published,
    theirs: Published,
    index: String,
}

impl Source {
    fn new() -> Self {
        let (registry, folder) = (FaultRegistry::start(), Folder::new());
        let mine = registry.publish("a:mine", &image_of(220, 2, 3000), Form::default());
        let theirs = registry.publish("a:theirs", &image_of(221, 1, 3000), Form::of("s390x"));
        let index = registry.publish_index("a:index", &[&mine, &theirs], false);
        registry.publish("b:docker", &image_of(222, 1, 3000), Form::docker());
        Self { registry, folder, mine, theirs, index }
    }

    fn run(&self, client: Client, words: &[&str]) -> Output {
        let base = self.registry.name("");
        let words = words.iter().map(|word| word.replace('@', &base));
        let words: Vec<String> =
            ["buildx", "imagetools"].map(str::to_owned).into_iter().chain(words).collect();
        self.folder.client(client, &words).run()
    }

    #[track_caller]
    fn ferry(&self, words: &[&str]) -> Output {
        self.run(Client::Ferry, words)
    }

    fn json(&self, repository: &str, which: &str) -> Value {
        serde_json::from_slice(&self.registry.manifest(repository, which).unwrap()).unwrap()
    }

    /// Puts an index with the tag `odd` beside another, with `data` and with a member whose digest
    /// nobody here can compute; that member.
    fn put_odd(&self, repository: &str, index: &str) -> Value {
        let mut index = self.json(repository, index);
        index["manifests"][0]["data"] = "eA==".into();
        let unknown = json!({
            "mediaType": MANIFEST, "digest": "blake3:af1349b9", "size": 3,
            "platform": { "architecture": "386", "os": "linux" },
        });
        index["manifests"].as_array_mut().unwrap().push(unknown.clone());
        let media_type = "application/vnd.oci.image.index.v1+json";
        let name = format!("{repository}:odd");
        self.registry.put_manifest(&name, media_type, index.to_string().as_bytes());
        unknown
    }
}

#[test]
fn an_index_is_made_of_images_from_elsewhere() {
    let source = Source::new();
    let words = [
        "create",
        "-t",
        "@c:1",
        "-t",
        "@d:2",
        "@a:mine",
        "@b:docker",
        "--annotation",
        "index:x=<y>",
        "--annotation",
        "manifest-descriptor[linux/s390x]:not=here",
        "--metadata-file",
        "meta.json",
    ];
    source.ferry(&words).exits(0);
    for (repository, tag) in [("c", "1"), ("d", "2")] {
        let index = source.json(repository, tag);
        assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
        assert_eq!(index["annotations"], json!({ "x": "<y>" }));
        let members = index["manifests"].as_array().unwrap();
        assert_eq!(members.len(), 2);
        assert_eq!(members[0]["digest"].as_str(), Some(source.mine.digest.as_str()));
        assert!(members[0]["platform"]["os"] == "linux" && members[0]["annotations"].is_null());
        // All that it lists is there.
        for member in members {
            let digest = member["digest"].as_str().unwrap();
            let manifest = source.json(repository, digest);
            for blob in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
                let digest = blob["digest"].as_str().unwrap();
                assert!(source.registry.blob(repository, digest).is_some(), "{digest}");
            }
        }
    }
    let raw = source.registry.manifest("c", "1").unwrap();
    assert_eq!(source.registry.manifest("d", "2").unwrap(), raw);
    let meta = std::fs::read(source.folder.at("meta.json")).unwrap();
    let meta: Value = serde_json::from_slice(&meta).unwrap();
    let digest = format!("sha256:{}", ferry_testkit::image::sha256(&raw));
    assert_eq!(meta["containerimage.digest"].as_str(), Some(digest.as_str()));
    assert_eq!(source.registry.open_uploads(), 0);
    // Of the same registry nothing was sent that could be mounted.
    let posts = source.registry.asked("POST", "/v2/c/blobs/uploads/");
    assert!(!posts.is_empty() && posts.iter().all(|post| post.query.contains("mount=")));
    assert!(source.registry.asked("PATCH", "/v2/c/").is_empty());
}

#[test]
fn a_single_index_is_copied_byte_for_byte() {
    let source = Source::new();
    let other = FaultRegistry::start();
    let to = other.name("far:1");
    // A layer that is cut on the way is taken up where it was.
    source.registry.fault(At::Layer(1), 1, What::Cut { after: 500 });
    source.ferry(&["create", "-t", &to, "@a:index"]).exits(0);
    assert_eq!(other.manifest("far", "1"), source.registry.manifest("a", &source.index));
    for layer in source.mine.layers.iter().chain(&source.theirs.layers) {
        assert_eq!(other.blob("far", layer), source.registry.blob("a", layer));
    }
    // One image stays one, if it is to.
    source.ferry(&["create", "--prefer-index=false", "-t", "@e:1", "@a:mine"]).exits(0);
    assert_eq!(
        source.registry.manifest("e", "1"),
        source.registry.manifest("a", &source.mine.digest)
    );
    source.ferry(&["create", "-t", "@e:2", "@a:mine"]).exits(0);
    let index = source.json("e", "2");
    assert_eq!(index["manifests"][0]["digest"].as_str(), Some(source.mine.digest.as_str()));
    // Platforms are chosen, others appended.
    source.ferry(&["create", "-t", "@e:3", "--platform", "linux/s390x", "@a:index"]).exits(0);
    source.ferry(&["create", "-t", "@e:3", "--append", "@b:docker"]).exits(0);
    let members = source.json("e", "3")["manifests"].clone();
    let members = members.as_array().unwrap();
    assert_eq!(members.len(), 2);
    assert_eq!(members[0]["digest"].as_str(), Some(source.theirs.digest.as_str()));
}

#[test]
fn mistakes_are_told_in_buildx_s_words() {
    let source = Source::new();
    let digest = source.mine.digest.clone();
    for (words, expect) in [
        (vec!["create"], "ERROR: no sources specified"),
        (vec!["create", "@a:mine"], "ERROR: can't push with no tags specified"),
        (vec!["create", "--dry-run", "@a:none"], "a:none: not found"),
        (vec!["create", "--dry-run", "sha256:xx"], "ERROR: failed to parse source \"sha256:xx\""),
        (vec!["create", "--dry-run", "@a:mine", "--annotation", "a=b"], "not supported yet"),
        (
            vec!["create", "--dry-run", "@a:mine", "@b:docker", &digest],
            "ERROR: multiple repositories specified, cannot infer repository",
        ),
        (
            vec!["create", "--dry-run", "@a:index", "--platform", "linux/386"],
            "none of the manifests",
        ),
        (vec!["create", "--builder", "none", "--dry-run", "@a:mine"], "no builder \"none\" found"),
        (vec!["create", "--progress", "bad", "-t", "@x:1", "@a:mine"], "invalid progress mode bad"),
        (vec!["inspect", "--raw", "--format", "x", "@a:mine"], "ERROR: format and raw cannot"),
        (vec!["inspect", "@a:none"], "a:none: not found"),
    ] {
        drop(source.ferry(&words).exits(1).says(expect));
    }
    assert!(source.registry.asked("PUT", "/manifests/").is_empty(), "nothing was written");
}

#[test]
fn an_image_is_shown_with_what_is_said_about_it() {
    let source = Source::new();
    let registry = &source.registry;
    let statement = json!({
        "predicateType": "https://slsa.dev/provenance/v1", "predicate": { "buildType": "x" },
    });
    let statement = statement.to_string();
    let blob = registry.put_blob("a", statement.as_bytes());
    let config = registry.put_blob("a", b"{}");
    let about = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.in-toto+json", "digest": blob, "size": statement.len(),
            "annotations": { "in-toto.io/predicate-type": "https://slsa.dev/provenance/v1" },
        }],
    });
    let bytes = about.to_string();
    let about = registry.put_manifest("a", MANIFEST, bytes.as_bytes());
    let mut index = source.json("a", &source.index);
    let members = index["manifests"].as_array_mut().unwrap();
    members.push(json!({
        "mediaType": MANIFEST, "digest": about, "size": bytes.len(),
        "platform": { "os": "unknown", "architecture": "unknown" },
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": source.theirs.digest,
        },
    }));
    let media_type = "application/vnd.oci.image.index.v1+json";
    registry.put_manifest("a:with", media_type, index.to_string().as_bytes());
    let show = |format: &str| source.ferry(&["inspect", "--format", format, "@a:with"]).ok();
    assert_eq!(show(r#"{{(index .Provenance "linux/s390x").SLSA.buildType}}"#), "x");
    assert_eq!(show(r#"{{(index .Image "linux/s390x").Architecture}}"#), "s390x");
    assert_eq!(show("{{json .SBOM}}"), "{}");
    let raw = source.ferry(&["inspect", "--raw", "@a:with"]).exits(0).stdout;
    assert_eq!(raw, index.to_string().as_bytes(), "without a newline");
    // With what a platform needs, and nothing that is about others.
    source.ferry(&["create", "-t", "@a:one", "--platform", "linux/s390x", "@a:with"]).exits(0);
    let members = source.json("a", "one")["manifests"].as_array().unwrap().len();
    assert_eq!(members, 2);
}

#[test]
fn what_is_not_understood_stays_in_an_index() {
    let source = Source::new();
    let unknown = source.put_odd("a", &source.index);
    let made = source.ferry(&["create", "--dry-run", "@a:odd", "@b:docker"]).ok();
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["manifests"][0]["data"], "eA==");
    assert_eq!(made["manifests"][2], unknown);
    assert_eq!(made["manifests"].as_array().unwrap().len(), 4);
    let elsewhere = source.ferry(&["create", "-t", "@c:1", "@a:odd"]).exits(1);
    drop(elsewhere.says("the algorithm of its digest is not supported"));
    assert_eq!(source.registry.manifest("c", "1"), None);
}

/// What is asked of Ferry and of Buildx.
const QUESTIONS: [&[&str]; 11] = [
    &["create", "--dry-run", "@r:one"],
    &["create", "--dry-run", "@r:index", "@r:docker", "--annotation", "index:a=<b>"],
    &["create", "--dry-run", "@r:index", "--platform", "linux/s390x"],
    &["create", "--dry-run", "@r:odd", "@r:docker"],
    &["create", "--dry-run", "@r:docker"],
    &["create", "--dry-run", "@r:one", "--prefer-index=false"],
    &["inspect", "@r:index"],
    &["inspect", "--raw", "@r:index"],
    &["inspect", "--format", "{{json .}}", "@r:index"],
    &["inspect", "--format", "{{json .Manifest}} {{.Name}}", "@r:one"],
    &["inspect", "--format", "{{json .Image}}", "@r:one"],
];

/// What Buildx says was recorded in `golden/imagetools.json`; where it is installed, it is asked
/// again, and with `FERRY_E2E_RECORD=crates/testkit/tests/e2e/golden` recorded anew.
#[test]
fn what_is_made_and_shown_is_buildx_s() {
    let source = Source::new();
    // The same to the byte on every machine and with every compressor.
    let form = |docker, architecture| Form { docker, layers: Compression::Plain, architecture };
    let one = source.registry.publish("r:one", &image_of(223, 2, 3000), form(false, "amd64"));
    let two = source.registry.publish("r:two", &image_of(224, 1, 3000), form(false, "s390x"));
    source.registry.publish("r:docker", &image_of(225, 1, 3000), form(true, "amd64"));
    let index = source.registry.publish_index("r:index", &[&one, &two], false);
    source.put_odd("r", &index);
    let say = |client, words: &[&str]| {
        let said = String::from_utf8(source.run(client, words).exits(0).stdout).unwrap();
        said.replace(&source.registry.name(""), "@")
    };
    let ours: Vec<String> = QUESTIONS.iter().map(|words| say(Client::Ferry, words)).collect();
    let has_buildx = Client::Docker.program().is_some()
        && source.folder.client(Client::Docker, &["buildx", "version"]).run().code == 0;
    let recorded: Vec<String> = if has_buildx {
        let theirs = QUESTIONS.iter().map(|words| say(Client::Docker, words)).collect();
        if let Ok(folder) = std::env::var("FERRY_E2E_RECORD") {
            let text = serde_json::to_string_pretty(&theirs).unwrap() + "\n";
            std::fs::write(std::path::Path::new(&folder).join("imagetools.json"), text).unwrap();
        }
        theirs
    } else {
        println!("no docker buildx: compared with what was recorded");
        serde_json::from_str(include_str!("golden/imagetools.json")).unwrap()
    };
    assert_eq!(recorded.len(), QUESTIONS.len());
    for ((words, ours), theirs) in QUESTIONS.iter().zip(&ours).zip(&recorded) {
        assert_eq!(ours, theirs, "{words:?}");
    }
}
