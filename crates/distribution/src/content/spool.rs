//! A file that is written once and read at the same time: what comes in goes out before its end.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use ferry_oci::manifest::Descriptor;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::files::local;
use super::remote::Check;
use crate::error::DistributionError;
use crate::registry::BlobSource;

/// A blob on its way: a file without a name, which ends with the last who has it.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    path: PathBuf,
    size: u64,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that can be read.
    written: u64,
    /// Nothing more comes.
    is_over: bool,
}

/// Tells the readers, when it goes, that nothing more comes.
struct Filling<'a>(&'a Spool);

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.0.more.notify_all();
    }
}

impl Spool {
    /// Makes the file in a directory.
    pub(super) fn create(
        directory: &Path,
        blob: &Descriptor,
    ) -> Result<Arc<Self>, DistributionError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".ferry-copy-{}-{count}", std::process::id()));
        let made = File::options().read(true).write(true).create_new(true).open(&path);
        let file = made.map_err(|source| local("creating", &path, source))?;
        // From now on the file goes with us, however we end.
        std::fs::remove_file(&path).map_err(|source| local("removing", &path, source))?;
        let (state, more) = (Mutex::default(), Condvar::new());
        Ok(Arc::new(Self { file, path, size: blob.size, state, more }))
    }

    /// Takes the bytes as they come, and verifies them. Readers see each before it is verified:
    /// what they make of them must be given up when this fails.
    pub(super) async fn fill(
        &self,
        blob: &Descriptor,
        mut stream: BoxStream<'static, Result<bytes::Bytes, DistributionError>>,
    ) -> Result<(), DistributionError> {
        let filling = Filling(self);
        let mut check = Check::new(blob);
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            check.add(&bytes)?;
            let written = (&self.file).write_all(&bytes);
            written.map_err(|source| local("writing", &self.path, source))?;
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.written += bytes.len() as u64;
            drop(state);
            self.more.notify_all();
        }
        drop(filling);
        check.finish()
    }

    /// Waits until there is something after an offset; how far it goes.
    fn wait(&self, at: u64) -> io::Result<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_poor = |state: &mut State| state.written <= at && !state.is_over;
        let state = self.more.wait_while(state, is_poor).unwrap_or_else(PoisonError::into_inner);
        if state.written > at {
            return Ok(state.written);
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the copy's source ended early"))
    }
}

/// The spool, to be read while it is filled.
#[derive(Debug)]
pub(super) struct SpoolSource(pub(super) Arc<Spool>);

impl BlobSource for SpoolSource {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(SpoolReader { spool: self.0.clone(), at: from }))
    }

    fn size(&self) -> Option<u64> {
        Some(self.0.size)
    }
}

struct SpoolReader {
    spool: Arc<Spool>,
    at: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.spool.size || buffer.is_empty() {
            return Ok(0);
        }
        let end = self.spool.wait(self.at)?;
        let most = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.spool.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ferry_oci::digest::Digest;
    use futures_util::stream;

    use super::*;

    fn blob(text: &str) -> Descriptor {
        Descriptor::new("t", Digest::sha256_of(text.as_bytes()), text.len() as u64)
    }

    async fn pass(
        blob: &Descriptor,
        pieces: &[&'static str],
    ) -> (Result<(), DistributionError>, io::Result<String>) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::create(directory.path(), blob).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "it has no name");
        let mut reader = SpoolSource(spool.clone()).open(0).unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from(*piece))).collect();
        let filled = spool.fill(blob, stream::iter(pieces).boxed()).await;
        (filled, reading.await.unwrap())
    }

    #[tokio::test]
    async fn what_comes_in_goes_out() {
        let (filled, read) = pass(&blob("one two"), &["one", " ", "two"]).await;
        assert!(filled.is_ok());
        assert_eq!(read.unwrap(), "one two");
    }

    #[tokio::test]
    async fn what_ends_early_ends_its_readers() {
        let (filled, read) = pass(&blob("one two"), &["one"]).await;
        assert!(matches!(filled, Err(DistributionError::Size { .. })));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (filled, _read) = pass(&blob("one two"), &["owt eno"]).await;
        assert!(matches!(filled, Err(DistributionError::Digest { .. })));
    }
}
