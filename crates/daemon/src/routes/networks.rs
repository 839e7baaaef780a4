//! The networks that are always there.

use ferry_api::query::NetworkListQuery;
use ferry_engine::ListQuery;

use crate::{
    convert::networks::Predefined,
    http::{error::Failure, reply::Reply, service::Target},
};

pub(super) fn list(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(NetworkListQuery::from_query)?;
    // Compat: a list does not show the containers, unless to old clients.
    let snapshots = if call.version.lists_networks_alone() {
        Vec::new()
    } else {
        call.app.engine.list(&ListQuery::default())?
    };
    let snapshots: Vec<_> = snapshots.iter().map(|snapshot| &**snapshot).collect();
    let mut shown = Vec::new();
    for network in Predefined::ALL {
        if network.matches(&query.filters, &call.app.facts.bridge)? {
            shown.push(network.show(&call.app.facts.bridge, &snapshots));
        }
    }
    call.reply(&shown)
}

pub(super) fn inspect(call: &Target) -> Result<Reply, Failure> {
    let network = Predefined::find(call.name(), &call.app.facts.bridge)
        .ok_or_else(|| Failure::not_found(format!("network {} not found", call.name())))?;
    let snapshots = call.app.engine.list(&ListQuery::default())?;
    let snapshots: Vec<_> = snapshots.iter().map(|snapshot| &**snapshot).collect();
    call.reply(&network.show(&call.app.facts.bridge, &snapshots))
}
