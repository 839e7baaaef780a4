use std::fs;

use super::*;
use crate::scratch::{Scratch, layer};
use crate::store::LayerStoreKind;
use crate::take_in::{Expansion, receive};

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
