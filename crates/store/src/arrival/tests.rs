use std::cell::RefCell;
use std::fs;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::*;
use crate::scratch::{Scratch, gzip, layer};
use crate::store::LayerStoreKind;
use crate::take_in::{Expansion, receive};

thread_local! {
    /// What happens while this thread waits for the disk.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = RefCell::default();
}

pub(super) fn syncing() {
    if let Some(meanwhile) = MEANWHILE.take() {
        meanwhile();
    }
}

fn arrived(scratch: &Scratch, archive: &[u8]) -> ArrivedLayer {
    let received = receive(&scratch.store, archive, Expansion::default(), &mut |_| ()).unwrap();
    let diff_id = received.diff_id.clone();
    let layer = received.build(scratch.store.layer_store()).unwrap();
    ArrivedLayer { diff_id, source: LayerSource::New(layer), blob: None }
}

/// Directories of layers in `tmp/`.
fn waiting(scratch: &Scratch) -> usize {
    let entries = fs::read_dir(scratch.store.layout().tmp()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("layer")).count()
}

#[test]
fn nothing_is_deleted_under_the_lock() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let twice = layer("a", b"1");
    let layers = [&twice, &twice, &twice].map(|archive| arrived(&scratch, archive)).into();
    let mut placing = Placing::new(&scratch.store);
    let arrived_layers = Arrived { layers, ..Arrived::default() };
    let arrival = placing.place(arrived_layers, &mut Vec::new()).unwrap();
    assert_eq!((arrival.layers.len(), waiting(&scratch)), (1, 2));
    scratch.store.database().insert_arrival(&arrival, Timestamp::now()).unwrap();
    drop(placing);
    scratch.settled();
    assert_eq!(waiting(&scratch), 0);
    // Nor when it fails: those that were not reached go after it.
    let layers: Vec<_> = ["b", "c", "d"].map(|name| arrived(&scratch, &layer(name, b"1"))).into();
    let mut placing = Placing::new(&scratch.store);
    let away = scratch.store.layout().layers().with_extension("away");
    fs::rename(scratch.store.layout().layers(), &away).unwrap();
    let failed = placing.place(Arrived { layers, ..Arrived::default() }, &mut Vec::new());
    fs::rename(&away, scratch.store.layout().layers()).unwrap();
    failed.unwrap_err();
    assert_eq!(waiting(&scratch), 2);
    drop(placing);
    scratch.settled();
    assert_eq!(waiting(&scratch), 0);
}

/// Makes a container while this thread waits for the disk, and says so.
fn create_meanwhile(scratch: &Scratch, id: &'static str, image: Option<&ImageId>) {
    let (store, image) = (scratch.store.clone(), image.cloned());
    let meanwhile = move || {
        let (done, wait) = channel();
        let waiting = store.clone();
        thread::spawn(move || done.send(store.create_container_fs(id, image.as_ref())));
        wait.recv_timeout(Duration::from_secs(20)).expect("it waits").unwrap();
        // Nothing goes meanwhile.
        let (done, wait) = channel();
        thread::spawn(move || done.send(waiting.collect_garbage(Default::default()).is_ok()));
        wait.recv_timeout(Duration::from_millis(50)).unwrap_err();
    };
    MEANWHILE.set(Some(Box::new(meanwhile)));
}

#[test]
fn containers_are_made_while_others_wait_for_the_disk() {
    for kind in [LayerStoreKind::Erofs, LayerStoreKind::Directories] {
        let scratch = Scratch::new(kind);
        create_meanwhile(&scratch, "a", None);
        let image = scratch.load_layers(&[layer("a", b"1")]);
        assert!(MEANWHILE.take().is_none());
        create_meanwhile(&scratch, "b", Some(&image));
        scratch.load_layers(&[layer("b", b"1")]);
        // A layer of a pull.
        create_meanwhile(&scratch, "c", Some(&image));
        let plain = layer("c", b"1");
        let blob = gzip(&plain);
        let wanted = crate::WantedLayer {
            digest: Digest::sha256_of(&blob),
            size: blob.len() as u64,
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            diff_id: Some(Digest::sha256_of(&plain)),
        };
        let pull = scratch.store.begin_pull("pull:test").unwrap();
        let crate::Wanted::Fetch(fetch) = pull.want(&wanted).unwrap() else { panic!("is here") };
        let (mut writer, builder) = fetch.split().unwrap();
        writer.write(&blob).unwrap();
        writer.finish().unwrap();
        builder.build(&mut |_| ()).unwrap();
        assert_eq!(scratch.store.container_fs_ids().unwrap(), ["a", "b", "c"]);
    }
}
