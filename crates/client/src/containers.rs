//! Containers.

use ferry_api::{
    ContainerCreateRequest, ContainerCreateResponse, ContainerInspect, ContainerSummary,
    TopResponse, WaitResponse,
    query::{
        ContainerAttachQuery, ContainerCreateQuery, ContainerInspectQuery, ContainerKillQuery,
        ContainerListQuery, ContainerLogsQuery, ContainerRemoveQuery, ContainerRenameQuery,
        ContainerStartQuery, ContainerStopQuery, ContainerTopQuery, ContainerWaitQuery,
        ResizeQuery, escape,
    },
};
use http::StatusCode;

use crate::{ByteStream, Client, ClientError, Hijacked, JsonStream};

/// A wait that the engine has taken note of.
#[derive(Debug)]
pub struct PendingWait {
    values: JsonStream<WaitResponse>,
}

impl PendingWait {
    /// Waits for the container's end.
    ///
    /// # Errors
    ///
    /// The connection breaks, or the answer is not understood.
    pub async fn end(mut self) -> Result<WaitResponse, ClientError> {
        // An engine that stops ends the answer without a value.
        Ok(self.values.next().await?.unwrap_or_else(|| WaitResponse {
            error: Some(ferry_api::container::WaitExitError {
                message: "the engine ended the wait".to_owned(),
            }),
            status_code: 125,
        }))
    }
}

/// Every method: an error is [`ClientError::Refused`] with Docker's status and words, or the
/// exchange failed.
impl Client {
    /// `GET /containers/json`
    pub async fn container_list(
        &self,
        query: &ContainerListQuery,
    ) -> Result<Vec<ContainerSummary>, ClientError> {
        self.get("/containers/json").query(&query.to_query()).value().await
    }

    /// `POST /containers/create`
    pub async fn container_create(
        &self,
        query: &ContainerCreateQuery,
        request: &ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse, ClientError> {
        self.post("/containers/create").query(&query.to_query()).json(request).value().await
    }

    /// `GET /containers/{id}/export`: an archive of all its files.
    pub async fn container_export(&self, id: &str) -> Result<ByteStream, ClientError> {
        self.get(format!("/containers/{}/export", escape(id))).stream().await
    }

    /// `GET /containers/{id}/json`
    pub async fn container_inspect(
        &self,
        id: &str,
        query: &ContainerInspectQuery,
    ) -> Result<ContainerInspect, ClientError> {
        self.get(at(id, "json")).query(&query.to_query()).value().await
    }

    /// `GET /containers/{id}/json`, as the engine wrote it.
    pub async fn container_inspect_raw(
        &self,
        id: &str,
        query: &ContainerInspectQuery,
    ) -> Result<serde_json::Value, ClientError> {
        self.get(at(id, "json")).query(&query.to_query()).value().await
    }

    /// `POST /containers/{id}/start`; says whether it was not running before.
    pub async fn container_start(
        &self,
        id: &str,
        query: &ContainerStartQuery,
    ) -> Result<bool, ClientError> {
        let status = self.post(at(id, "start")).query(&query.to_query()).done().await?;
        Ok(status != StatusCode::NOT_MODIFIED)
    }

    /// `POST /containers/{id}/stop`; says whether it was running before.
    pub async fn container_stop(
        &self,
        id: &str,
        query: &ContainerStopQuery,
    ) -> Result<bool, ClientError> {
        let status = self.post(at(id, "stop")).query(&query.to_query()).done().await?;
        Ok(status != StatusCode::NOT_MODIFIED)
    }

    /// `POST /containers/{id}/restart`
    pub async fn container_restart(
        &self,
        id: &str,
        query: &ContainerStopQuery,
    ) -> Result<(), ClientError> {
        self.post(at(id, "restart")).query(&query.to_query()).done().await.map(drop)
    }

    /// `POST /containers/{id}/kill`
    pub async fn container_kill(
        &self,
        id: &str,
        query: &ContainerKillQuery,
    ) -> Result<(), ClientError> {
        self.post(at(id, "kill")).query(&query.to_query()).done().await.map(drop)
    }

    /// `POST /containers/{id}/pause`
    pub async fn container_pause(&self, id: &str) -> Result<(), ClientError> {
        self.post(at(id, "pause")).done().await.map(drop)
    }

    /// `POST /containers/{id}/unpause`
    pub async fn container_unpause(&self, id: &str) -> Result<(), ClientError> {
        self.post(at(id, "unpause")).done().await.map(drop)
    }

    /// `POST /containers/{id}/wait`; returns as soon as the engine waits, so that a start that
    /// follows cannot be missed.
    pub async fn container_wait(
        &self,
        id: &str,
        query: &ContainerWaitQuery,
    ) -> Result<PendingWait, ClientError> {
        let values = self.post(at(id, "wait")).query(&query.to_query()).values().await?;
        Ok(PendingWait { values })
    }

    /// `POST /containers/{id}/attach`
    pub async fn container_attach(
        &self,
        id: &str,
        query: &ContainerAttachQuery,
    ) -> Result<Hijacked, ClientError> {
        self.post(at(id, "attach")).query(&query.to_query()).hijack().await
    }

    /// `POST /containers/{id}/resize`
    pub async fn container_resize(&self, id: &str, size: &ResizeQuery) -> Result<(), ClientError> {
        self.post(at(id, "resize")).query(&size.to_query()).done().await.map(drop)
    }

    /// `POST /containers/{id}/rename`
    pub async fn container_rename(&self, id: &str, name: &str) -> Result<(), ClientError> {
        let query = ContainerRenameQuery { name: Some(name.to_owned()) };
        self.post(at(id, "rename")).query(&query.to_query()).done().await.map(drop)
    }

    /// `DELETE /containers/{id}`
    pub async fn container_remove(
        &self,
        id: &str,
        query: &ContainerRemoveQuery,
    ) -> Result<(), ClientError> {
        let path = format!("/containers/{}", escape(id));
        self.delete(path).query(&query.to_query()).done().await.map(drop)
    }

    /// `GET /containers/{id}/logs`
    pub async fn container_logs(
        &self,
        id: &str,
        query: &ContainerLogsQuery,
    ) -> Result<ByteStream, ClientError> {
        self.get(at(id, "logs")).query(&query.to_query()).stream().await
    }

    /// `GET /containers/{id}/top`
    pub async fn container_top(
        &self,
        id: &str,
        query: &ContainerTopQuery,
    ) -> Result<TopResponse, ClientError> {
        self.get(at(id, "top")).query(&query.to_query()).value().await
    }
}

fn at(id: &str, what: &str) -> String {
    format!("/containers/{}/{what}", escape(id))
}
