//! Every endpoint of the Engine API: one table that the router, the tests and people read.

/// An HTTP method that the API has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
}

impl Method {
    /// The method as HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing that is looked at.
    None,
    /// One JSON value.
    Json,
    /// A stream, of a tar archive mostly.
    Raw,
}

/// One endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// The method.
    pub method: Method,
    /// The path without its version. `{id}` is one segment, `{name:.*}` may be several.
    pub path: &'static str,
    /// What it does.
    pub operation: Operation,
    /// What it reads.
    pub body: Body,
    /// Whether this engine serves it yet; if not, it says so with a 501.
    pub is_served: bool,
    /// Whether the connection becomes a stream.
    pub is_hijacked: bool,
    /// Whether it is an addition of ours, which Docker does not have.
    pub is_own: bool,
}

impl Endpoint {
    const fn new(method: Method, path: &'static str, operation: Operation, body: Body) -> Self {
        Self { method, path, operation, body, is_served: false, is_hijacked: false, is_own: false }
    }

    const fn served(mut self) -> Self {
        self.is_served = true;
        self
    }

    const fn own(mut self) -> Self {
        self.is_own = true;
        self
    }

    const fn hijacked(mut self) -> Self {
        self.is_hijacked = true;
        self
    }
}

/// What an endpoint does, by the name that Docker's description of the API gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Delete a config.
    ConfigDelete,
    /// List configs.
    ConfigList,
    /// Inspect a config.
    ConfigInspect,
    /// Create a config.
    ConfigCreate,
    /// Update a Config.
    ConfigUpdate,
    /// Remove a container.
    ContainerDelete,
    /// List containers.
    ContainerList,
    /// Get an archive of a filesystem resource in a container.
    ContainerArchive,
    /// Attach to a container via a websocket.
    ContainerAttachWebsocket,
    /// Get changes on a container's filesystem.
    ContainerChanges,
    /// Export a container.
    ContainerExport,
    /// Inspect a container.
    ContainerInspect,
    /// Get container logs.
    ContainerLogs,
    /// Get container stats based on resource usage.
    ContainerStats,
    /// List processes running inside a container.
    ContainerTop,
    /// Get information about files in a container.
    ContainerArchiveInfo,
    /// Create a container.
    ContainerCreate,
    /// Delete stopped containers.
    ContainerPrune,
    /// Attach to a container.
    ContainerAttach,
    /// Kill a container.
    ContainerKill,
    /// Pause a container.
    ContainerPause,
    /// Rename a container.
    ContainerRename,
    /// Resize a container TTY.
    ContainerResize,
    /// Restart a container.
    ContainerRestart,
    /// Start a container.
    ContainerStart,
    /// Stop a container.
    ContainerStop,
    /// Unpause a container.
    ContainerUnpause,
    /// Update a container.
    ContainerUpdate,
    /// Wait for a container.
    ContainerWait,
    /// Extract an archive of files or folders to a directory in a container.
    PutContainerArchive,
    /// Get image information from the registry.
    DistributionInspect,
    /// Inspect an exec instance.
    ExecInspect,
    /// Create an exec instance.
    ContainerExec,
    /// Resize an exec instance.
    ExecResize,
    /// Start an exec instance.
    ExecStart,
    /// Remove an image.
    ImageDelete,
    /// Export several images.
    ImageGetAll,
    /// List Images.
    ImageList,
    /// Search images.
    ImageSearch,
    /// Get attestation statements for an image.
    ImageAttestations,
    /// Export an image.
    ImageGet,
    /// Get the history of an image.
    ImageHistory,
    /// Inspect an image.
    ImageInspect,
    /// Build an image.
    ImageBuild,
    /// Delete builder cache.
    BuildPrune,
    /// Create a new image from a container.
    ImageCommit,
    /// Create an image.
    ImageCreate,
    /// Import images.
    ImageLoad,
    /// Delete unused images.
    ImagePrune,
    /// Push an image.
    ImagePush,
    /// Tag an image.
    ImageTag,
    /// Remove a network.
    NetworkDelete,
    /// List networks.
    NetworkList,
    /// Inspect a network.
    NetworkInspect,
    /// Create a network.
    NetworkCreate,
    /// Delete unused networks.
    NetworkPrune,
    /// Connect a container to a network.
    NetworkConnect,
    /// Disconnect a container from a network.
    NetworkDisconnect,
    /// Delete a node.
    NodeDelete,
    /// List nodes.
    NodeList,
    /// Inspect a node.
    NodeInspect,
    /// Update a node.
    NodeUpdate,
    /// Remove a plugin.
    PluginDelete,
    /// List plugins.
    PluginList,
    /// Get plugin privileges.
    GetPluginPrivileges,
    /// Inspect a plugin.
    PluginInspect,
    /// Create a plugin.
    PluginCreate,
    /// Install a plugin.
    PluginPull,
    /// Disable a plugin.
    PluginDisable,
    /// Enable a plugin.
    PluginEnable,
    /// Push a plugin.
    PluginPush,
    /// Configure a plugin.
    PluginSet,
    /// Upgrade a plugin.
    PluginUpgrade,
    /// Delete a secret.
    SecretDelete,
    /// List secrets.
    SecretList,
    /// Inspect a secret.
    SecretInspect,
    /// Create a secret.
    SecretCreate,
    /// Update a Secret.
    SecretUpdate,
    /// Delete a service.
    ServiceDelete,
    /// List services.
    ServiceList,
    /// Inspect a service.
    ServiceInspect,
    /// Get service logs.
    ServiceLogs,
    /// Create a service.
    ServiceCreate,
    /// Update a service.
    ServiceUpdate,
    /// Initialize interactive session.
    Session,
    /// Inspect swarm.
    SwarmInspect,
    /// Get the unlock key.
    SwarmUnlockkey,
    /// Initialize a new swarm.
    SwarmInit,
    /// Join an existing swarm.
    SwarmJoin,
    /// Leave a swarm.
    SwarmLeave,
    /// Unlock a locked manager.
    SwarmUnlock,
    /// Update a swarm.
    SwarmUpdate,
    /// Ping.
    SystemPing,
    /// Monitor events.
    SystemEvents,
    /// Get system information.
    SystemInfo,
    /// Get data usage information.
    SystemDataUsage,
    /// Get version.
    SystemVersion,
    /// Ping.
    SystemPingHead,
    /// Check auth configuration.
    SystemAuth,
    /// List tasks.
    TaskList,
    /// Inspect a task.
    TaskInspect,
    /// Get task logs.
    TaskLogs,
    /// Remove a volume.
    VolumeDelete,
    /// List volumes.
    VolumeList,
    /// Inspect a volume.
    VolumeInspect,
    /// Create a volume.
    VolumeCreate,
    /// Delete unused volumes.
    VolumePrune,
    /// Update a volume. Valid only for Swarm cluster volumes.
    VolumeUpdate,
    /// Cancel a build.
    BuildCancel,
    /// List checkpoints (experimental).
    CheckpointList,
    /// Create a checkpoint (experimental).
    CheckpointCreate,
    /// Delete a checkpoint (experimental).
    CheckpointDelete,
    /// Speak gRPC with the builder.
    Grpc,
    /// Look over what is stored. Ours.
    Scrub,
    /// Change how layers are kept. Ours.
    LayersConvert,
}

