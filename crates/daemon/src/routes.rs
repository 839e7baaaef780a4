//! From an operation to its handler: one match, which is complete.

mod archives;
mod attach;
mod commit;
mod containers;
mod execs;
mod images;
mod logs;
mod maintenance;
mod networks;
mod plugins;
pub(crate) mod progress;
mod registries;
mod stream;
mod system;
mod transfers;
mod volumes;

use ferry_api::{ENDPOINTS, Operation};
use http::StatusCode;

use crate::http::{error::Failure, reply::Reply, service::Call};

/// Handles a call.
pub(crate) async fn handle(call: Call) -> Result<Reply, Failure> {
    match call.operation {
        Operation::ContainerList => containers::list(call).await,
        Operation::ContainerCreate => containers::create(call).await,
        Operation::ContainerInspect => containers::inspect(call).await,
        Operation::ContainerStart => containers::start(call).await,
        Operation::ContainerStop => containers::stop(call).await,
        Operation::ContainerRestart => containers::restart(call).await,
        Operation::ContainerKill => containers::kill(call).await,
        Operation::ContainerPause => containers::pause(call).await,
        Operation::ContainerUnpause => containers::unpause(call).await,
        Operation::ContainerRename => containers::rename(call).await,
        Operation::ContainerResize => containers::resize(call).await,
        Operation::ContainerDelete => containers::remove(call).await,
        Operation::ContainerTop => containers::top(call).await,
        Operation::ContainerAttach => attach::attach(call.target()).await,
        Operation::ContainerWait => stream::wait(&call.target()).await,
        Operation::ContainerLogs => logs::logs(call.target()).await,

        Operation::ContainerExec => execs::create(call).await,
        Operation::ExecStart => execs::start(call).await,
        Operation::ExecResize => execs::resize(call).await,
        Operation::ExecInspect => execs::inspect(&call.target()),

        Operation::ImageList => images::list(call).await,
        Operation::ImageInspect => images::inspect(call).await,
        Operation::ImageHistory => images::history(call).await,
        Operation::ImageTag => images::tag(call).await,
        Operation::ImageDelete => images::remove(call).await,
        Operation::ImageLoad => images::load(call),
        Operation::ImageCreate => images::create(call).await,
        Operation::ImagePush => transfers::push(&call.target()).await,
        Operation::ImageGet => archives::save_one(&call.target()).await,
        Operation::ImageGetAll => archives::save_all(&call.target()).await,
        Operation::ImageCommit => commit::commit(call).await,
        Operation::ImagePrune => images::prune(call).await,
        Operation::ContainerExport => archives::export(&call.target()).await,

        Operation::Scrub => maintenance::scrub(&call.target()),
        Operation::LayersConvert => maintenance::convert(&call.target()),

        Operation::SystemAuth => registries::login(call).await,
        Operation::DistributionInspect => registries::inspect(&call.target()).await,

        Operation::NetworkList => networks::list(&call.target()),
        Operation::NetworkInspect => networks::inspect(&call.target()),

        Operation::PluginList => plugins::list(&call.target()),
        Operation::PluginInspect => Err(plugins::not_found(call.target().name())),

        Operation::VolumeList => volumes::list(&call.target()),
        Operation::VolumeInspect => volumes::inspect(&call.target()),
        Operation::VolumeCreate => volumes::create(call).await,
        Operation::VolumeDelete => volumes::remove(call).await,

        Operation::SystemPing => Ok(system::ping(true)),
        Operation::SystemPingHead => Ok(system::ping(false)),
        Operation::SystemVersion => system::version(&call.target()),
        Operation::SystemInfo => system::info(&call.target()).await,
        Operation::SystemDataUsage => system::disk_usage(&call.target()).await,
        Operation::SystemEvents => stream::events(&call.target()),

        other => Err(not_served(other)),
    }
}

/// The answer of an endpoint that is not served yet.
fn not_served(operation: Operation) -> Failure {
    let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.operation == operation);
    let path = endpoint.map_or("", |endpoint| endpoint.path);
    let is_of_swarm = ["/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs"]
        .iter()
        .any(|prefix| path.starts_with(prefix));
    match operation {
        Operation::SwarmInit | Operation::SwarmJoin | Operation::SwarmUnlock => {
            Failure::not_implemented("ferry does not support swarms yet")
        }
        // This is no refusal: the node is in no swarm, and Docker's words for that are these.
        Operation::SwarmLeave => {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm")
        }
        _ if is_of_swarm => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
             to connect this node to swarm and try again.",
        ),
        _ => {
            let method = endpoint.map_or("", |endpoint| endpoint.method.as_str());
            Failure::not_implemented(format!("ferry does not support {method} {path} yet"))
        }
    }
}

#[cfg(test)]
mod tests;
