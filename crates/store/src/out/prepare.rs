//! Makes what a registry wants of an image that has it not: gzip blobs and a manifest over them.

use std::fs::File;
use std::io::{self, Read as _, Write};

use ferry_oci::digest::{Digest, Hasher};
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::{Descriptor, Manifest, media_type};
use ferry_oci::reference::Reference;

use crate::arrival::{self, Arrived, ArrivedLayer, LayerSource, Pin, SpooledBlob};
use crate::compress::gzip;
use crate::compression::{Compression, MAGIC_LEN};
use crate::error::StoreError;
use crate::image::ImageId;
use crate::manifest::{Document, KeptManifest};
use crate::store::Store;

impl Store {
    /// Sees to it that an image has a manifest all of whose blobs are here compressed. Where it has
    /// none, its layers are compressed, and the blobs and a manifest over them kept: an image that
    /// is pushed again, or elsewhere, goes out with the same bytes. `tell` hears the layer's diff id
    /// and how many of its bytes have been compressed.
    ///
    /// # Errors
    /// `NotFound` when the image or a layer is gone; `Full`.
    pub fn ensure_compressed(
        &self,
        image: &ImageId,
        tell: &mut (dyn FnMut(&Digest, u64) + Send),
    ) -> Result<KeptManifest, StoreError> {
        Ok(self.compressed(image, None, tell)?.0)
    }

    pub(super) fn compressed(
        &self,
        image: &ImageId,
        name: Option<&Reference>,
        tell: &mut (dyn FnMut(&Digest, u64) + Send),
    ) -> Result<(KeptManifest, Manifest), StoreError> {
        if self.database().image(image)?.is_none() {
            return Err(StoreError::NoSuchImage(image.to_string()));
        }
        let config = self.config(image)?;
        let here = |layer: &Descriptor, _: &Digest| {
            Ok(layer.is_foreign() || self.has_blob(&layer.digest)?)
        };
        if let Some(whole) = self.whole_manifest(image, &config, name, here)? {
            return Ok(whole);
        }
        let mut arrived = Vec::new();
        let mut layers: Vec<Descriptor> = Vec::new();
        let mut made_already: Vec<(Digest, Descriptor)> = Vec::new();
        for diff_id in &config.rootfs.diff_ids {
            if let Some((_, layer)) = made_already.iter().find(|(known, _)| known == diff_id) {
                layers.push(layer.clone());
                continue;
            }
            let pin = Pin::new(self, diff_id)?;
            let pin = pin.ok_or_else(|| StoreError::NoSuchLayer(diff_id.clone()))?;
            let (layer, blob) = match self.find_gzip(diff_id)? {
                Some(layer) => (layer, None),
                None => {
                    let blob = self.compress_layer(diff_id, &mut |bytes| tell(diff_id, bytes))?;
                    let digest = blob.digest.clone();
                    let layer = Descriptor::new(media_type::DOCKER_LAYER, digest, blob.size);
                    (layer, Some(blob))
                }
            };
            made_already.push((diff_id.clone(), layer.clone()));
            layers.push(layer);
            let (diff_id, source) = (diff_id.clone(), LayerSource::Present(pin));
            arrived.push(ArrivedLayer { diff_id, source, blob });
        }
        let kept = schema_2(&config, layers)?;
        let manifest = Manifest::parse(&kept.bytes)
            .map_err(|error| StoreError::Damaged(format!("a manifest of our own: {error}")))?;
        let platform = config.platform();
        let document = Document::manifest(kept.clone(), image.clone(), platform);
        let arrived = Arrived { layers: arrived, documents: vec![document], ..Arrived::default() };
        arrival::commit(self, arrived)?;
        Ok((kept, manifest))
    }

    /// A gzip form of a layer that is here already.
    fn find_gzip(&self, diff_id: &Digest) -> Result<Option<Descriptor>, StoreError> {
        for blob in self.database().blob_rows_of_layer(diff_id)? {
            if !self.has_blob(&blob.digest)? {
                continue;
            }
            let path = self.layout().blob(&blob.digest);
            let mut start = Vec::new();
            File::open(&path)
                .and_then(|file| file.take(MAGIC_LEN as u64).read_to_end(&mut start))
                .map_err(|e| StoreError::file("read", &path, e))?;
            if Compression::of(&start) == Compression::Gzip {
                let layer = Descriptor::new(media_type::DOCKER_LAYER, blob.digest, blob.size);
                return Ok(Some(layer));
            }
        }
        Ok(None)
    }

    /// Compresses a layer into a file in `tmp/`.
    pub(crate) fn compress_layer(
        &self,
        diff_id: &Digest,
        tell: &mut dyn FnMut(u64),
    ) -> Result<SpooledBlob, StoreError> {
        let dir = self.layout().new_tmp_dir("blob")?;
        let path = dir.path().join("layer.tar.gz");
        let file = File::create_new(&path).map_err(|e| StoreError::file("create", &path, e))?;
        let mut output = Hashing { file, hasher: Hasher::sha256(), size: 0 };
        let archive = self.layer_archive(diff_id)?;
        // What was read wrongly is told by whoever reads the blob, too late: so it is hashed here.
        let mut input = Checked { inner: archive, hasher: diff_id.verifier() };
        gzip(&mut input, &mut output, tell).map_err(|e| StoreError::file("write", &path, e))?;
        let actual = input.hasher.finish();
        if actual != *diff_id {
            let (what, expected) = (format!("layer {diff_id}"), diff_id.clone());
            return Err(StoreError::DigestMismatch { what, expected, actual });
        }
        let Hashing { file, hasher, size } = output;
        file.sync_all().map_err(|e| StoreError::file("fsync", &path, e))?;
        let (digest, media_type) = (hasher.finish(), media_type::DOCKER_LAYER.to_owned());
        Ok(SpooledBlob { digest, size, media_type, path, dir })
    }
}

/// A manifest as Docker makes it.
fn schema_2(config: &ImageConfig, layers: Vec<Descriptor>) -> Result<KeptManifest, StoreError> {
    let size = config.bytes().len() as u64;
    let config = Descriptor::new(media_type::DOCKER_CONFIG, config.digest().clone(), size);
    super::made(media_type::DOCKER_MANIFEST, config, layers)
}

/// A file that is hashed while it is written.
struct Hashing {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A stream that is hashed while it is read.
pub(crate) struct Checked<R> {
    pub(crate) inner: R,
    pub(crate) hasher: Hasher,
}

impl<R: io::Read> io::Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}
