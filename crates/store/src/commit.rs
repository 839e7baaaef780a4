//! `docker commit`: an image of what a container changed, on top of the image it was made from.

#[cfg(test)]
mod tests;

use std::io::{self, BufReader, BufWriter, PipeReader};
use std::thread;

use ferry_oci::digest::Digest;
use ferry_oci::image::{Document, History, ImageConfig, RootFs, RunConfig};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use crate::arrival::{self, Arrived, ArrivedImage, ArrivedLayer, LayerSource, Pin};
use crate::changes;
use crate::diff::UpperRules;
use crate::error::StoreError;
use crate::image::ImageId;
use crate::limits;
use crate::out::tree::TreeArchiver;
use crate::store::Store;
use crate::take_in::{Expansion, Received, receive};

/// What `docker commit` may say.
#[derive(Clone, Debug, Default)]
pub struct CommitImage {
    /// Name of the new image; a missing tag is `latest`.
    pub reference: Option<Reference>,
    /// The comment.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// Dockerfile instructions for its configuration: `CMD ["sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// What the request says of the new configuration; `changes` apply to this.
    pub config: RunConfig,
    /// The container's own configuration, for what `config` and `changes` leave out.
    pub container_config: RunConfig,
    /// The container's whole id, for the record.
    pub container: String,
    /// When, RFC 3339.
    pub created: String,
    /// The engine's version, for the configuration's `docker_version`.
    pub engine_version: String,
}

impl Store {
    /// Makes an image of a container's changes. The caller sees to it that the container does not
    /// run meanwhile, if what is in the image must fit together.
    ///
    /// # Errors
    /// `NotFound` for the container, or when its image is gone; `Invalid` for a bad change, a name
    /// with a digest, or more layers than a container can have; `Full`. Nothing is changed then.
    pub fn commit_container(
        &self,
        container: &str,
        commit: CommitImage,
    ) -> Result<ImageId, StoreError> {
        if commit.reference.as_ref().is_some_and(|name| name.digest().is_some()) {
            return Err(StoreError::Invalid(
                "refusing to create a tag with a digest reference".to_owned(),
            ));
        }
        let mut run = commit.config.clone();
        changes::apply(&mut run, &commit.changes)?;
        merge(&mut run, &commit.container_config);
        let Some(layers) = self.database().container_layers(container)? else {
            return Err(StoreError::NoSuchContainer(container.to_owned()));
        };
        let parent = self.database().container_image(container)?;
        let base = match &parent {
            Some(image) if self.database().image(image)?.is_none() => {
                return Err(StoreError::NoSuchImage(image.to_string()));
            }
            Some(image) => self.config(image)?.document().clone(),
            None => without_image(),
        };
        let mut arrived = Vec::new();
        for layer in layers {
            let pin = Pin::new(self, &layer.diff_id)?;
            let pin = pin.ok_or_else(|| StoreError::NoSuchLayer(layer.diff_id.clone()))?;
            let (diff_id, source) = (layer.diff_id, LayerSource::Present(pin));
            arrived.push(ArrivedLayer { diff_id, source, blob: None });
        }
        let received = self.receive_changes(container)?;
        let new = (received.diff_id != empty_archive()).then(|| received.diff_id.clone());
        if let Some(diff_id) = new.clone() {
            check_depth(arrived.len() + 1)?;
            let source = match Pin::new(self, &diff_id)? {
                Some(pin) => LayerSource::Present(pin),
                None => LayerSource::New(received.build(self.layer_store())?),
            };
            arrived.push(ArrivedLayer { diff_id, source, blob: None });
        }
        let names = commit.reference.clone().map(Reference::with_default_tag);
        let config = ImageConfig::from_document(document(base, run, commit, new));
        let id = ImageId::from(config.digest().clone());
        let image = ArrivedImage {
            config,
            names: names.into_iter().collect(),
            parent,
            manifest: None,
            platform: None,
            target: None,
        };
        let arrived = Arrived { layers: arrived, images: vec![image], ..Arrived::default() };
        arrival::commit(self, arrived)?;
        Ok(id)
    }

    /// Archives the container's upper directory and takes the archive in, without a file between.
    fn receive_changes(&self, container: &str) -> Result<Received, StoreError> {
        let _layers = self.keep_layers(container)?;
        let upper = self.open_upper(container)?;
        let lower = self.mount_lower(container)?;
        let (reader, writer) = io::pipe().map_err(|e| StoreError::file("create", "a pipe", e))?;
        let rules = UpperRules { lower: Some(&lower) };
        thread::scope(|scope| {
            let archive = move || -> Result<(), StoreError> {
                let out = BufWriter::with_capacity(64 << 10, writer);
                TreeArchiver::new(out, Some(rules)).archive(upper).map(drop)
            };
            let thread = thread::Builder::new().name("store-diff".to_owned());
            let thread = thread.spawn_scoped(scope, archive);
            let thread = thread.map_err(|e| StoreError::file("start", "a thread", e))?;
            let received = receive_all(self, reader);
            let archived = thread.join().unwrap_or_else(|_panic| {
                Err(StoreError::Write(io::Error::other("the archiving thread panicked")))
            });
            // An archive that is cut short fails here too, but the cause is over there; and when
            // this side fails, all that the other knows is that nobody reads.
            match (received, archived) {
                (Err(error), Ok(()) | Err(StoreError::Write(_))) => Err(error),
                (_, Err(error)) => Err(error),
                (Ok(received), Ok(())) => Ok(received),
            }
        })
    }
}

