//! Logging in: finding out whether a registry takes credentials.

use std::io;

use http::{Method, StatusCode, Uri};

use super::credentials::{Credentials, Secret};
use super::scope::Scopes;
use super::token::{self, Wanted};
use super::{challenges, choose_challenge};
use crate::endpoint::Endpoint;
use crate::error::{DistributionError, DistributionErrorKind};
use crate::limits;
use crate::protocol::challenge::Scheme;
use crate::protocol::paths;
use crate::transport::{Request, Response, Transport};

/// A registry took the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginOutcome {
    /// A token to be kept in place of the password, of a registry that gives one.
    pub identity_token: Option<Secret>,
    /// Docker's words: `Login Succeeded`.
    pub status: String,
}

/// Tries credentials at a registry, `server` being its host with its port if it has one, or a URL
/// such as `https://index.docker.io/v1/`. Mirrors are not asked.
///
/// # Errors
/// When the registry or its token server refuses them
/// ([`DistributionErrorKind::Unauthorized`]), or cannot be reached.
pub async fn login(
    transport: &Transport,
    server: &str,
    credentials: &Credentials,
) -> Result<LoginOutcome, DistributionError> {
    let (reading, host) = (transport.clone(), host_of(server).to_owned());
    // Names are looked up and files read, which may take its time.
    let endpoints = tokio::task::spawn_blocking(move || reading.server_endpoints(&host)).await;
    let endpoints = endpoints
        .map_err(|error| DistributionError::Source { source: io::Error::other(error) })??;
    let mut last = None;
    for endpoint in &endpoints {
        match login_at(transport, endpoint, credentials).await {
            Ok(identity_token) => {
                return Ok(LoginOutcome { identity_token, status: "Login Succeeded".to_owned() });
            }
            // Who is refused by one is not tried at another, which may be less safe.
            Err(error) if error.kind() == DistributionErrorKind::Unauthorized => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| DistributionError::Malformed {
        what: format!("the name of the registry {server}"),
        why: "it leads nowhere".into(),
    }))
}

/// `index.docker.io` of `https://index.docker.io/v1/`.
fn host_of(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

async fn login_at(
    transport: &Transport,
    endpoint: &Endpoint,
    credentials: &Credentials,
) -> Result<Option<Secret>, DistributionError> {
    let request = Request::new(Method::GET, paths::BASE);
    let first = transport.send(endpoint, &request, None).await?;
    let url = first.url.clone();
    let asked = choose_challenge(&challenges(&first.headers));
    let asked = asked
        .filter(|_| first.status == StatusCode::UNAUTHORIZED && endpoint.has_origin(&first.url));
    let Some(challenge) = asked else { return judge(&url, first).await.map(|()| None) };
    let line = DistributionError::request_line(&Method::GET, &url);
    let (header, identity) = match challenge.scheme {
        _ if matches!(credentials, Credentials::Bearer(_)) => (credentials.authorization(), None),
        Scheme::Bearer => {
            let realm: Uri = challenge.realm.parse().map_err(|error: http::uri::InvalidUri| {
                let what = "the address of the token server".into();
                DistributionError::Malformed { what, why: error.to_string() }
            })?;
            let scopes = Scopes::parse(&challenge.scope);
            let who = credentials.clone();
            let wanted = Wanted { realm, service: challenge.service, scopes, who };
            let token = token::fetch(transport, endpoint, &wanted, true, &line).await?;
            (Some(Secret::new(format!("Bearer {}", token.value.expose()))), token.refresh)
        }
        Scheme::Basic | Scheme::Other(_) => (credentials.authorization(), None),
    };
    let Some(header) = header else {
        return Err(DistributionError::NoCredentials { request: line });
    };
    let second = transport.send(endpoint, &request, Some(&header)).await?;
    judge(&url, second).await.map(|()| identity)
}

async fn judge(url: &Uri, response: Response) -> Result<(), DistributionError> {
    let status = response.status;
    // The end of the body lets the connection be used again; what it says is not told by Docker.
    response.bytes(limits::MAX_ERROR_BODY, "the answer").await.ok();
    if status == StatusCode::OK {
        return Ok(());
    }
    let line = DistributionError::request_line(&Method::GET, url);
    let url = line.trim_start_matches("Get ").trim_matches('"').to_owned();
    Err(DistributionError::Login { url, status: status.as_u16() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_or_url() {
        assert_eq!(host_of("https://index.docker.io/v1/"), "index.docker.io");
        assert_eq!(host_of("localhost:5000"), "localhost:5000");
        assert_eq!(host_of("http://localhost:5000"), "localhost:5000");
        assert_eq!(host_of("registry.example/path"), "registry.example");
    }
}
