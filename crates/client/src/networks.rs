//! Networks.

use ferry_api::{
    NetworkInspect,
    query::{NetworkInspectQuery, NetworkListQuery, escape},
};

use crate::{Client, ClientError};

/// Every method: an error is [`ClientError::Refused`] with Docker's status and words, or the
/// exchange failed.
impl Client {
    /// `GET /networks`
    pub async fn network_list(
        &self,
        query: &NetworkListQuery,
    ) -> Result<Vec<NetworkInspect>, ClientError> {
        self.get("/networks").query(&query.to_query()).value().await
    }

    /// `GET /networks/{id}`
    pub async fn network_inspect(
        &self,
        id: &str,
        query: &NetworkInspectQuery,
    ) -> Result<NetworkInspect, ClientError> {
        self.get(format!("/networks/{}", escape(id))).query(&query.to_query()).value().await
    }

    /// `GET /networks/{id}`, as the engine wrote it.
    pub async fn network_inspect_raw(
        &self,
        id: &str,
        query: &NetworkInspectQuery,
    ) -> Result<serde_json::Value, ClientError> {
        self.get(format!("/networks/{}", escape(id))).query(&query.to_query()).value().await
    }
}
