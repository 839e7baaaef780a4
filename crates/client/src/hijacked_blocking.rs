//! Hijacked streams for threads that read and write by themselves.

use std::{io, os::fd::OwnedFd};

use bytes::Bytes;

use crate::{Hijacked, socket::Socket};

/// A hijacked connection outside of the async runtime, in blocking mode.
#[derive(Debug)]
pub struct BlockingStream {
    /// The socket; duplicate it to read and write at once.
    pub socket: OwnedFd,
    /// What came before the connection was taken over.
    pub already_read: Bytes,
    /// Whether the output has frames (see [`ferry_api::stream`]).
    pub is_multiplexed: bool,
}

impl Hijacked {
    /// Takes the connection out of the async runtime.
    ///
    /// # Errors
    ///
    /// The socket cannot be made blocking.
    pub fn into_blocking(self) -> io::Result<BlockingStream> {
        let is_multiplexed = self.is_multiplexed();
        let socket: OwnedFd = match self.socket {
            Socket::Unix(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                stream.into()
            }
            Socket::Tcp(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                stream.into()
            }
        };
        Ok(BlockingStream { socket, already_read: self.already_read, is_multiplexed })
    }
}
