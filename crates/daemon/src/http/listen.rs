//! Sockets that clients connect to.

use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    http::{connection, service, wire::Stream},
};

/// Where to listen, as `-H` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket.
    Unix(PathBuf),
    /// An address with a port, without TLS.
    Tcp(SocketAddr),
}

impl FromStr for Host {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            bail!("invalid bind address format: {text}");
        };
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => bail!("invalid bind address ({text}): the socket's path must be absolute"),
            "tcp" => {
                let rest = rest.trim_end_matches('/');
                let rest =
                    if rest.contains(':') { rest.to_owned() } else { format!("{rest}:2375") };
                let rest =
                    rest.strip_prefix(':').map_or(rest.clone(), |port| format!("127.0.0.1:{port}"));
                let rest = rest.replace("localhost:", "127.0.0.1:");
                let address =
                    rest.parse().with_context(|| format!("invalid bind address ({text})"))?;
                Ok(Self::Tcp(address))
            }
            "fd" => bail!("ferry does not support listening on {text} yet"),
            _ => bail!("invalid bind address ({text}): unsupported proto '{scheme}'"),
        }
    }
}

/// A socket that is listened on; a Unix socket's file goes with it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix { listener: UnixListener, path: PathBuf },
    Tcp(TcpListener),
}

impl Listener {
    /// Begins to listen. A Unix socket is for root and the group `group`.
    pub(crate) async fn bind(host: &Host, group: &str) -> anyhow::Result<Self> {
        let socket = match host {
            Host::Unix(path) => {
                let listener = bind_unix(path, group)
                    .await
                    .with_context(|| format!("can't create unix socket {}", path.display()))?;
                Socket::Unix { listener, path: path.clone() }
            }
            Host::Tcp(address) => Socket::Tcp(
                TcpListener::bind(address)
                    .await
                    .with_context(|| format!("cannot listen on tcp://{address}"))?,
            ),
        };
        Ok(Self { socket })
    }

    async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Unix { listener, .. } => Ok(Stream::Unix(listener.accept().await?.0)),
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    /// Accepts connections until `closing`.
    pub(crate) async fn run(self, app: Arc<App>, closing: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = closing.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(stream) => {
                    let handler = Arc::clone(&app);
                    let handle = move |request| service::serve(Arc::clone(&handler), request);
                    let serve = connection::serve(handle, stream, closing.clone());
                    app.connections.spawn(serve);
                }
                Err(error) => {
                    // Descriptors may have run out; those of others come back.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix { path, .. } = &self.socket
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(%error, path = %path.display(), "cannot remove the socket");
        }
    }
}

/// Whether something answers on a Unix socket.
pub(crate) async fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

async fn bind_unix(path: &Path, group: &str) -> anyhow::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            if is_served(path).await {
                bail!("another program is listening on it");
            }
            fs::remove_file(path)?;
        }
        Ok(_) => bail!("there is a file that is not a socket"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(path)?;
    // Order: the group first, so that no other group is ever let in by the mode.
    if let Some(gid) = group_id(group) {
        std::os::unix::fs::chown(path, None, Some(gid))?;
    } else {
        tracing::debug!(group, "no such group; the socket is root's alone");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Finds a group's number by its name or number.
fn group_id(group: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    named.or_else(|| group.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<Host>) {
        assert_eq!(text.parse::<Host>().ok(), expect, "{text}");
    }

    #[test]
    fn hosts_are_sockets_or_addresses() {
        check("unix:///run/x.sock", Some(Host::Unix("/run/x.sock".into())));
        check("tcp://127.0.0.1:2375", Some(Host::Tcp(([127, 0, 0, 1], 2375).into())));
        check("tcp://127.0.0.1", Some(Host::Tcp(([127, 0, 0, 1], 2375).into())));
        check("tcp://:4000/", Some(Host::Tcp(([127, 0, 0, 1], 4000).into())));
        check("tcp://localhost:1", Some(Host::Tcp(([127, 0, 0, 1], 1).into())));
        check("unix://x.sock", None);
        check("/run/x.sock", None);
        check("npipe://x", None);
        check("fd://", None);
    }
}
