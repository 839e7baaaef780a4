//! Connections that become the standard streams of a container.

use std::{fmt, future::Future, io, pin::Pin};

use bytes::Bytes;
use ferry_api::{MULTIPLEXED_STREAM, RAW_STREAM};
use ferry_engine::ClientConnection;
use futures_util::{Stream, StreamExt as _};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::{io::AsyncWriteExt as _, net::UnixStream};

use crate::{compat::Version, http::wire::Stream as Socket};

/// What happens to a connection after HTTP has let it go.
pub(crate) struct Takeover {
    /// What is written first, by the taker if there is no past; Docker's bytes exactly.
    pub(crate) head: Vec<u8>,
    /// What is written next: output of the past.
    pub(crate) past: Option<Pin<Box<dyn Stream<Item = Bytes> + Send>>>,
    /// Who gets the connection then; nobody means that it is closed.
    pub(crate) then: Option<Then>,
}

/// Takes a connection, and writes the head that is left.
pub(crate) type Then = Box<
    dyn FnOnce(
            ClientConnection,
        )
            -> Pin<Box<dyn Future<Output = Result<(), ferry_engine::EngineError>> + Send>>
        + Send,
>;

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takeover")
            .field("head", &self.head.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

/// How the client asked for the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// It sent `Upgrade`, so it understands a 101.
    pub(crate) upgrade: bool,
    /// The version of the API it speaks.
    pub(crate) version: Version,
}

impl Takeover {
    /// Makes the takeover of an attach or an exec.
    ///
    /// `headers` come after those that every takeover has: an exec's answer has Docker's common
    /// headers, an attach's has not.
    pub(crate) fn streams(asked: Asked, tty: bool, headers: &str, then: Then) -> Self {
        // Compat: without an upgrade the type says "raw" even though there are frames.
        let is_multiplexed = asked.upgrade && !tty && asked.version.names_multiplexed_streams();
        let content_type = if is_multiplexed { MULTIPLEXED_STREAM } else { RAW_STREAM };
        let head = if asked.upgrade {
            format!(
                "HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\n\
                 Connection: Upgrade\r\nUpgrade: tcp\r\n{headers}\r\n"
            )
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{headers}\r\n")
        };
        Self { head: head.into_bytes(), past: None, then: Some(then) }
    }

    /// Makes the answer that refuses an attach: text, after which the connection ends.
    pub(crate) fn refusal(status: http::StatusCode, message: &str) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {RAW_STREAM}\r\n\r\n{message}\r\n",
            status.as_u16()
        );
        Self { head: head.into_bytes(), past: None, then: None }
    }

    /// Carries it out.
    ///
    /// # Errors
    ///
    /// The client is gone, or descriptors have run out.
    pub(crate) async fn run(self, mut stream: Socket, already_read: Bytes) -> anyhow::Result<()> {
        let mut past = self.past;
        let mut head = self.head;
        // Output of the past, or an answer without a taker, leaves nothing to be in time for.
        if past.is_some() || self.then.is_none() {
            stream.write_all(&head).await?;
            head.clear();
        }
        while let Some(past) = &mut past
            && let Some(piece) = past.next().await
        {
            stream.write_all(&piece).await?;
        }
        let Some(then) = self.then else {
            stream.shutdown().await?;
            return Ok(());
        };
        let already_read = already_read.to_vec();
        match stream {
            Socket::Unix(_) => {
                let socket = stream.into_fd()?;
                then(ClientConnection { socket, head, already_read }).await?;
            }
            // A supervisor speaks to Unix sockets only: it relies on their half-close and limits.
            Socket::Tcp(mut client) => {
                let (near, far) = socketpair(
                    AddressFamily::UNIX,
                    SocketType::STREAM,
                    SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                    None,
                )
                .map_err(io::Error::from)?;
                let mut near = UnixStream::from_std(near.into())?;
                let given = then(ClientConnection { socket: far, head, already_read });
                tokio::try_join!(async { given.await.map_err(anyhow::Error::from) }, async {
                    let copied = tokio::io::copy_bidirectional(&mut client, &mut near);
                    copied.await.map_err(anyhow::Error::from)
                },)?;
            }
        }
        Ok(())
    }
}
