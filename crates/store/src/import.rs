//! `docker import`: an image of one layer from an archive of a root filesystem.

use std::io::Read;
use std::thread;

use ferry_oci::image::{Document, History, ImageConfig, RootFs, RunConfig};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use crate::arrival::{self, Arrived, ArrivedImage, ArrivedLayer, LayerSource, Pin};
use crate::changes;
use crate::compression::{Compression, peek, read_ahead};
use crate::error::StoreError;
use crate::image::ImageId;
use crate::ingest::decode_error;
use crate::store::{ImportOptions, Store};
use crate::take_in::{Expansion, decode_bounded, receive, receive_buffered};

impl Store {
    /// Makes an image of one layer from an archive of a root filesystem.
    ///
    /// # Errors
    /// `Invalid` for a bad archive or change, `Full`; nothing is changed then.
    pub fn import<R: Read + Send>(
        &self,
        reader: R,
        options: ImportOptions,
    ) -> Result<ImageId, StoreError> {
        let ImportOptions {
            reference,
            changes,
            message,
            source,
            platform,
            created,
            engine_version,
        } = options;
        if reference.as_ref().is_some_and(|name| name.digest().is_some()) {
            return Err(StoreError::Invalid("cannot import digest reference".to_owned()));
        }
        let mut run = RunConfig::default();
        changes::apply(&mut run, &changes)?;
        let (start, reader) = peek(reader).map_err(StoreError::Read)?;
        let bounds = Expansion::default();
        let received = match Compression::of(&start) {
            Compression::None => receive(self, reader, bounds, &mut |_| ())?,
            compression => thread::scope(|scope| {
                let decoder = decode_bounded(compression, reader).map_err(decode_error)?;
                let (reader, _thread) = read_ahead(scope, decoder);
                receive_buffered(self, reader, bounds, &mut |_| ())
            })?,
        };
        let diff_id = received.diff_id.clone();
        let source_of_layer = match Pin::new(self, &diff_id)? {
            Some(pin) => LayerSource::Present(pin),
            None => LayerSource::New(received.build(self.layer_store())?),
        };
        let layer = ArrivedLayer { diff_id: diff_id.clone(), source: source_of_layer, blob: None };
        let platform = platform.unwrap_or_else(Platform::host);
        let comment = if message.is_empty() { format!("Imported from {source}") } else { message };
        let created = Some(created);
        let history =
            History { created: created.clone(), comment: comment.clone(), ..History::default() };
        let config = ImageConfig::from_document(Document {
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            os_version: platform.os_version,
            comment,
            config: run,
            created,
            docker_version: engine_version,
            history: vec![history],
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id] },
            ..Document::default()
        });
        let id = ImageId::from(config.digest().clone());
        let names = reference.into_iter().map(Reference::with_default_tag).collect();
        let (parent, manifest, platform, target) = (None, None, None, None);
        let image = ArrivedImage { config, names, parent, manifest, platform, target };
        let (layers, images) = (vec![layer], vec![image]);
        arrival::commit(self, Arrived { layers, images, ..Arrived::default() })?;
        Ok(id)
    }
}
