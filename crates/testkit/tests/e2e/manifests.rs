//! `manifest`: lists for several platforms, as the `docker` client makes them.

use ferry_testkit::registry::Form;
use ferry_testkit::{Client, FaultRegistry, Folder};

use crate::pull::image_of;

/// What is asked of both clients, in this order; `@` is the registry, a line with `!` fails.
const STEPS: [&str; 27] = [
    "create --insecure @/list:1 @/one:1 @/two:1",
    "! create --insecure @/list:1 @/one:1",
    "! create --insecure @/list:2 @/none:1",
    "! create --insecure @/list:2 @/index:1",
    "! create --insecure UPPER @/one:1",
    "inspect --insecure @/list:1",
    "inspect --insecure -v @/list:1",
    "inspect --insecure @/list:1 @/two:1",
    "annotate @/list:1 @/two:1 --os linux --arch arm --variant v7 --os-features a,b",
    "annotate @/list:1 @/two:1 --os-version 3",
    "! annotate @/list:1 @/two:1 --os linux --arch nothing",
    "! annotate @/list:1 @/three:1 --arch arm",
    "! annotate @/list:9 @/two:1 --arch arm",
    "inspect --insecure @/list:1",
    "push --insecure @/list:1",
    "inspect --insecure @/list:1",
    "push --insecure -p @/list:1",
    "inspect --insecure @/list:1",
    "inspect --insecure -v @/list:1",
    "inspect --insecure @/one:1",
    "inspect --insecure -v @/one:1",
    "! inspect --insecure @/none:1",
    "! push --insecure @/list:1",
    "create --insecure @/list:3 @/one:1",
    "create --insecure --amend @/list:3 @/two:1",
    "rm @/list:3",
    "! rm @/list:3",
];

#[test]
fn lists_are_made_as_docker_makes_them() {
    let registry = FaultRegistry::start();
    let one = registry.publish("one:1", &image_of(210, 2, 500), Form::docker());
    let two = registry.publish("two:1", &image_of(211, 1, 500), Form::default());
    drop(registry.publish("three:1", &image_of(212, 1, 500), Form::docker()));
    registry.publish_index("index:1", &[&one, &two], true);
    let clients = match Client::Docker.program() {
        Some(_) => vec![Client::Docker, Client::Ferry],
        None => vec![Client::Ferry],
    };
    let mut told = Vec::new();
    let mut pushed = Vec::new();
    for client in &clients {
        let folder = Folder::new();
        registry.remove("list");
        let mut said = Vec::new();
        for step in STEPS {
            let (fails, line) = match step.strip_prefix("! ") {
                Some(line) => (true, line),
                None => (false, step),
            };
            let line = line.replace('@', &registry.address().to_string());
            let words: Vec<&str> = ["manifest"].into_iter().chain(line.split(' ')).collect();
            let output = folder.client(*client, &words).run();
            assert_eq!(output.code != 0, fails, "{output:?}");
            said.push((step, output.code, output.out(), output.err()));
        }
        told.push(said);
        let bytes = registry.manifest("list", "1");
        pushed.push(bytes.unwrap_or_else(|| panic!("{client:?} pushed nothing")));
        // Members from other repositories came along.
        for digest in [&one.digest, &two.digest] {
            assert!(registry.manifest("list", digest).is_some(), "{client:?}: {digest}");
        }
        for layer in one.layers.iter().chain(&two.layers) {
            assert!(registry.blob("list", layer).is_some(), "{client:?}: {layer}");
        }
    }
    let [docker, ferry] = told.as_slice() else {
        println!("not compared: there is no docker client");
        return;
    };
    let mut faults = Vec::new();
    for (docker, ferry) in docker.iter().zip(ferry) {
        if docker != ferry {
            faults.push(format!("--- docker\n{docker:#?}\n--- ferry\n{ferry:#?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(pushed[0], pushed[1], "the same bytes, so the same digest");
}
