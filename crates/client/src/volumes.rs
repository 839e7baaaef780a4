//! Volumes.

use ferry_api::{
    Volume, VolumeCreateRequest, VolumeListResponse,
    query::{VolumeListQuery, VolumeRemoveQuery, escape},
};

use crate::{Client, ClientError};

/// Every method: an error is [`ClientError::Refused`] with Docker's status and words, or the
/// exchange failed.
impl Client {
    /// `GET /volumes`
    pub async fn volume_list(
        &self,
        query: &VolumeListQuery,
    ) -> Result<VolumeListResponse, ClientError> {
        self.get("/volumes").query(&query.to_query()).value().await
    }

    /// `GET /volumes/{name}`
    pub async fn volume_inspect(&self, name: &str) -> Result<Volume, ClientError> {
        self.get(format!("/volumes/{}", escape(name))).value().await
    }

    /// `GET /volumes/{name}`, as the engine wrote it.
    pub async fn volume_inspect_raw(&self, name: &str) -> Result<serde_json::Value, ClientError> {
        self.get(format!("/volumes/{}", escape(name))).value().await
    }

    /// `POST /volumes/create`
    pub async fn volume_create(
        &self,
        request: &VolumeCreateRequest,
    ) -> Result<Volume, ClientError> {
        self.post("/volumes/create").json(request).value().await
    }

    /// `DELETE /volumes/{name}`
    pub async fn volume_remove(
        &self,
        name: &str,
        query: &VolumeRemoveQuery,
    ) -> Result<(), ClientError> {
        let path = format!("/volumes/{}", escape(name));
        self.delete(path).query(&query.to_query()).done().await.map(drop)
    }
}
