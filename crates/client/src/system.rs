//! The engine itself.

use ferry_api::{
    AuthResponse, DiskUsage, EventMessage, Ping, ProgressMessage, SystemInfo, SystemVersion,
    query::{ConvertLayersQuery, DiskUsageQuery, EventsQuery, ScrubQuery, escape},
    registry::{AuthConfig, DistributionInspect},
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

    /// `POST /auth`: tries credentials at a registry.
    pub async fn auth(&self, auth: &AuthConfig) -> Result<AuthResponse, ClientError> {
        self.post("/auth").json(auth).value().await
    }

    /// `GET /distribution/{name}/json`; `auth` is the header that says who one is at the registry.
    pub async fn distribution_inspect(
        &self,
        name: &str,
        auth: Option<&str>,
    ) -> Result<DistributionInspect, ClientError> {
        let name: Vec<_> = name.split('/').map(escape).collect();
        let path = format!("/distribution/{}/json", name.join("/"));
        self.get(path).registry_auth(auth).value().await
    }

    /// `POST /ferry/scrub`, which Docker does not have; `auth` is the header that says who one is
    /// at the registry from which something is fetched again.
    pub async fn scrub(
        &self,
        query: &ScrubQuery,
        auth: Option<&str>,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        let request = self.post("/ferry/scrub").query(&query.to_query());
        request.registry_auth(auth).values().await
    }

    /// `POST /ferry/layers/convert`, which Docker does not have.
    pub async fn convert_layers(
        &self,
        query: &ConvertLayersQuery,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        self.post("/ferry/layers/convert").query(&query.to_query()).values().await
    }
}
