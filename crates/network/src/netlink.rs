//! Netlink messages: writing, sending and reading them.
//!
//! One encoder serves rtnetlink and `nf_tables`. Readers look only at the attributes they want, so a
//! newer kernel that says more, or says it longer, breaks none of them.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use ferry_sys::SysError;
use ferry_sys::netlink::{NetlinkFamily, NetlinkSocket};
use rustix::io::Errno;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
/// A refusal has explaining attributes behind it.
const EXPLAINED: u16 = 0x200;
/// What is dumped changed meanwhile.
const INTERRUPTED: u16 = 0x10;
const HEADER_LENGTH: usize = 16;
const NESTED: u16 = 0x8000;
/// What the kernel puts at most in one datagram of a dump. [netlink(7)]
const DATAGRAM: usize = 32 * 1024;

/// Flags of a message beyond what every request has.
pub(crate) mod flags {
    /// Everything of the kind is asked for.
    pub(crate) const DUMP: u16 = 0x300;
    /// It must not be there already.
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    /// It may be missing.
    pub(crate) const CREATE: u16 = 0x400;
    /// It comes behind those that are there.
    pub(crate) const APPEND: u16 = 0x800;
}

/// Messages to be sent together.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    /// The sequence number of the last message.
    sequence: u32,
    acknowledgements: usize,
}

impl Messages {
    /// Adds a message that the kernel acknowledges.
    pub(crate) fn add(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Body<'_>),
    ) {
        self.acknowledgements += 1;
        self.add_silent(kind, flags | ACKNOWLEDGE, fixed, body);
    }

    /// Adds a message whose success is not told.
    pub(crate) fn add_silent(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Body<'_>),
    ) {
        self.sequence += 1;
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        let mut writer = Body { bytes: &mut self.bytes };
        writer.raw(fixed);
        body(&mut writer);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The attributes of a message that is being written.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Body<'_> {
    /// Adds bytes that are no attribute, such as the fixed part of a nested message.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.pad();
    }

    /// Adds an attribute.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        // Attributes are far shorter than 64 KiB: names, numbers and addresses.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.raw(value);
    }

    /// Adds a number in the order of this machine, as rtnetlink has them.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Adds a number in network order, as `nf_tables` has them.
    pub(crate) fn network_number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Adds a text with the zero at its end.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Adds a descriptor.
    pub(crate) fn descriptor(&mut self, kind: u16, value: BorrowedFd<'_>) {
        self.put(kind, &value.as_raw_fd().to_ne_bytes());
    }

    /// Adds an attribute made of attributes.
    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Body<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        body(&mut Body { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A socket of one network namespace, with which requests are made one after the other.
#[derive(Debug)]
pub(crate) struct Conversation {
    socket: NetlinkSocket,
    sequence: u32,
}

impl Conversation {
    /// Opens one in this thread's network namespace.
    pub(crate) fn open(family: NetlinkFamily) -> Result<Self, SysError> {
        Ok(Self { socket: NetlinkSocket::open(family)?, sequence: 0 })
    }

    /// Sends messages in one call and gives the first refusal.
    ///
    /// What is asked of rtnetlink after a refused message is done nevertheless; `nf_tables` does all
    /// or nothing.
    pub(crate) fn request(&mut self, build: impl FnOnce(&mut Messages)) -> Result<(), SysError> {
        self.exchange(build, |_| ())
    }

    /// Asks one thing and gives the content of each message answered.
    pub(crate) fn ask(
        &mut self,
        build: impl FnOnce(&mut Messages),
        each: impl FnMut(&[u8]),
    ) -> Result<(), SysError> {
        self.exchange(build, each)
    }

    /// Asks for everything of a kind.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        fixed: &[u8],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, SysError> {
        loop {
            let mut all = Vec::new();
            let add = |to: &mut Messages| to.add(kind, flags::DUMP, fixed, |_| ());
            match self.exchange(add, |content| all.extend(read(content))) {
                // It changed while it was read.
                Err(error) if error.errno == Errno::INTR => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(all),
            }
        }
    }

    fn exchange(
        &mut self,
        build: impl FnOnce(&mut Messages),
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), SysError> {
        let mut messages = Messages { sequence: self.sequence, ..Messages::default() };
        build(&mut messages);
        let ours = self.sequence + 1..=messages.sequence;
        self.sequence = messages.sequence;
        self.socket.send(&messages.bytes)?;
        let mut missing = messages.acknowledgements;
        let mut refusal = None;
        let mut buffer = vec![0; DATAGRAM];
        // The kernel has acted when `send` returns: all answers are there, or made as they are
        // read, and an empty queue is the end of them.
        while let Some(datagram) = self.socket.receive(&mut buffer)? {
            for message in messages_of(datagram).filter(|m| ours.contains(&m.sequence)) {
                if message.flags & INTERRUPTED != 0 {
                    let error = SysError::new("netlink", "interrupted dump", Errno::INTR);
                    refusal.get_or_insert(error);
                }
                match message.outcome() {
                    None => each(message.content),
                    Some(Ok(())) => missing = missing.saturating_sub(1),
                    Some(Err(error)) => {
                        refusal.get_or_insert(error);
                    }
                }
            }
        }
        match refusal {
            Some(error) => Err(error),
            None if missing == 0 => Ok(()),
            None => Err(SysError::new("netlink", "missing acknowledgement", Errno::PROTO)),
        }
    }
}

/// A message that came.
#[derive(Debug)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    content: &'a [u8],
}

impl Message<'_> {
    /// Whether it says how a request ended, and how.
    fn outcome(&self) -> Option<Result<(), SysError>> {
        if self.kind != ERROR && self.kind != DONE {
            return None;
        }
        let code = number(self.content).unwrap_or_default().cast_signed();
        if code == 0 {
            return Some(Ok(()));
        }
        let behind = if self.kind == ERROR { 4 + HEADER_LENGTH } else { 4 };
        let words = (self.flags & EXPLAINED != 0)
            .then(|| attributes(self.content.get(behind..)?).find(|(kind, _)| *kind == 1))
            .flatten()
            .and_then(|(_, words)| text(words));
        let subject = words.unwrap_or_default();
        Some(Err(SysError::new("netlink", subject, Errno::from_raw_os_error(-code))))
    }
}

fn messages_of(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER_LENGTH] = rest.first_chunk()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let content = rest.get(HEADER_LENGTH..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            content,
        })
    })
}

/// The attributes in a message behind its fixed part: kind and value. It ends at the first that is
/// cut off.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two highest bits say how it is encoded.
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, value))
    })
}

/// The number of this machine's order that stands first.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The text up to its zero.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.split(|byte| *byte == 0).next()?;
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests;
