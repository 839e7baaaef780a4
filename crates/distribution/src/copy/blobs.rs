//! The blobs of a copy: several at once, and how far each has come.

use std::io::{self, Read};
use std::sync::Arc;

use ferry_oci::manifest::Descriptor;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use super::CopyEvent;
use crate::content::{BlobBody, ContentRead, ContentWrite};
use crate::error::DistributionError;
use crate::registry::BlobSource;

/// Blobs that are copied at once.
const AT_ONCE: usize = 4;
/// Remarks on progress that wait to be told; more are left out, for newer ones follow.
const REMARKS: usize = 32;

/// Copies blobs that the destination has not.
pub(super) async fn copy_blobs(
    from: &dyn ContentRead,
    to: &dyn ContentWrite,
    blobs: Vec<Descriptor>,
    on: &mut (dyn FnMut(CopyEvent) + Send),
) -> Result<(), DistributionError> {
    let (remarks, mut told) = mpsc::channel(REMARKS);
    let one = |blob: Descriptor| {
        let remarks = remarks.clone();
        async move {
            if to.has_blob(&blob).await? {
                return Ok(CopyEvent::Exists(blob));
            }
            if blob.is_foreign() {
                return Ok(CopyEvent::LeftOut(blob));
            }
            let progress = Progress { blob: blob.clone(), to: remarks };
            progress.tell(0);
            let body = watched(from.blob(&blob).await?, progress);
            to.put_blob(&blob, body).await?;
            Ok::<_, DistributionError>(CopyEvent::Copied(blob))
        }
    };
    let mut copies =
        std::pin::pin!(stream::iter(blobs.into_iter().map(one)).buffer_unordered(AT_ONCE));
    loop {
        tokio::select! {
            // How far a blob has come is told before that it is there.
            biased;
            Some(remark) = told.recv() => on(remark),
            copied = copies.next() => match copied {
                Some(event) => {
                    let event = event?;
                    while let Ok(remark) = told.try_recv() {
                        on(remark);
                    }
                    on(event);
                }
                None => return Ok(()),
            },
        }
    }
}

/// Tells how far a blob has come.
#[derive(Clone)]
struct Progress {
    blob: Descriptor,
    to: mpsc::Sender<CopyEvent>,
}

impl Progress {
    fn tell(&self, bytes: u64) {
        // Nobody waits for a remark: when there is no room, a newer one comes.
        drop(self.to.try_send(CopyEvent::Progress { blob: self.blob.clone(), bytes }));
    }
}

/// The same bytes, counted as they pass.
fn watched(body: BlobBody, progress: Progress) -> BlobBody {
    match body {
        BlobBody::Here(source) => BlobBody::Here(Arc::new(Counted { source, progress })),
        BlobBody::Stream(stream) => {
            let mut count = 0;
            BlobBody::Stream(
                stream
                    .inspect(move |bytes| {
                        count += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                        progress.tell(count);
                    })
                    .boxed(),
            )
        }
    }
}

struct Counted {
    source: Arc<dyn BlobSource>,
    progress: Progress,
}

impl BlobSource for Counted {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let inner = self.source.open(from)?;
        Ok(Box::new(CountedReader { inner, count: from, progress: self.progress.clone() }))
    }

    fn size(&self) -> Option<u64> {
        self.source.size()
    }
}

struct CountedReader {
    inner: Box<dyn Read + Send>,
    count: u64,
    progress: Progress,
}

impl Read for CountedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count > 0 {
            self.count += count as u64;
            self.progress.tell(self.count);
        }
        Ok(count)
    }
}
