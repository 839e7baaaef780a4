//! Datagrams with descriptors over `SOCK_SEQPACKET` sockets. [unix(7)]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Context as _, SysError};

/// The most descriptors one datagram carries: the kernel's `SCM_MAX_FD`.
pub const MAX_DESCRIPTORS: usize = 253;

/// A datagram that was received.
#[derive(Debug, Default)]
pub struct Datagram {
    /// Its length in the buffer.
    pub length: usize,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// It was longer than the buffer, or carried more descriptors than this process may open.
    pub truncated: bool,
}

/// Makes two connected sockets that close on exec.
///
/// # Errors
/// The call that failed.
pub fn pair(flags: SocketFlags) -> Result<(OwnedFd, OwnedFd), SysError> {
    let flags = flags | SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .during("socketpair", || "")
}

/// Listens at a path, which must be free.
///
/// # Errors
/// The call that failed.
pub fn listen(path: &Path, flags: SocketFlags) -> Result<OwnedFd, SysError> {
    let subject = || path.display().to_string();
    let address = SocketAddrUnix::new(path).during("socket address", subject)?;
    let socket = new_socket(flags)?;
    rustix::net::bind(&socket, &address).during("bind", subject)?;
    rustix::net::listen(&socket, 4).during("listen", subject)?;
    Ok(socket)
}

/// Connects to a listener.
///
/// # Errors
/// `ENOENT` and `ECONNREFUSED` when nobody listens; else the call that failed.
pub fn connect(path: &Path, flags: SocketFlags) -> Result<OwnedFd, SysError> {
    let subject = || path.display().to_string();
    let address = SocketAddrUnix::new(path).during("socket address", subject)?;
    let socket = new_socket(flags)?;
    rustix::net::connect(&socket, &address).during("connect", subject)?;
    Ok(socket)
}

fn new_socket(flags: SocketFlags) -> Result<OwnedFd, SysError> {
    let flags = flags | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .during("socket", || "seqpacket")
}

/// Sends one datagram with descriptors. A peer that has gone is `EPIPE`, without a signal.
///
/// # Errors
/// `EAGAIN` when there is no room and the socket does not block, `EMSGSIZE` when it is too long for
/// the socket's buffer; else what the kernel says.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space =
        vec![MaybeUninit::<u8>::uninit(); SendAncillaryMessage::ScmRights(descriptors).size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let slices = [IoSlice::new(bytes)];
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &slices, &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one datagram into a buffer; `None` at the end. The descriptors close on exec.
///
/// # Errors
/// `EAGAIN` when there is none and the socket does not block; else what the kernel says.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Option<Datagram>, Errno> {
    // As many as the kernel lets one datagram carry, so that none is cut off.
    let mut space =
        vec![MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut datagram = Datagram {
        length: message.bytes,
        descriptors: Vec::new(),
        truncated: message
            .flags
            .intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC),
    };
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            datagram.descriptors.extend(descriptors);
        }
    }
    // An empty datagram is never sent by us, so this is the end.
    Ok((datagram.length > 0).then_some(datagram))
}

#[cfg(test)]
mod tests;
