//! Netlink sockets. [netlink(7)]
//!
//! Only the socket is here; messages are made and read by who uses it.

use std::mem::size_of;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Context as _, SysError};
use crate::process::check;

/// Whom a netlink socket speaks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetlinkFamily {
    /// Links, addresses and routes. [rtnetlink(7)]
    Route,
    /// The packet filter.
    Netfilter,
}

/// A netlink socket of the network namespace it was opened in, wherever it is used later.
#[derive(Debug)]
pub struct NetlinkSocket {
    socket: OwnedFd,
}

impl NetlinkSocket {
    /// Opens a socket in this thread's network namespace.
    ///
    /// The kernel's refusals come without a copy of what was asked (Linux 4.3) and with their
    /// explanation in words (Linux 4.12).
    ///
    /// # Errors
    /// The call that failed.
    pub fn open(family: NetlinkFamily) -> Result<Self, SysError> {
        let protocol: Option<Protocol> = match family {
            NetlinkFamily::Route => None,
            NetlinkFamily::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .during("socket", || format!("netlink {family:?}"))?;
        set_flag(&socket, libc::NETLINK_CAP_ACK)?;
        set_flag(&socket, libc::NETLINK_EXT_ACK)?;
        Ok(Self { socket })
    }

    /// Sends messages to the kernel, which has acted on all of them when this returns.
    ///
    /// # Errors
    /// What send says. That the kernel refused a message is in its answer.
    pub fn send(&self, messages: &[u8]) -> Result<(), SysError> {
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.socket, messages, SendFlags::empty())
        })
        .during("send", || "netlink")?;
        if sent == messages.len() {
            Ok(())
        } else {
            Err(SysError::new("send", "netlink", Errno::MSGSIZE))
        }
    }

    /// Takes the next datagram of answers, or `None` if no more are there; it does not wait.
    ///
    /// # Errors
    /// `MSGSIZE` if it does not fit in the buffer; else what recv says.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, SysError> {
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.socket, &mut *buffer, flags).map(|(_, whole)| whole)
        });
        match received {
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(SysError::new("recv", "netlink", errno)),
            Ok(length) => match buffer.get(..length) {
                Some(answer) => Ok(Some(answer)),
                None => Err(SysError::new("recv", "netlink", Errno::MSGSIZE)),
            },
        }
    }
}

fn set_flag(socket: &OwnedFd, option: libc::c_int) -> Result<(), SysError> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    let result =
        // SAFETY: setsockopt reads `length` bytes at `on`, which is an integer of that size.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                length,
            )
        };
    check(result.into(), "setsockopt", || "netlink")
}
