//! What images cost, each layer counted once: `docker system df`.
//!
//! Compat: as with dockerd's overlay2, the files of layers count, and not what keeps them. On the disk
//! a layer that was pulled also has the blob that it came as, and in EROFS its archive's headers and
//! padding. (With its containerd store, dockerd adds the blobs.)

use std::collections::{HashMap, HashSet};

use ferry_oci::digest::Digest;

use crate::error::StoreError;
use crate::image::ImageId;
use crate::store::Store;

/// What all images cost, in bytes as Docker counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All layers, each once, those that only containers hold too.
    pub layers_size: u64,
    /// Each image, by id.
    pub images: Vec<ImageUsage>,
}

/// What one image costs, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUsage {
    /// The image.
    pub id: ImageId,
    /// All its layers.
    pub size: u64,
    /// Those that other images have too.
    pub shared: u64,
    /// Those that no other image has: what removing it would give back.
    pub unique: u64,
}

impl Store {
    /// Adds up what images cost. Images that are only there for others (without a name, with
    /// children) share with nobody.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let database = self.database();
        let layers_size = total(database.layers()?.iter().map(|layer| layer.content_size));
        let layers = database.layers_of_images()?;
        let intermediate: HashSet<ImageId> = database.intermediate_images()?.into_iter().collect();
        let mut users: HashMap<&Digest, usize> = HashMap::new();
        for (image, layers) in &layers {
            if intermediate.contains(image) {
                continue;
            }
            let distinct: HashSet<&Digest> = layers.iter().map(|(diff_id, _)| diff_id).collect();
            for diff_id in distinct {
                *users.entry(diff_id).or_default() += 1;
            }
        }
        let mut images = Vec::new();
        for (id, layers) in &layers {
            let size = total(layers.iter().map(|(_, size)| *size));
            let is_shared = |diff_id: &Digest| users.get(diff_id).is_some_and(|&count| count > 1);
            let shared = layers.iter().filter(|(diff_id, _)| is_shared(diff_id));
            let shared = total(shared.map(|(_, size)| *size));
            images.push(ImageUsage {
                id: id.clone(),
                size,
                shared,
                unique: size.saturating_sub(shared),
            });
        }
        Ok(Usage { layers_size, images })
    }
}

fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{Scratch, layer};
    use crate::store::LayerStoreKind;

    #[test]
    fn each_layer_is_counted_once() {
        let scratch = Scratch::new(LayerStoreKind::Directories);
        let (a, b, c) = (layer("a", &[1; 10]), layer("b", &[2; 200]), layer("c", &[3; 3000]));
        let one = scratch.load_layers(&[a.clone(), b.clone()]);
        let two = scratch.load_layers(&[a.clone(), c, a]);
        let usage = scratch.store.usage().unwrap();
        assert_eq!(usage.layers_size, 3210);
        let of = |id: &ImageId| {
            let image = usage.images.iter().find(|image| image.id == *id).unwrap();
            (image.size, image.shared, image.unique)
        };
        assert_eq!(of(&one), (210, 10, 200));
        assert_eq!(of(&two), (3020, 20, 3000));
        assert_eq!(scratch.store.images().get(two.as_str()).unwrap().size, 3020);
    }
}
