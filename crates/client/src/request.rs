//! Requests: what is asked, how it is sent, what is made of the answer.

use std::{fmt, io};

use bytes::Bytes;
use ferry_api::{ErrorBody, Query};
use futures_util::TryStreamExt as _;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use crate::{
    ByteStream, Client, ClientError, Hijacked, JsonStream, connection::Exchange, socket::Socket,
    streams::content_type,
};

/// The body of a request.
pub type Upload = UnsyncBoxBody<Bytes, io::Error>;

const UPLOAD_BUFFER: usize = 128 * 1024;

/// Makes a body of all that a reader gives.
pub fn upload(reader: impl AsyncRead + Send + 'static) -> Upload {
    let stream = ReaderStream::with_capacity(reader, UPLOAD_BUFFER).map_ok(Frame::data);
    UnsyncBoxBody::new(StreamBody::new(stream))
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    query: String,
    content_type: Option<&'static str>,
    registry_auth: Option<Auth>,
    body: Body,
}

/// Proves who one is; `Debug` hides it.
struct Auth(String);

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[derive(Debug)]
enum Body {
    Empty,
    Bytes(Bytes),
    Upload(Upload),
    Malformed(serde_json::Error),
}

impl<'a> Request<'a> {
    pub(crate) fn new(client: &'a Client, method: Method, path: String) -> Self {
        Self {
            client,
            method,
            path,
            query: String::new(),
            content_type: None,
            registry_auth: None,
            body: Body::Empty,
        }
    }

    pub(crate) fn query(mut self, query: &Query) -> Self {
        self.query = query.encode();
        self
    }

    /// Adds who the client is at a registry; see [`ferry_api::registry::AuthConfig::to_header`].
    pub(crate) fn registry_auth(mut self, header: Option<&str>) -> Self {
        self.registry_auth = header.map(|header| Auth(header.to_owned()));
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        self.content_type = Some("application/json");
        self.body = match serde_json::to_vec(body) {
            Ok(bytes) => Body::Bytes(bytes.into()),
            Err(error) => Body::Malformed(error),
        };
        self
    }

    pub(crate) fn upload(mut self, body: Upload) -> Self {
        self.content_type = Some("application/x-tar");
        self.body = Body::Upload(body);
        self
    }

    /// Sends it, and does not look at the body of the answer.
    pub(crate) async fn done(self) -> Result<StatusCode, ClientError> {
        let (status, _) = self.bytes().await?;
        Ok(status)
    }

    /// Sends it, and looks at the headers of the answer only.
    pub(crate) async fn headers(self) -> Result<HeaderMap, ClientError> {
        let (response, _) = self.send(false).await?;
        Ok(response.headers().clone())
    }

    /// Sends it, and reads the answer as one value.
    pub(crate) async fn value<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let path = self.path.clone();
        let (_, bytes) = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Answer { path, source })
    }

    /// Sends it, and returns the answer as it comes.
    pub(crate) async fn stream(self) -> Result<ByteStream, ClientError> {
        let path = self.path.clone();
        let (response, _) = self.send(false).await?;
        Ok(ByteStream::new(path, response))
    }

    /// Sends it, and returns the values of the answer as they come.
    pub(crate) async fn values<T: DeserializeOwned>(self) -> Result<JsonStream<T>, ClientError> {
        Ok(JsonStream::new(self.stream().await?))
    }

    /// Sends it, and takes the connection over.
    pub(crate) async fn hijack(self) -> Result<Hijacked, ClientError> {
        let path = self.path.clone();
        let (mut response, _) = self.send(true).await?;
        let content_type = content_type(response.headers());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            return Err(ClientError::NotHijacked { path, status });
        }
        let upgraded = hyper::upgrade::on(&mut response)
            .await
            .map_err(|source| ClientError::Exchange { path: path.clone(), source })?;
        let Ok(parts) = upgraded.downcast::<TokioIo<Socket>>() else {
            let status = response.status().as_u16();
            return Err(ClientError::NotHijacked { path, status });
        };
        let socket = parts.io.into_inner();
        Ok(Hijacked { socket, already_read: parts.read_buf, content_type })
    }

    /// Sends it, and reads the answer as it is.
    pub(crate) async fn bytes(self) -> Result<(StatusCode, Bytes), ClientError> {
        let path = self.path.clone();
        let client = self.client.clone();
        let (response, exchange) = self.send(false).await?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|source| ClientError::Exchange { path, source })?;
        client.keep(exchange);
        Ok((status, body.to_bytes()))
    }

    async fn send(self, hijack: bool) -> Result<(Response<Incoming>, Exchange), ClientError> {
        let Self { client, method, path, query, content_type, registry_auth, body } = self;
        let form = |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Form {
            path: path.clone(),
            source,
        };
        let is_without_body = matches!(body, Body::Empty);
        let body = match body {
            Body::Empty => UnsyncBoxBody::new(Empty::new().map_err(|never| match never {})),
            Body::Bytes(bytes) => {
                UnsyncBoxBody::new(Full::new(bytes).map_err(|never| match never {}))
            }
            Body::Upload(upload) => upload,
            Body::Malformed(error) => return Err(form(error.into())),
        };
        let uri = format!("/v{}{}{query}", client.api_version(), clean(&path));
        let mut request = http::Request::builder()
            .method(&method)
            .uri(uri)
            .header(header::HOST, client.host())
            .header(header::USER_AGENT, concat!("ferry/", env!("CARGO_PKG_VERSION")));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(Auth(auth)) = registry_auth {
            let mut value =
                http::HeaderValue::try_from(auth).map_err(|error| form(error.into()))?;
            value.set_sensitive(true);
            request = request.header(ferry_api::registry::REGISTRY_AUTH, value);
        }
        if is_without_body && method == Method::POST {
            request = request.header(header::CONTENT_LENGTH, "0");
        }
        if hijack {
            request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "tcp");
        }
        let request = request.body(body).map_err(|error| form(error.into()))?;
        let (response, exchange) = client.exchange(request, &path).await?;
        if response.status().is_client_error() || response.status().is_server_error() {
            return Err(refusal(response, &path).await);
        }
        Ok((response, exchange))
    }
}

/// A path without empty parts: the name of a container may be given with the slash it is kept with.
fn clean(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.flat_map(|part| ["/", part]).collect()
}

/// Makes an error of an answer that refuses.
async fn refusal(response: Response<Incoming>, path: &str) -> ClientError {
    let status = response.status();
    let bytes = match response.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(source) => return ClientError::Exchange { path: path.to_owned(), source },
    };
    let message = match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) if !body.message.is_empty() => body.message,
        // Compat: some refusals are plain text.
        _ => match String::from_utf8_lossy(&bytes).trim() {
            "" => status.canonical_reason().unwrap_or("no reason given").to_owned(),
            text => text.to_owned(),
        },
    };
    ClientError::Refused { status: status.as_u16(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_no_empty_parts() {
        assert_eq!(clean("/containers//one/json"), "/containers/one/json");
        assert_eq!(clean("/_ping"), "/_ping");
    }
}
