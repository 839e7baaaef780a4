//! Attaching clients to containers.

use std::sync::Arc;

use super::Engine;
use crate::container::Container;
use crate::detach_keys;
use crate::driver::Request;
use crate::error::{EngineError, Result};
use crate::inner::Inner;
use crate::phase::Phase;
use crate::request::{AttachRequest, ClientConnection, greet};
use crate::supervised::{Attachment, Framing};

/// Leave to attach to a container.
#[derive(Debug)]
pub struct AttachTicket {
    engine: Arc<Inner>,
    container: Arc<Container>,
    tty: bool,
    request: AttachRequest,
    detach_keys: Vec<u8>,
}

impl Engine {
    /// Checks that a client may attach, before its connection is taken out of HTTP.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is paused or being removed; `Invalid` for bad detach keys.
    pub fn prepare_attach(&self, reference: &str, request: AttachRequest) -> Result<AttachTicket> {
        let container = self.inner.registry.find(reference)?;
        let snapshot = container.snapshot();
        match snapshot.phase {
            Phase::Paused(_) => {
                return Err(EngineError::Conflict(format!(
                    "container {reference} is paused, unpause the container before attach"
                )));
            }
            Phase::Removing { .. } | Phase::Dead { .. } => {
                return Err(EngineError::Conflict(format!(
                    "container {reference} is marked for removal and cannot be attached to"
                )));
            }
            Phase::Created { .. }
            | Phase::Starting { .. }
            | Phase::Running(_)
            | Phase::Exited(_) => {}
        }
        let detach_keys = detach_keys::parse(request.detach_keys.as_deref())?;
        Ok(AttachTicket {
            engine: Arc::clone(&self.inner),
            container,
            tty: snapshot.spec.streams.tty,
            request,
            detach_keys,
        })
    }
}

impl AttachTicket {
    /// Whether the container has a terminal, so that its stream is raw and not multiplexed.
    #[must_use]
    pub fn tty(&self) -> bool {
        self.tty
    }

    /// The container's id.
    #[must_use]
    pub fn container(&self) -> &crate::ContainerId {
        self.container.id()
    }

    /// What was asked for. What `logs` wants is the caller's to write to the connection before
    /// [`AttachTicket::connect`].
    #[must_use]
    pub fn request(&self) -> &AttachRequest {
        &self.request
    }

    /// Hands the connection to the container's supervisor, or keeps it until the container starts.
    /// Without `stream` there is nothing to hand over: the connection is closed.
    ///
    /// # Errors
    /// When too many wait, or the supervisor has gone.
    pub async fn connect(self, connection: ClientConnection) -> Result<()> {
        let Self { engine, container, tty, request, detach_keys } = self;
        engine.tell(&container.snapshot(), "attach", &[]);
        let ClientConnection { socket, head, already_read } = connection;
        if !request.stream {
            return greet(&socket, &head);
        }
        let open_stdin = container.snapshot().spec.streams.open_stdin;
        let attachment = Box::new(Attachment {
            socket,
            already_read,
            stdin: request.stdin && open_stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            framing: if tty { Framing::Raw } else { Framing::Multiplexed },
            detach_keys,
        });
        container.ask(|reply| Request::Attach { attachment, head, reply }).await
    }
}
