//! Where an engine is.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where an engine is: `unix:///run/ferry/ferry.sock` or `tcp://host:2375`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A host with a port, without TLS.
    Tcp(String),
}

/// Text that is not an address of an engine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// There is no `://` in it.
    #[error("unable to parse docker host `{0}`")]
    Malformed(String),
    /// Its scheme is not one that this client speaks.
    #[error("unsupported protocol `{scheme}` in docker host `{host}`")]
    Scheme {
        /// What stands before `://`.
        scheme: String,
        /// The whole text.
        host: String,
    },
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let malformed = || InvalidAddress::Malformed(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        if rest.is_empty() {
            return Err(malformed());
        }
        match scheme {
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" | "http" => {
                let authority = rest.trim_end_matches('/');
                let has_port =
                    authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if has_port {
                    authority.to_owned()
                } else {
                    format!("{authority}:2375")
                }))
            }
            _ => Err(InvalidAddress::Scheme { scheme: scheme.to_owned(), host: text.to_owned() }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        let got = text.parse::<Address>();
        let got = got.map(|address| address.to_string()).map_err(|error| error.to_string());
        assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn unix_and_tcp_are_addresses() {
        check("unix:///var/run/docker.sock", Ok("unix:///var/run/docker.sock"));
        check("tcp://127.0.0.1:2375/", Ok("tcp://127.0.0.1:2375"));
        check("tcp://localhost", Ok("tcp://localhost:2375"));
    }

    #[test]
    fn others_are_refused() {
        check("/var/run/docker.sock", Err("unable to parse docker host `/var/run/docker.sock`"));
        check("unix://", Err("unable to parse docker host `unix://`"));
        check("ssh://host", Err("unsupported protocol `ssh` in docker host `ssh://host`"));
    }
}
