//! HTTP/1.1, the server's side, a byte at a time where it must be.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::fault::Manner;

/// A request that a registry was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without its question mark.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; of a long one its first 64 KiB.
    pub body: Vec<u8>,
    /// How long the whole body was.
    pub length: usize,
}

impl SeenRequest {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Everything of it as one text, to look for what must not be in it.
    #[must_use]
    pub fn text(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let body = String::from_utf8_lossy(&self.body);
        format!(
            "{} {}?{}\n{}\n{body}",
            self.method,
            self.path,
            self.query,
            headers.collect::<String>()
        )
    }
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    /// Path and query, as they came.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head, without the empty line that ends it.
    pub(super) fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Self { method: method.to_owned(), target: target.to_owned(), headers: headers.collect() }
    }

    /// What came through a proxy names the host too, which a server takes. [RFC 9112, 3.2.2]
    fn in_origin_form(mut self) -> Self {
        if let Some(rest) = self.target.strip_prefix("http://") {
            self.target = rest.find('/').map_or("/", |at| &rest[at..]).to_owned();
        }
        self
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(super) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// A value of the query, its escapes undone.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query().split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(known, _)| *known == name).map(|(_, value)| unescape(value)).next()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Undoes `%2F` and the like.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let hex = others.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Arc<[u8]>,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Arc::from([]) }
    }

    pub(super) fn bytes(status: u16, body: impl Into<Arc<[u8]>>) -> Self {
        Self { body: body.into(), ..Self::new(status) }
    }

    /// The body that registries give with an error.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let message =
            if message.is_empty() { code.to_lowercase().replace('_', " ") } else { message.into() };
        let body =
            serde_json::json!({ "errors": [{ "code": code, "message": message, "detail": {} }] });
        Self::bytes(status, body.to_string().into_bytes()).with("Content-Type", "application/json")
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }
}

/// Both directions of a connection.
pub(super) trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// A client's connection.
pub(super) struct Connection {
    stream: Box<dyn Both>,
    /// To break it beneath any TLS.
    socket: TcpStream,
    /// Read and not yet taken.
    ahead: Vec<u8>,
}

/// Bytes of a head; a client that sends more is not one of ours.
pub(super) const LONGEST_HEAD: usize = 64 << 10;
/// The first byte of a TLS connection. [RFC 8446, 5.1]
const TLS_HANDSHAKE: u8 = 22;
/// Bytes that are written between two looks at the clock.
const PIECE: usize = 64 << 10;

impl Connection {
    pub(super) fn plain(socket: TcpStream) -> io::Result<Self> {
        let handle = socket.try_clone()?;
        Ok(Self::new(Box::new(socket), handle))
    }

    pub(super) fn new(stream: Box<dyn Both>, socket: TcpStream) -> Self {
        Self { stream, socket, ahead: Vec::new() }
    }

    /// Breaks the connection.
    pub(super) fn cut(&mut self) -> io::Error {
        drop(self.stream.flush());
        // What was written before is to arrive before the break does.
        crate::wait::nap(Duration::from_millis(20));
        drop(self.socket.shutdown(Shutdown::Both));
        io::Error::other("cut on purpose")
    }

    /// The next request; `None` when the client has no more.
    pub(super) fn head(&mut self) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if self.ahead.first() == Some(&TLS_HANDSHAKE) {
                // A client that tries TLS first learns here that there is none.
                self.stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
                return Err(self.cut());
            }
            if self.ahead.len() > LONGEST_HEAD {
                return Err(io::Error::other("a head that does not end"));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        };
        let text = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
        self.ahead.drain(..end + 4);
        Ok(Some(Head::parse(&text).in_origin_form()))
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; PIECE];
        let count = self.stream.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Reads the body of a request, or as much of it as `most`; whether that was all.
    pub(super) fn body(&mut self, head: &Head, most: usize) -> io::Result<(Vec<u8>, bool)> {
        if head.header("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.stream.flush()?;
        }
        let chunked = head.header("transfer-encoding").is_some_and(|value| value == "chunked");
        let mut body = Vec::new();
        if !chunked {
            let length = head.header("content-length").and_then(|value| value.parse().ok());
            let length: usize = length.unwrap_or(0);
            self.take(length.min(most), &mut body)?;
            return Ok((body, length <= most));
        }
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(io::Error::other)?;
            let left = most - body.len();
            if size > left {
                self.take(left, &mut body)?;
                return Ok((body, false));
            }
            self.take(size, &mut body)?;
            self.line()?;
            if size == 0 {
                return Ok((body, true));
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                self.ahead.drain(..end + 2);
                return Ok(line);
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self, count: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let here = count.min(self.ahead.len());
        into.extend(self.ahead.drain(..here));
        let before = into.len();
        into.resize(before + count - here, 0);
        self.stream.read_exact(&mut into[before..])
    }

    /// Writes an answer, in this manner.
    pub(super) fn answer(
        &mut self,
        shared: &Shared,
        head: &Head,
        answer: &Answer,
        manner: Manner,
    ) -> io::Result<()> {
        let mut text = format!("HTTP/1.1 {} Said\r\n", answer.status);
        for (name, value) in &answer.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if answer.status != 204 {
            text.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
        }
        text.push_str("\r\n");
        self.stream.write_all(text.as_bytes())?;
        let body: &[u8] = if head.method == "HEAD" { &[] } else { &answer.body };
        let passes = manner.cut.unwrap_or(usize::MAX).min(body.len());
        match manner.bytes_per_second {
            None => self.stream.write_all(&body[..passes])?,
            Some(speed) => self.slowly(shared, &body[..passes], speed)?,
        }
        self.stream.flush()?;
        if manner.cut.is_some() { Err(self.cut()) } else { Ok(()) }
    }

    /// Writes twenty times a second.
    fn slowly(&mut self, shared: &Shared, body: &[u8], bytes_per_second: usize) -> io::Result<()> {
        for piece in body.chunks((bytes_per_second / 20).max(1)) {
            self.stream.write_all(piece)?;
            self.stream.flush()?;
            if shared.ends_within(Duration::from_millis(50)) {
                return Err(io::Error::other("the registry ends"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape("sha256%3Aab%2fc%"), "sha256:ab/c%");
        let head = Head {
            method: "GET".into(),
            target: "/v2/a?mount=sha256%3Ab&from=c%2Fd".into(),
            headers: Vec::new(),
        };
        assert_eq!(head.path(), "/v2/a");
        assert_eq!(head.parameter("mount").as_deref(), Some("sha256:b"));
        assert_eq!(head.parameter("from").as_deref(), Some("c/d"));
        assert_eq!(head.parameter("nope"), None);
        let head = Head::parse("GET http://h:1/v2/?a HTTP/1.1\r\nHost: h:1");
        assert_eq!(head.header("host"), Some("h:1"));
        assert_eq!(head.in_origin_form().target, "/v2/?a");
    }
}
