//! Plugins, of which there are none.
//!
//! Clients ask for them when they look for something of a certain name, whatever it may be.

use ferry_api::query::PluginListQuery;

use crate::http::{error::Failure, reply::Reply, service::Target};

pub(super) fn list(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(PluginListQuery::from_query)?;
    query.filters.check(&["capability", "enabled"])?;
    query.filters.boolean("enabled")?;
    call.reply(&[(); 0])
}

pub(super) fn not_found(name: &str) -> Failure {
    Failure::not_found(format!("plugin {name:?} not found"))
}
