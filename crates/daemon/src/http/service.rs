//! One request: routed, admitted, handled, answered.

use std::{fmt::Write as _, sync::Arc};

use ferry_api::{
    API_VERSION, Operation, Query,
    query::InvalidParameter,
    registry::{AuthConfig, REGISTRY_AUTH},
};
use ferry_engine::EngineError;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    app::App,
    compat::{self, Version},
    http::{
        body::{self, Body},
        error::Failure,
        json,
        reply::{self, Reply},
        router::{self, Route},
        takeover::Asked,
    },
    routes,
};

/// A request that has an endpoint.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) operation: Operation,
    pub(crate) version: Version,
    gone: CancellationToken,
    variables: Vec<String>,
    query: Query,
    headers: HeaderMap,
    body: Incoming,
}

impl Call {
    /// The parameters, in the form that the endpoint has.
    pub(crate) fn query<T>(
        &self,
        read: fn(&Query) -> Result<T, InvalidParameter>,
    ) -> Result<T, Failure> {
        Ok(read(&self.query)?)
    }

    /// A parameter as it was written.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).unwrap_or_default()
    }

    /// How the client asked for the connection.
    pub(crate) fn asked(&self) -> Asked {
        Asked { upgrade: self.headers.contains_key(header::UPGRADE), version: self.version }
    }

    /// Reads the JSON body, lifted to the newest version; `null` is `None`.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<(Target, Option<T>), Failure> {
        let (target, bytes) = self.json_bytes().await?;
        let value = read_json(&target, &bytes)?;
        Ok((target, value))
    }

    /// As [`Call::json`]; no body is `None` too.
    pub(crate) async fn json_if_any<T: DeserializeOwned>(
        self,
    ) -> Result<(Target, Option<T>), Failure> {
        let (target, bytes) = self.json_bytes().await?;
        let value = if bytes.is_empty() { None } else { read_json(&target, &bytes)? };
        Ok((target, value))
    }

    async fn json_bytes(self) -> Result<(Target, bytes::Bytes), Failure> {
        let is_empty = self.body.size_hint().exact() == Some(0);
        json::check_type(&self.headers, is_empty)?;
        let (target, body) = self.into_parts();
        let bytes = body::collect(body).await?;
        Ok((target, bytes))
    }

    /// Separates what is asked for from the body.
    pub(crate) fn into_parts(self) -> (Target, Incoming) {
        let asked = self.asked();
        let Self { app, operation, version, gone, variables, query, headers, body } = self;
        (Target { app, operation, version, gone, variables, query, headers, asked }, body)
    }

    /// What is asked for; the body is not looked at.
    pub(crate) fn target(self) -> Target {
        self.into_parts().0
    }
}

/// Reads a JSON body, lifted to the newest version.
fn read_json<T: DeserializeOwned>(target: &Target, bytes: &[u8]) -> Result<Option<T>, Failure> {
    if !compat::lifts(target.operation, target.version) {
        return json::parse(bytes);
    }
    let mut value: Value = json::parse(bytes)?;
    compat::lift_request(target.operation, target.version, &mut value);
    serde_json::from_value(value)
        .map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))
}

/// What is asked for: a call without its body.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) app: Arc<App>,
    pub(crate) operation: Operation,
    pub(crate) version: Version,
    pub(crate) asked: Asked,
    /// Says that the client went away before it was answered, or that the daemon stops.
    pub(crate) gone: CancellationToken,
    variables: Vec<String>,
    query: Query,
    headers: HeaderMap,
}

impl Target {
    /// Does what only the answer is wanted of: it ends with its client.
    pub(crate) async fn unless_gone<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            done = work => Ok(done),
            () = self.gone.cancelled() => Err(EngineError::Unavailable("context canceled".to_owned()).into()),
        }
    }

    /// Who the client is at the registry that is asked for.
    ///
    /// Compat: what cannot be read is nobody.
    pub(crate) fn registry_auth(&self) -> AuthConfig {
        let header = self.headers.get(REGISTRY_AUTH).and_then(|value| value.to_str().ok());
        header.map(AuthConfig::from_header).and_then(Result::ok).unwrap_or_default()
    }

    /// What the path names.
    pub(crate) fn name(&self) -> &str {
        self.variables.first().map_or("", String::as_str)
    }

    /// The parameters, in the form that the endpoint has.
    pub(crate) fn query<T>(
        &self,
        read: fn(&Query) -> Result<T, InvalidParameter>,
    ) -> Result<T, Failure> {
        Ok(read(&self.query)?)
    }

    /// Answers in the client's version.
    pub(crate) fn reply(&self, value: &impl Serialize) -> Result<Reply, Failure> {
        self.reply_with(StatusCode::OK, value)
    }

    /// As [`Target::reply`], with another status.
    pub(crate) fn reply_with(
        &self,
        status: StatusCode,
        value: &impl Serialize,
    ) -> Result<Reply, Failure> {
        if !compat::lowers(self.operation, self.version) {
            return Reply::json_with(status, value);
        }
        let mut value = serde_json::to_value(value)
            .map_err(|error| Failure::internal(format!("cannot write the answer: {error}")))?;
        compat::lower_response(self.operation, self.version, &mut value);
        Reply::json_with(status, &value)
    }
}

