//! What nobody needs any more.

use std::sync::Arc;

use ferry_store::{ImageId, PruneFilter, Pruned, Removed};

use crate::error::Result;
use crate::event::EventKind;
use crate::inner::{Inner, store_error};

pub(crate) async fn prune(engine: Arc<Inner>, filter: PruneFilter) -> Result<Pruned> {
    let inner = Arc::clone(&engine);
    let work = move || {
        let in_use = |image: &ImageId| super::uses(&inner, image);
        inner.store.prune_images(&filter, &in_use).map_err(store_error)
    };
    let pruned = engine.deleting(work).await??;
    engine.failpoint.pass("prune.pruned");
    // The names of an image stand before it; those of one that stayed are told of by no id.
    let mut untagged = 0;
    for step in &pruned.removed {
        match step {
            Removed::Untagged(_) => untagged += 1,
            Removed::Deleted(id) => {
                for _ in 0..std::mem::take(&mut untagged) {
                    engine.tell_of_image("untag", id, id.as_str()).await;
                }
                engine.tell_of_image("delete", id, id.as_str()).await;
            }
            Removed::DeletedLayer(_) => {}
        }
    }
    let bytes = pruned.bytes.to_string();
    engine.tell_of(EventKind::Image, "prune", "", &[("reclaimed", &bytes)]);
    Ok(pruned)
}