/// Every endpoint of the API.
#[rustfmt::skip]
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new(Method::Delete, "/configs/{id}", Operation::ConfigDelete, Body::None),
    Endpoint::new(Method::Get, "/configs", Operation::ConfigList, Body::None),
    Endpoint::new(Method::Get, "/configs/{id}", Operation::ConfigInspect, Body::None),
    Endpoint::new(Method::Post, "/configs/create", Operation::ConfigCreate, Body::Json),
    Endpoint::new(Method::Post, "/configs/{id}/update", Operation::ConfigUpdate, Body::Json),
    Endpoint::new(Method::Delete, "/containers/{id}", Operation::ContainerDelete, Body::None).served(),
    Endpoint::new(Method::Get, "/containers/json", Operation::ContainerList, Body::None).served(),
    Endpoint::new(Method::Get, "/containers/{id}/archive", Operation::ContainerArchive, Body::None),
    Endpoint::new(Method::Get, "/containers/{id}/attach/ws", Operation::ContainerAttachWebsocket, Body::None).hijacked(),
    Endpoint::new(Method::Get, "/containers/{id}/changes", Operation::ContainerChanges, Body::None),
    Endpoint::new(Method::Get, "/containers/{id}/export", Operation::ContainerExport, Body::None).served(),
    Endpoint::new(Method::Get, "/containers/{id}/json", Operation::ContainerInspect, Body::None).served(),
    Endpoint::new(Method::Get, "/containers/{id}/logs", Operation::ContainerLogs, Body::None).served(),
    Endpoint::new(Method::Get, "/containers/{id}/stats", Operation::ContainerStats, Body::None),
    Endpoint::new(Method::Get, "/containers/{id}/top", Operation::ContainerTop, Body::None).served(),
    Endpoint::new(Method::Head, "/containers/{id}/archive", Operation::ContainerArchiveInfo, Body::None),
    Endpoint::new(Method::Post, "/containers/create", Operation::ContainerCreate, Body::Json).served(),
    Endpoint::new(Method::Post, "/containers/prune", Operation::ContainerPrune, Body::None),
    Endpoint::new(Method::Post, "/containers/{id}/attach", Operation::ContainerAttach, Body::None).served().hijacked(),
    Endpoint::new(Method::Post, "/containers/{id}/kill", Operation::ContainerKill, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/pause", Operation::ContainerPause, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/rename", Operation::ContainerRename, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/resize", Operation::ContainerResize, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/restart", Operation::ContainerRestart, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/start", Operation::ContainerStart, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/stop", Operation::ContainerStop, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/unpause", Operation::ContainerUnpause, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/update", Operation::ContainerUpdate, Body::Json),
    Endpoint::new(Method::Post, "/containers/{id}/wait", Operation::ContainerWait, Body::None).served(),
    Endpoint::new(Method::Put, "/containers/{id}/archive", Operation::PutContainerArchive, Body::Raw),
    Endpoint::new(Method::Get, "/distribution/{name:.*}/json", Operation::DistributionInspect, Body::None).served(),
    Endpoint::new(Method::Get, "/exec/{id}/json", Operation::ExecInspect, Body::None).served(),
    Endpoint::new(Method::Post, "/containers/{id}/exec", Operation::ContainerExec, Body::Json).served(),
    Endpoint::new(Method::Post, "/exec/{id}/resize", Operation::ExecResize, Body::None).served(),
    Endpoint::new(Method::Post, "/exec/{id}/start", Operation::ExecStart, Body::Json).served().hijacked(),
    Endpoint::new(Method::Delete, "/images/{name:.*}", Operation::ImageDelete, Body::None).served(),
    Endpoint::new(Method::Get, "/images/get", Operation::ImageGetAll, Body::None).served(),
    Endpoint::new(Method::Get, "/images/json", Operation::ImageList, Body::None).served(),
    Endpoint::new(Method::Get, "/images/search", Operation::ImageSearch, Body::None),
    Endpoint::new(Method::Get, "/images/{name:.*}/attestations", Operation::ImageAttestations, Body::None),
    Endpoint::new(Method::Get, "/images/{name:.*}/get", Operation::ImageGet, Body::None).served(),
    Endpoint::new(Method::Get, "/images/{name:.*}/history", Operation::ImageHistory, Body::None).served(),
    Endpoint::new(Method::Get, "/images/{name:.*}/json", Operation::ImageInspect, Body::None).served(),
    Endpoint::new(Method::Post, "/build", Operation::ImageBuild, Body::Raw),
    Endpoint::new(Method::Post, "/build/prune", Operation::BuildPrune, Body::None),
    Endpoint::new(Method::Post, "/commit", Operation::ImageCommit, Body::Json).served(),
    Endpoint::new(Method::Post, "/images/create", Operation::ImageCreate, Body::Raw).served(),
    Endpoint::new(Method::Post, "/images/load", Operation::ImageLoad, Body::Raw).served(),
    Endpoint::new(Method::Post, "/images/prune", Operation::ImagePrune, Body::None).served(),
    Endpoint::new(Method::Post, "/images/{name:.*}/push", Operation::ImagePush, Body::None).served(),
    Endpoint::new(Method::Post, "/images/{name:.*}/tag", Operation::ImageTag, Body::None).served(),
    Endpoint::new(Method::Delete, "/networks/{id:.*}", Operation::NetworkDelete, Body::None),
    Endpoint::new(Method::Get, "/networks", Operation::NetworkList, Body::None).served(),
    Endpoint::new(Method::Get, "/networks/{id:.*}", Operation::NetworkInspect, Body::None).served(),
    Endpoint::new(Method::Post, "/networks/create", Operation::NetworkCreate, Body::Json),
    Endpoint::new(Method::Post, "/networks/prune", Operation::NetworkPrune, Body::None),
    Endpoint::new(Method::Post, "/networks/{id:.*}/connect", Operation::NetworkConnect, Body::Json),
    Endpoint::new(Method::Post, "/networks/{id:.*}/disconnect", Operation::NetworkDisconnect, Body::Json),
    Endpoint::new(Method::Delete, "/nodes/{id}", Operation::NodeDelete, Body::None),
    Endpoint::new(Method::Get, "/nodes", Operation::NodeList, Body::None),
    Endpoint::new(Method::Get, "/nodes/{id}", Operation::NodeInspect, Body::None),
    Endpoint::new(Method::Post, "/nodes/{id}/update", Operation::NodeUpdate, Body::Json),
    Endpoint::new(Method::Delete, "/plugins/{name:.*}", Operation::PluginDelete, Body::None),
    Endpoint::new(Method::Get, "/plugins", Operation::PluginList, Body::None).served(),
    Endpoint::new(Method::Get, "/plugins/privileges", Operation::GetPluginPrivileges, Body::None),
    Endpoint::new(Method::Get, "/plugins/{name:.*}/json", Operation::PluginInspect, Body::None).served(),
    Endpoint::new(Method::Post, "/plugins/create", Operation::PluginCreate, Body::Raw),
    Endpoint::new(Method::Post, "/plugins/pull", Operation::PluginPull, Body::Json),
    Endpoint::new(Method::Post, "/plugins/{name:.*}/disable", Operation::PluginDisable, Body::None),
    Endpoint::new(Method::Post, "/plugins/{name:.*}/enable", Operation::PluginEnable, Body::None),
    Endpoint::new(Method::Post, "/plugins/{name:.*}/push", Operation::PluginPush, Body::None),
    Endpoint::new(Method::Post, "/plugins/{name:.*}/set", Operation::PluginSet, Body::Json),
    Endpoint::new(Method::Post, "/plugins/{name:.*}/upgrade", Operation::PluginUpgrade, Body::Json),
    Endpoint::new(Method::Delete, "/secrets/{id}", Operation::SecretDelete, Body::None),
    Endpoint::new(Method::Get, "/secrets", Operation::SecretList, Body::None),
    Endpoint::new(Method::Get, "/secrets/{id}", Operation::SecretInspect, Body::None),
    Endpoint::new(Method::Post, "/secrets/create", Operation::SecretCreate, Body::Json),
    Endpoint::new(Method::Post, "/secrets/{id}/update", Operation::SecretUpdate, Body::Json),
    Endpoint::new(Method::Delete, "/services/{id}", Operation::ServiceDelete, Body::None),
    Endpoint::new(Method::Get, "/services", Operation::ServiceList, Body::None),
    Endpoint::new(Method::Get, "/services/{id}", Operation::ServiceInspect, Body::None),
    Endpoint::new(Method::Get, "/services/{id}/logs", Operation::ServiceLogs, Body::None),
    Endpoint::new(Method::Post, "/services/create", Operation::ServiceCreate, Body::Json),
    Endpoint::new(Method::Post, "/services/{id}/update", Operation::ServiceUpdate, Body::Json),
    Endpoint::new(Method::Post, "/session", Operation::Session, Body::None).hijacked(),
    Endpoint::new(Method::Get, "/swarm", Operation::SwarmInspect, Body::None),
    Endpoint::new(Method::Get, "/swarm/unlockkey", Operation::SwarmUnlockkey, Body::None),
    Endpoint::new(Method::Post, "/swarm/init", Operation::SwarmInit, Body::Json),
    Endpoint::new(Method::Post, "/swarm/join", Operation::SwarmJoin, Body::Json),
    Endpoint::new(Method::Post, "/swarm/leave", Operation::SwarmLeave, Body::None),
    Endpoint::new(Method::Post, "/swarm/unlock", Operation::SwarmUnlock, Body::Json),
    Endpoint::new(Method::Post, "/swarm/update", Operation::SwarmUpdate, Body::Json),
    Endpoint::new(Method::Get, "/_ping", Operation::SystemPing, Body::None).served(),
    Endpoint::new(Method::Get, "/events", Operation::SystemEvents, Body::None).served(),
    Endpoint::new(Method::Get, "/info", Operation::SystemInfo, Body::None).served(),
    Endpoint::new(Method::Get, "/system/df", Operation::SystemDataUsage, Body::None).served(),
    Endpoint::new(Method::Get, "/version", Operation::SystemVersion, Body::None).served(),
    Endpoint::new(Method::Head, "/_ping", Operation::SystemPingHead, Body::None).served(),
    Endpoint::new(Method::Post, "/auth", Operation::SystemAuth, Body::Json).served(),
    Endpoint::new(Method::Get, "/tasks", Operation::TaskList, Body::None),
    Endpoint::new(Method::Get, "/tasks/{id}", Operation::TaskInspect, Body::None),
    Endpoint::new(Method::Get, "/tasks/{id}/logs", Operation::TaskLogs, Body::None),
    Endpoint::new(Method::Delete, "/volumes/{name:.*}", Operation::VolumeDelete, Body::None).served(),
    Endpoint::new(Method::Get, "/volumes", Operation::VolumeList, Body::None).served(),
    Endpoint::new(Method::Get, "/volumes/{name:.*}", Operation::VolumeInspect, Body::None).served(),
    Endpoint::new(Method::Post, "/volumes/create", Operation::VolumeCreate, Body::Json).served(),
    Endpoint::new(Method::Post, "/volumes/prune", Operation::VolumePrune, Body::None),
    Endpoint::new(Method::Put, "/volumes/{name:.*}", Operation::VolumeUpdate, Body::Json),
    Endpoint::new(Method::Post, "/build/cancel", Operation::BuildCancel, Body::None),
    Endpoint::new(Method::Get, "/containers/{id}/checkpoints", Operation::CheckpointList, Body::None),
    Endpoint::new(Method::Post, "/containers/{id}/checkpoints", Operation::CheckpointCreate, Body::None),
    Endpoint::new(Method::Delete, "/containers/{id}/checkpoints/{checkpoint}", Operation::CheckpointDelete, Body::None),
    Endpoint::new(Method::Post, "/grpc", Operation::Grpc, Body::None).hijacked(),
    Endpoint::new(Method::Post, "/ferry/scrub", Operation::Scrub, Body::None).served().own(),
    Endpoint::new(Method::Post, "/ferry/layers/convert", Operation::LayersConvert, Body::None).served().own(),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_endpoint_and_every_operation_stands_once() {
        let mut places = HashSet::new();
        let mut operations = HashSet::new();
        for endpoint in ENDPOINTS {
            assert!(places.insert((endpoint.method, endpoint.path)), "{endpoint:?}");
            assert!(operations.insert(endpoint.operation), "{endpoint:?}");
        }
    }
}
