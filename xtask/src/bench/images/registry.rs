//! A registry that takes next to nothing of the processors it shares with what is measured.
//!
//! Blobs lie in memory files and go out by `sendfile`; what is pushed is counted and thrown away.
//! Nothing is checked: that pushes are right is for the tests, and for another registry.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use ferry_testkit::image::sha256;
use rustix::fs::{MemfdFlags, memfd_create, sendfile};

/// A registry that listens until the program ends.
pub(super) struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What is pulled, by digest or tag: media type and bytes.
    given: HashMap<String, (&'static str, Blob)>,
    taken: Mutex<Taken>,
}

struct Blob {
    file: File,
    size: u64,
}

/// What was pushed since it was last asked.
#[derive(Default)]
struct Taken {
    /// Sizes by digest.
    blobs: HashMap<String, u64>,
    manifests: HashSet<String>,
    /// Bytes of each upload so far.
    uploads: HashMap<String, u64>,
    count: u64,
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What is below here is to be pulled; the rest is pushed.
const PULLED: &str = "bench/";

impl Registry {
    /// Serves the files of a folder as blobs, named by their hex digest, and the manifest with this
    /// digest as the tag `1`.
    pub(super) fn start(blobs: &Path, manifest: &str) -> Result<Self> {
        let mut shared = Shared::default();
        for entry in blobs.read_dir().context("listing the blobs")? {
            let entry = entry.context("listing the blobs")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let digest = format!("sha256:{name}");
            let is_manifest = digest == manifest;
            let media_type = if is_manifest { MANIFEST } else { "application/octet-stream" };
            if is_manifest {
                shared.given.insert("1".to_owned(), (media_type, Blob::read(&entry.path())?));
            }
            shared.given.insert(digest, (media_type, Blob::read(&entry.path())?));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening")?;
        let address = listener.local_addr().context("listening")?;
        let shared = Arc::new(shared);
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                // A connection that breaks is its client's to tell of.
                std::thread::spawn(move || drop(Connection::new(socket, &shared).serve()));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where an image that can be pulled is.
    pub(super) fn source(&self, name: &str) -> String {
        format!("{}/{PULLED}{name}", self.address)
    }

    /// Where an image can be pushed to.
    pub(super) fn target(&self, name: &str) -> String {
        format!("{}/pushed/{name}", self.address)
    }

    /// Forgets what was pushed; tells the blobs, their bytes and the manifests.
    pub(super) fn take_pushed(&self) -> (usize, u64, usize) {
        let taken = std::mem::take(&mut *self.shared.taken());
        (taken.blobs.len(), taken.blobs.values().sum(), taken.manifests.len())
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blob {
    fn read(path: &Path) -> Result<Self> {
        let memory = memfd_create("blob", MemfdFlags::CLOEXEC).context("making a memory file")?;
        let mut memory = File::from(memory);
        let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let size = io::copy(&mut file, &mut memory).context("reading a blob")?;
        Ok(Self { file: memory, size })
    }
}

struct Connection<'a> {
    socket: TcpStream,
    shared: &'a Shared,
    buffer: Vec<u8>,
    /// What of the buffer was read and not taken yet.
    unread: std::ops::Range<usize>,
}

/// The first byte of a client that speaks TLS. [RFC 8446, 5.1]
const TLS_HANDSHAKE: u8 = 22;

impl<'a> Connection<'a> {
    fn new(socket: TcpStream, shared: &'a Shared) -> Self {
        Self { socket, shared, buffer: vec![0; 1 << 20], unread: 0..0 }
    }

    fn serve(mut self) -> io::Result<()> {
        self.socket.set_nodelay(true)?;
        // Who asks for TLS waits for an answer in TLS; as Go's servers do, it gets another at once.
        if self.fill()? && self.buffer.first() == Some(&TLS_HANDSHAKE) {
            return self.socket.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        }
        while let Some(head) = self.line()? {
            let (mut length, mut is_chunked) = (0, false);
            while let Some(line) = self.line()?.filter(|line| !line.is_empty()) {
                let line = line.to_ascii_lowercase();
                match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                    Some(("content-length", value)) => length = value.parse().unwrap_or(0),
                    Some(("transfer-encoding", "chunked")) => is_chunked = true,
                    Some(("expect", _)) => {
                        self.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                    }
                    _ => {}
                }
            }
            if head.starts_with("PUT ") && head.contains("/manifests/") && !is_chunked {
                self.take_manifest(&head, length)?;
                continue;
            }
            let sent = if is_chunked { self.skip_chunks()? } else { self.skip(length)? };
            let mut words = head.split(' ');
            let (method, target) =
                (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            self.answer(method, target, sent)?;
        }
        Ok(())
    }

    /// A manifest is small; its digest is told, as clients want it.
    fn take_manifest(&mut self, head: &str, length: u64) -> io::Result<()> {
        let mut body = Vec::new();
        while (body.len() as u64) < length {
            if self.unread.is_empty() && !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let left = usize::try_from(length).unwrap_or(usize::MAX) - body.len();
            let count = left.min(self.unread.len());
            body.extend_from_slice(&self.buffer[self.unread.start..self.unread.start + count]);
            self.unread.start += count;
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        let which = path.rsplit('/').next().unwrap_or_default().to_owned();
        self.shared.taken().manifests.insert(which);
        let digest = sha256(&body);
        let place = format!("Location: {path}\r\n");
        self.status("201 Created", &format!("{place}Docker-Content-Digest: sha256:{digest}\r\n"))
    }

    fn answer(&mut self, method: &str, target: &str, sent: u64) -> io::Result<()> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix("/v2/").unwrap_or_default();
        let which = path.rsplit('/').next().unwrap_or_default().to_owned();
        match (method, path) {
            ("GET", "") => self.status("200 OK", ""),
            ("GET" | "HEAD", path) if path.starts_with(PULLED) => self.give(method, &which),
            ("HEAD", _) => {
                let size = self.shared.taken().blobs.get(&which).copied();
                match size {
                    Some(size) => self.head("200 OK", &format!("Content-Length: {size}\r\n")),
                    None => self.head("404 Not Found", "Content-Length: 0\r\n"),
                }
            }
            ("POST", path) if path.ends_with("/blobs/uploads/") => {
                let id = {
                    let mut taken = self.shared.taken();
                    taken.count += 1;
                    let id = format!("upload-{}", taken.count);
                    taken.uploads.insert(id.clone(), 0);
                    id
                };
                self.status("202 Accepted", &format!("Location: /v2/{path}{id}\r\n"))
            }
            ("PATCH", path) => {
                let have = {
                    let mut taken = self.shared.taken();
                    let have = taken.uploads.entry(which).or_default();
                    *have += sent;
                    *have
                };
                let range = have.saturating_sub(1);
                let headers = format!("Location: /v2/{path}\r\nRange: 0-{range}\r\n");
                self.status("202 Accepted", &headers)
            }
            ("PUT", path) => {
                let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
                let digest = digest.unwrap_or_default().replace("%3A", ":");
                {
                    let mut taken = self.shared.taken();
                    let size = taken.uploads.remove(&which).unwrap_or_default() + sent;
                    taken.blobs.insert(digest.clone(), size);
                }
                let repository = path.split("/blobs/").next().unwrap_or_default();
                let place = format!("Location: /v2/{repository}/blobs/{digest}\r\n");
                self.status("201 Created", &format!("{place}Docker-Content-Digest: {digest}\r\n"))
            }
            _ => self.status("404 Not Found", ""),
        }
    }

    fn give(&mut self, method: &str, which: &str) -> io::Result<()> {
        let shared = self.shared;
        let Some((media_type, blob)) = shared.given.get(which) else {
            return self.status("404 Not Found", "");
        };
        let size = blob.size;
        self.head("200 OK", &format!("Content-Type: {media_type}\r\nContent-Length: {size}\r\n"))?;
        let mut at = 0;
        while method == "GET" && at < size {
            let most = usize::try_from(size - at).unwrap_or(usize::MAX).min(1 << 20);
            if sendfile(&self.socket, &blob.file, Some(&mut at), most)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn status(&mut self, status: &str, headers: &str) -> io::Result<()> {
        self.head(status, &format!("{headers}Content-Length: 0\r\n"))
    }

    fn head(&mut self, status: &str, headers: &str) -> io::Result<()> {
        let version = "Docker-Distribution-Api-Version: registry/2.0\r\n";
        let text = format!("HTTP/1.1 {status}\r\n{version}{headers}\r\n");
        self.socket.write_all(text.as_bytes())
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.end == self.buffer.len() {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let count = self.socket.read(&mut self.buffer[self.unread.end..])?;
        self.unread.end += count;
        Ok(count > 0)
    }

    /// A line without its end; nothing when the client has gone.
    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            let unread = &self.buffer[self.unread.clone()];
            if let Some(end) = unread.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&unread[..end]).into_owned();
                self.unread.start += end + 2;
                return Ok(Some(line));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut left = count;
        while left > 0 {
            if self.unread.is_empty() && !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread.len());
            self.unread.start += length;
            left -= length as u64;
        }
        Ok(count)
    }

    fn skip_chunks(&mut self) -> io::Result<u64> {
        let mut total = 0;
        loop {
            let line = self.line()?.unwrap_or_default();
            let size = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(io::Error::other)?;
            self.skip(size)?;
            self.line()?;
            if size == 0 {
                return Ok(total);
            }
            total += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_chunks_is_counted() {
        let folder = tempfile_folder();
        let registry = Registry::start(&folder, "sha256:none").unwrap();
        let mut socket = TcpStream::connect(registry.address).unwrap();
        let ask = |socket: &mut TcpStream, text: &str| {
            socket.write_all(text.as_bytes()).unwrap();
            let mut answer = [0; 4096];
            let count = socket.read(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[..count]).into_owned()
        };
        let begun = ask(&mut socket, "POST /v2/pushed/a/blobs/uploads/ HTTP/1.1\r\n\r\n");
        assert!(begun.contains("Location: /v2/pushed/a/blobs/uploads/upload-1\r\n"), "{begun}");
        let patch = "PATCH /v2/pushed/a/blobs/uploads/upload-1 HTTP/1.1\r\n\
                     Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
        assert!(ask(&mut socket, patch).contains("Range: 0-18\r\n"));
        let put = "PUT /v2/pushed/a/blobs/uploads/upload-1?digest=sha256%3Aab HTTP/1.1\r\n\r\n";
        assert!(ask(&mut socket, put).starts_with("HTTP/1.1 201"));
        assert_eq!(registry.take_pushed(), (1, 19, 0));
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn tempfile_folder() -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("ferry-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}
