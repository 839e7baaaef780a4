//! Images.

use ferry_api::{
    ContainerConfig, DeleteResponseItem, HistoryItem, ImageInspect, ImageSummary, ProgressMessage,
    image::{IdResponse, ImagesPruneReport},
    query::{
        ImageCommitQuery, ImageCreateQuery, ImageHistoryQuery, ImageInspectQuery, ImageListQuery,
        ImageLoadQuery, ImagePruneQuery, ImagePushQuery, ImageRemoveQuery, ImageSaveQuery,
        ImageTagQuery, escape,
    },
};

use crate::{ByteStream, Client, ClientError, JsonStream, Upload};

/// Every method: an error is [`ClientError::Refused`] with Docker's status and words, or the
/// exchange failed.
impl Client {
    /// `GET /images/json`
    pub async fn image_list(
        &self,
        query: &ImageListQuery,
    ) -> Result<Vec<ImageSummary>, ClientError> {
        self.get("/images/json").query(&query.to_query()).value().await
    }

    /// `GET /images/{name}/json`
    pub async fn image_inspect(
        &self,
        name: &str,
        query: &ImageInspectQuery,
    ) -> Result<ImageInspect, ClientError> {
        self.get(at(name, "/json")).query(&query.to_query()).value().await
    }

    /// `GET /images/{name}/json`, as the engine wrote it.
    pub async fn image_inspect_raw(
        &self,
        name: &str,
        query: &ImageInspectQuery,
    ) -> Result<serde_json::Value, ClientError> {
        self.get(at(name, "/json")).query(&query.to_query()).value().await
    }

    /// `GET /images/{name}/history`
    pub async fn image_history(
        &self,
        name: &str,
        query: &ImageHistoryQuery,
    ) -> Result<Vec<HistoryItem>, ClientError> {
        self.get(at(name, "/history")).query(&query.to_query()).value().await
    }

    /// `POST /images/{name}/tag`
    pub async fn image_tag(&self, name: &str, query: &ImageTagQuery) -> Result<(), ClientError> {
        self.post(at(name, "/tag")).query(&query.to_query()).done().await.map(drop)
    }

    /// `DELETE /images/{name}`
    pub async fn image_remove(
        &self,
        name: &str,
        query: &ImageRemoveQuery,
    ) -> Result<Vec<DeleteResponseItem>, ClientError> {
        self.delete(at(name, "")).query(&query.to_query()).value().await
    }

    /// `POST /images/load` of an archive; see [`crate::upload`].
    pub async fn image_load(
        &self,
        query: &ImageLoadQuery,
        archive: Upload,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        self.post("/images/load").query(&query.to_query()).upload(archive).values().await
    }

    /// `POST /images/create`: an import when there is a body, else a pull. `auth` is the header
    /// that says who one is at the registry.
    pub async fn image_create(
        &self,
        query: &ImageCreateQuery,
        archive: Option<Upload>,
        auth: Option<&str>,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        let request = self.post("/images/create").query(&query.to_query()).registry_auth(auth);
        match archive {
            Some(archive) => request.upload(archive).values().await,
            None => request.values().await,
        }
    }

    /// `POST /images/{name}/push`; `auth` is the header that says who one is at the registry.
    pub async fn image_push(
        &self,
        name: &str,
        query: &ImagePushQuery,
        auth: &str,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        let request = self.post(at(name, "/push")).query(&query.to_query());
        request.registry_auth(Some(auth)).values().await
    }

    /// `GET /images/get`: an archive.
    pub async fn image_save(&self, query: &ImageSaveQuery) -> Result<ByteStream, ClientError> {
        self.get("/images/get").query(&query.to_query()).stream().await
    }

    /// `POST /commit`; without a configuration it is the container's.
    pub async fn image_commit(
        &self,
        query: &ImageCommitQuery,
        config: Option<&ContainerConfig>,
    ) -> Result<IdResponse, ClientError> {
        self.post("/commit").query(&query.to_query()).json(&config).value().await
    }

    /// `POST /images/prune`
    pub async fn image_prune(
        &self,
        query: &ImagePruneQuery,
    ) -> Result<ImagesPruneReport, ClientError> {
        self.post("/images/prune").query(&query.to_query()).value().await
    }
}

/// The slashes of a name stay as they are.
fn at(name: &str, what: &str) -> String {
    let name: Vec<_> = name.split('/').map(escape).collect();
    format!("/images/{}{what}", name.join("/"))
}
