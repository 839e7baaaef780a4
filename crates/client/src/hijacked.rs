//! Connections that became streams.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{tcp, unix},
};

use crate::socket::Socket;

/// The standard streams of a container or exec.
///
/// What comes is framed (see [`ferry_api::stream`]) when [`Hijacked::is_multiplexed`] says so;
/// what goes is raw.
#[derive(Debug)]
pub struct Hijacked {
    pub(crate) socket: Socket,
    pub(crate) already_read: Bytes,
    pub(crate) content_type: String,
}

impl Hijacked {
    /// Whether the engine says that the output has frames.
    ///
    /// Engines before API 1.42 do not say; whether there is a terminal decides then.
    pub fn is_multiplexed(&self) -> bool {
        self.content_type == ferry_api::MULTIPLEXED_STREAM
    }

    /// Separates the two directions.
    pub fn into_split(self) -> (HijackedReader, HijackedWriter) {
        let (reader, writer) = match self.socket {
            Socket::Unix(stream) => {
                let (reader, writer) = stream.into_split();
                (ReadSide::Unix(reader), WriteSide::Unix(writer))
            }
            Socket::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                (ReadSide::Tcp(reader), WriteSide::Tcp(writer))
            }
        };
        (
            HijackedReader { already_read: self.already_read, side: reader },
            HijackedWriter { side: writer },
        )
    }
}

/// The output of a container or exec.
#[derive(Debug)]
pub struct HijackedReader {
    already_read: Bytes,
    side: ReadSide,
}

/// The input of a container or exec.
///
/// Shutting it down, or dropping it, is the end of the input; the output goes on.
#[derive(Debug)]
pub struct HijackedWriter {
    side: WriteSide,
}

#[derive(Debug)]
enum ReadSide {
    Unix(unix::OwnedReadHalf),
    Tcp(tcp::OwnedReadHalf),
}

#[derive(Debug)]
enum WriteSide {
    Unix(unix::OwnedWriteHalf),
    Tcp(tcp::OwnedWriteHalf),
}

impl AsyncRead for HijackedReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.already_read.is_empty() {
            let len = this.already_read.len().min(buf.remaining());
            buf.put_slice(&this.already_read[..len]);
            this.already_read.advance(len);
            return Poll::Ready(Ok(()));
        }
        match &mut this.side {
            ReadSide::Unix(half) => Pin::new(half).poll_read(cx, buf),
            ReadSide::Tcp(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for HijackedWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().side {
            WriteSide::Unix(half) => Pin::new(half).poll_write(cx, bytes),
            WriteSide::Tcp(half) => Pin::new(half).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().side {
            WriteSide::Unix(half) => Pin::new(half).poll_flush(cx),
            WriteSide::Tcp(half) => Pin::new(half).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().side {
            WriteSide::Unix(half) => Pin::new(half).poll_shutdown(cx),
            WriteSide::Tcp(half) => Pin::new(half).poll_shutdown(cx),
        }
    }
}

impl AsFd for HijackedReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.side {
            ReadSide::Unix(half) => half.as_ref().as_fd(),
            ReadSide::Tcp(half) => half.as_ref().as_fd(),
        }
    }
}
