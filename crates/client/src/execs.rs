//! Execs.

use ferry_api::{
    ExecCreateRequest, ExecInspect, ExecStartRequest,
    exec::ExecCreateResponse,
    query::{ResizeQuery, escape},
};

use crate::{Client, ClientError, Hijacked};

/// Every method: an error is [`ClientError::Refused`] with Docker's status and words, or the
/// exchange failed.
impl Client {
    /// `POST /containers/{id}/exec`; returns the exec's id.
    pub async fn exec_create(
        &self,
        container: &str,
        request: &ExecCreateRequest,
    ) -> Result<String, ClientError> {
        let path = format!("/containers/{}/exec", escape(container));
        let response: ExecCreateResponse = self.post(path).json(request).value().await?;
        Ok(response.id)
    }

    /// `POST /exec/{id}/start`, attached.
    pub async fn exec_start(
        &self,
        id: &str,
        request: &ExecStartRequest,
    ) -> Result<Hijacked, ClientError> {
        self.post(at(id, "start")).json(request).hijack().await
    }

    /// `POST /exec/{id}/start`, detached.
    pub async fn exec_start_detached(
        &self,
        id: &str,
        request: &ExecStartRequest,
    ) -> Result<(), ClientError> {
        let request = ExecStartRequest { detach: true, ..request.clone() };
        self.post(at(id, "start")).json(&request).done().await.map(drop)
    }

    /// `POST /exec/{id}/resize`
    pub async fn exec_resize(&self, id: &str, size: &ResizeQuery) -> Result<(), ClientError> {
        self.post(at(id, "resize")).query(&size.to_query()).done().await.map(drop)
    }

    /// `GET /exec/{id}/json`
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspect, ClientError> {
        self.get(at(id, "json")).value().await
    }
}

fn at(id: &str, what: &str) -> String {
    format!("/exec/{}/{what}", escape(id))
}
