//! What commands leave at a registry, and on their own machine, when they do not come to their end.

use std::time::Duration;

use ferry_testkit::registry::{At, Form, Published, What};
use ferry_testkit::{Client, FaultRegistry, Folder, wait_until};
use rustix::process::Signal;

use crate::pull::image_of;

const SOON: Duration = Duration::from_secs(20);

/// An image in a registry, and another registry that it is to go to.
struct Way {
    from: FaultRegistry,
    to: FaultRegistry,
    image: Published,
    folder: Folder,
}

impl Way {
    fn new(seed: u64) -> Self {
        let (from, to) = (FaultRegistry::start(), FaultRegistry::start());
        let image = from.publish("a:1", &image_of(seed, 3, 20_000), Form::default());
        Self { from, to, image, folder: Folder::new() }
    }

    /// The source and the target as `image copy` takes them.
    fn ends(&self) -> [String; 2] {
        [self.from.name("a:1"), self.to.name("b:1")].map(|name| format!("docker://{name}"))
    }

    /// All uploads that the target began were given up.
    #[track_caller]
    fn is_told(&self) {
        let count = |method| self.to.asked(method, "/blobs/uploads/").len();
        assert!(count("POST") > 0);
        assert_eq!((count("DELETE"), self.to.open_uploads()), (count("POST"), 0));
        assert_eq!(self.to.manifest("b", "1"), None);
    }
}

#[test]
fn a_copy_that_fails_gives_up_its_other_uploads() {
    let way = Way::new(260);
    // One layer fails while the uploads of the others are being begun.
    let missing = Some(Box::new(What::Status(404)));
    let fails = What::Late { by: Duration::from_millis(400), then: missing };
    way.from.fault(At::Layer(0), 9, fails);
    way.to.fault(At::UploadStart, 9, What::Late { by: Duration::from_millis(900), then: None });
    let [from, to] = way.ends();
    let copied = way.folder.client(Client::Ferry, &["image", "copy", "-q", &from, &to]).run();
    drop(copied.exits(1));
    assert_eq!(way.to.asked("POST", "/blobs/uploads/").len(), 1 + way.image.layers.len());
    way.is_told();
}

#[test]
fn what_is_interrupted_gives_up_its_uploads() {
    let way = Way::new(261);
    std::fs::write(way.folder.at("file"), [7; 5000]).unwrap();
    let [from, to] = way.ends();
    let (source, target) = (way.from.name("a:1"), way.to.name("b:1"));
    for words in [
        &["image", "copy", "-q", &from, &to][..],
        &["artifact", "push", &target, "file"],
        &["buildx", "imagetools", "create", "-t", &target, &source],
    ] {
        way.to.forget_requests();
        way.to.fault(At::UploadEnd, 9, What::Stall);
        let running = way.folder.client(Client::Ferry, words).spawn();
        wait_until("an upload is on its way", SOON, || {
            (!way.to.asked("PUT", "/blobs/uploads/").is_empty()).then_some(())
        });
        running.signal(Signal::INT);
        drop(running.finish().exits(130));
        way.is_told();
        drop(way.to.heal());
    }
}

#[test]
fn the_reading_of_a_large_file_is_interrupted() {
    let (registry, folder) = (FaultRegistry::start(), Folder::new());
    let path = folder.at("large");
    // Of holes only: it takes no room, and minutes to read.
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let pushing = folder.client(Client::Ferry, &["artifact", "push", &registry.name("a:1"), &path]);
    let pushing = pushing.spawn();
    let descriptors = format!("/proc/{}/fd", pushing.pid());
    wait_until("the file is being read", SOON, || {
        let open = std::fs::read_dir(&descriptors).ok()?.flatten();
        let mut open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        open.any(|target| target.ends_with("large")).then_some(())
    });
    pushing.signal(Signal::INT);
    drop(pushing.wait(Duration::from_secs(5)).exits(130));
}