/// Serves one request.
///
/// The handler runs in a task of its own: what it has begun it finishes, even if the client goes
/// away, and its panic is caught. One that only waits ends with its client, and so do those that ask
/// registries: they hear of it by [`Target::gone`].
pub(crate) async fn serve(app: Arc<App>, request: Request<Incoming>) -> Reply {
    let (parts, incoming) = request.into_parts();
    let path = parts.uri.path();
    if parts.method == Method::OPTIONS && router::is_known(path) {
        return with_headers(Reply::status(StatusCode::OK));
    }
    let found = match router::route(parts.method.as_str(), path) {
        Route::Found(found) => found,
        Route::Moved(to) => return moved(&to, parts.uri.query()),
        Route::NotFound => return Reply::Response(Failure::page_not_found().into_response()),
    };
    let span = tracing::info_span!(
        "request",
        id = app.next_request(),
        method = parts.method.as_str(),
        path,
    );
    let version = match router::version(&found) {
        Ok(version) => version,
        Err(failure) => return with_headers(failed(failure, &span)),
    };
    let gone = app.closing.child_token();
    // Dropped with the connection; the handler's task is not.
    let guard = gone.clone().drop_guard();
    let call = Call {
        app: Arc::clone(&app),
        operation: found.endpoint.operation,
        version,
        gone,
        variables: found.variables,
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body: incoming,
    };
    let operation = call.operation;
    let handler = routes::handle(call).instrument(span.clone());
    let handled = match operation {
        Operation::ContainerWait => Ok(handler.await),
        _ => app.handlers.spawn(handler).await,
    };
    // What comes after the head of the answer is the answer's.
    drop(guard.disarm());
    with_headers(match handled {
        Ok(Ok(reply)) => reply,
        Ok(Err(failure)) => failed(failure, &span),
        Err(error) => {
            tracing::error!(parent: &span, %error, "a handler panicked");
            failed(Failure::internal("internal error: the handler panicked"), &span)
        }
    })
}

fn failed(failure: Failure, span: &tracing::Span) -> Reply {
    let mut causes = String::new();
    let mut cause = failure.cause.as_deref().and_then(std::error::Error::source);
    while let Some(error) = cause {
        // Writing to a string does not fail.
        write!(causes, ": {error}").unwrap_or_default();
        cause = error.source();
    }
    let status = failure.status.as_u16();
    if failure.status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::warn!(parent: span, status, "{}{causes}", failure.message);
    } else {
        tracing::debug!(parent: span, status, "{}{causes}", failure.message);
    }
    Reply::Response(failure.into_response())
}

fn moved(to: &str, query: Option<&str>) -> Reply {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = match query {
        Some(query) => format!("{to}?{query}"),
        None => to.to_owned(),
    };
    match HeaderValue::from_str(&location) {
        Ok(location) => {
            response.headers_mut().insert(header::LOCATION, location);
            Reply::Response(response)
        }
        Err(_) => Reply::Response(Failure::page_not_found().into_response()),
    }
}

/// Adds the headers that every routed answer has.
fn with_headers(mut reply: Reply) -> Reply {
    if let Reply::Response(response) = &mut reply {
        add_headers(response);
    }
    reply
}

fn add_headers(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    for (name, value) in COMMON_HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

const COMMON_HEADERS: [(&str, &str); 4] = [
    ("api-version", API_VERSION),
    ("docker-experimental", "false"),
    ("ostype", "linux"),
    ("server", crate::SERVER),
];

/// The common headers as text, for heads that are written by hand.
pub(crate) fn common_headers() -> String {
    format!(
        "Api-Version: {API_VERSION}\r\nDocker-Experimental: false\r\nOstype: linux\r\n\
         Server: {}\r\n",
        crate::SERVER
    )
}

/// A header that a reply adds to the common ones.
pub(crate) fn set_header(reply: Reply, name: &'static str, value: &'static str) -> Reply {
    match reply {
        Reply::Response(mut response) => {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            Reply::Response(response)
        }
        takeover @ Reply::Takeover(_) => takeover,
    }
}

/// Writes one line of a stream in the client's version.
pub(crate) fn line(
    operation: Operation,
    version: Version,
    value: &impl Serialize,
) -> Result<bytes::Bytes, Failure> {
    if !compat::lowers(operation, version) {
        return reply::json_line(value);
    }
    let mut value = serde_json::to_value(value)
        .map_err(|error| Failure::internal(format!("cannot write the answer: {error}")))?;
    compat::lower_response(operation, version, &mut value);
    reply::json_line(&value)
}
