//! Which namespaces a container has of its own and which it shares.

use std::fmt;

/// The network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// As the API says `default`: the bridge.
    #[default]
    Default,
    /// The default bridge.
    Bridge,
    /// The host's.
    Host,
    /// None but the loopback.
    None,
    /// Another container's, by id or name.
    Container(String),
    /// A network of this name; refused until there are such.
    Named(String),
}

impl NetworkMode {
    /// From the word of the API.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "default" => Self::Default,
            "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            _ => match text.strip_prefix("container:") {
                Some(name) => Self::Container(name.to_owned()),
                None => Self::Named(text.to_owned()),
            },
        }
    }

    /// Whether it is the default bridge.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        matches!(self, Self::Default | Self::Bridge)
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(name) => write!(f, "container:{name}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Process ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PidMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's.
    Container(String),
}

impl PidMode {
    /// From the word of the API; `None` when it means nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Private),
            "host" => Some(Self::Host),
            _ => container(text).map(Self::Container),
        }
    }
}

impl fmt::Display for PidMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => Ok(()),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

/// System V IPC and `/dev/shm`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IpcMode {
    /// The daemon's default: private.
    #[default]
    Default,
    /// Its own.
    Private,
    /// Its own, and others may join.
    Shareable,
    /// Its own, without `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// Another container's.
    Container(String),
}

impl IpcMode {
    /// From the word of the API; `None` when it means nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Default),
            "private" => Some(Self::Private),
            "shareable" => Some(Self::Shareable),
            "none" => Some(Self::None),
            "host" => Some(Self::Host),
            _ => container(text).map(Self::Container),
        }
    }
}

impl fmt::Display for IpcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => Ok(()),
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

/// Host and domain name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UtsMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

impl UtsMode {
    /// From the word of the API; `None` when it means nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Private),
            "host" => Some(Self::Host),
            _ => None,
        }
    }
}

impl fmt::Display for UtsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => Ok(()),
            Self::Host => f.write_str("host"),
        }
    }
}

/// The cgroup namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupnsMode {
    /// Its own.
    Private,
    /// The host's.
    Host,
}

impl CgroupnsMode {
    /// From the word of the API: `Ok(None)` when empty, `Err` when it means nothing.
    pub fn parse(text: &str) -> Result<Option<Self>, UnknownMode> {
        match text {
            "" => Ok(None),
            "private" => Ok(Some(Self::Private)),
            "host" => Ok(Some(Self::Host)),
            _ => Err(UnknownMode(text.to_owned())),
        }
    }
}

impl fmt::Display for CgroupnsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "private",
            Self::Host => "host",
        })
    }
}

/// A mode that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode {0:?}")]
pub struct UnknownMode(pub String);

fn container(text: &str) -> Option<String> {
    text.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}
