//! The engine itself.

use ferry_api::{
    DiskUsage, EventMessage, Ping, SystemInfo, SystemVersion,
    query::{DiskUsageQuery, EventsQuery},
};

use crate::{Client, ClientError, JsonStream};

/// Every method: an error is [`ClientError::Refused`] with Docker's status and words, or the
/// exchange failed.
impl Client {
    /// `GET /_ping`
    pub async fn ping(&self) -> Result<Ping, ClientError> {
        let headers = self.get("/_ping").headers().await?;
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Ok(Ping {
            api_version: header("api-version"),
            os_type: header("ostype"),
            is_experimental: header("docker-experimental") == "true",
            builder_version: header("builder-version"),
            swarm: header("swarm"),
        })
    }

    /// `GET /version`
    pub async fn version(&self) -> Result<SystemVersion, ClientError> {
        self.get("/version").value().await
    }

    /// `GET /info`
    pub async fn info(&self) -> Result<SystemInfo, ClientError> {
        self.get("/info").value().await
    }

    /// `GET /system/df`
    pub async fn disk_usage(&self, query: &DiskUsageQuery) -> Result<DiskUsage, ClientError> {
        self.get("/system/df").query(&query.to_query()).value().await
    }

    /// `GET /events`
    pub async fn events(
        &self,
        query: &EventsQuery,
    ) -> Result<JsonStream<EventMessage>, ClientError> {
        self.get("/events").query(&query.to_query()).values().await
    }
}