/// Refuses an image of which no container could be started.
fn check_depth(layers: usize) -> Result<(), StoreError> {
    let most = limits::MAX_LAYERS;
    if layers > most {
        return Err(StoreError::Invalid(format!(
            "max depth exceeded: the image would have {layers} layers, more than {most}"
        )));
    }
    Ok(())
}

/// Takes the reader, so that the writer does not wait for one who is gone.
fn receive_all(store: &Store, reader: PipeReader) -> Result<Received, StoreError> {
    let reader = BufReader::with_capacity(256 << 10, reader);
    receive(store, reader, Expansion::default(), &mut |_| ())
}

/// The digest of an archive of nothing.
fn empty_archive() -> Digest {
    Digest::sha256_of(&[0; 1024])
}

/// What a container that was made from no image is based on.
fn without_image() -> Document {
    let Platform { architecture, variant, os, .. } = Platform::host();
    Document { architecture, variant, os, ..Document::default() }
}

fn document(
    base: Document,
    run: RunConfig,
    commit: CommitImage,
    new_layer: Option<Digest>,
) -> Document {
    let CommitImage {
        comment, author, container_config, container, created, engine_version, ..
    } = commit;
    let created = Some(created);
    let entry = History {
        created: created.clone(),
        created_by: container_config.cmd.unwrap_or_default().join(" "),
        author: author.clone(),
        comment: comment.clone(),
        empty_layer: new_layer.is_none(),
    };
    let Document {
        mut history, rootfs, architecture, variant, os, os_version, os_features, ..
    } = base;
    history.push(entry);
    let mut diff_ids = rootfs.diff_ids;
    diff_ids.extend(new_layer);
    Document {
        architecture,
        variant,
        author,
        comment,
        config: run,
        container,
        created,
        docker_version: engine_version,
        history,
        os,
        os_version,
        os_features,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids },
    }
}

/// Fills in what `run` does not say from the container's configuration, by Docker's rules.
fn merge(run: &mut RunConfig, container: &RunConfig) {
    let RunConfig { hostname, domainname, shell, stop_timeout, .. } = container;
    for (ours, theirs) in [
        (&mut run.user, &container.user),
        (&mut run.working_dir, &container.working_dir),
        (&mut run.stop_signal, &container.stop_signal),
        (&mut run.hostname, hostname),
        (&mut run.domainname, domainname),
    ] {
        if ours.is_empty() {
            ours.clone_from(theirs);
        }
    }
    if let Some(ports) = &container.exposed_ports {
        run.exposed_ports.get_or_insert_default().extend(ports.clone());
    }
    if let Some(volumes) = &container.volumes {
        run.volumes.get_or_insert_default().extend(volumes.clone());
    }
    if let Some(labels) = &container.labels {
        let ours = run.labels.get_or_insert_default();
        for (key, value) in labels {
            ours.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    merge_env(run, container);
    if run.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if run.cmd.as_ref().is_none_or(Vec::is_empty) {
            run.cmd.clone_from(&container.cmd);
            run.args_escaped = container.args_escaped;
        }
        // An empty list is an answer, and not to be filled in.
        if run.entrypoint.is_none() {
            run.entrypoint.clone_from(&container.entrypoint);
        }
    }
    match (&mut run.healthcheck, &container.healthcheck) {
        (Some(ours), Some(theirs)) => {
            if ours.test.as_ref().is_none_or(Vec::is_empty) {
                ours.test.clone_from(&theirs.test);
            }
            for (ours, theirs) in [
                (&mut ours.interval, theirs.interval),
                (&mut ours.timeout, theirs.timeout),
                (&mut ours.start_period, theirs.start_period),
                (&mut ours.start_interval, theirs.start_interval),
                (&mut ours.retries, theirs.retries),
            ] {
                if *ours == 0 {
                    *ours = theirs;
                }
            }
        }
        (ours @ None, theirs) => ours.clone_from(theirs),
        (Some(_), None) => {}
    }
    if run.shell.is_none() {
        run.shell.clone_from(shell);
    }
    if run.stop_timeout.is_none() {
        run.stop_timeout = *stop_timeout;
    }
    if run.on_build.is_none() {
        run.on_build.clone_from(&container.on_build);
    }
}

fn merge_env(run: &mut RunConfig, container: &RunConfig) {
    let Some(theirs) = &container.env else { return };
    let ours = run.env.get_or_insert_default();
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let known: Vec<String> = ours.iter().map(|entry| name(entry)).collect();
    ours.extend(theirs.iter().filter(|entry| !known.contains(&name(entry))).cloned());
}
