//! Tokens: asked for at the server that a registry names, and kept as long as they hold.
//! [Docker registry: token authentication, `OAuth2` token authentication]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::time::Instant;

use super::credentials::{Credentials, Secret};
use super::scope::Scopes;
use crate::endpoint::Endpoint;
use crate::error::{Answer, DistributionError};
use crate::limits;
use crate::protocol::errors::{ErrorCode, parse_errors};
use crate::protocol::ranges;
use crate::transport::{Request, RequestBody, Transport};

/// How we name ourselves to token servers; some know Docker's client only.
const CLIENT_ID: &str = "docker";
/// How long a token holds when its server does not say, and at least, as with Docker: one that the
/// registry does not take any longer is replaced. [token authentication, `expires_in`]
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is not used in its last seconds, in which it may expire on its way.
const MARGIN: Duration = Duration::from_secs(10);
/// Tokens kept at once; beyond it those that have expired are forgotten.
const MAX_KEPT: usize = 256;
/// What stays as it is in a form. [RFC 3986, unreserved characters]
const FORM: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A token that is wanted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    /// The server that gives it.
    pub(crate) realm: Uri,
    /// The registry's name for itself.
    pub(crate) service: String,
    /// What it is to allow.
    pub(crate) scopes: Scopes,
    /// For whom.
    pub(crate) who: Credentials,
}

/// A token, and perhaps one that stands for the password.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: Secret,
    pub(crate) refresh: Option<Secret>,
    until: Instant,
}

type Place = Arc<tokio::sync::Mutex<Option<Token>>>;

/// The tokens of one source of credentials.
#[derive(Default)]
pub(crate) struct Tokens {
    places: Mutex<HashMap<Wanted, Place>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// The token that is kept, or a new one; there is one request for it at a time. `refused` is a
    /// token that the registry did not take, which is not given again. `line` is the request that
    /// needs it, for errors.
    pub(crate) async fn get(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        wanted: &Wanted,
        refused: Option<&Secret>,
        line: &str,
    ) -> Result<Secret, DistributionError> {
        let place = self.place(wanted);
        let mut kept = place.lock().await;
        if let Some(token) = kept.as_ref()
            && token.until > Instant::now()
            && refused != Some(&token.value)
        {
            return Ok(token.value.clone());
        }
        let token = fetch(transport, endpoint, wanted, false, line).await?;
        let value = token.value.clone();
        *kept = Some(token);
        Ok(value)
    }

    fn place(&self, wanted: &Wanted) -> Place {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MAX_KEPT && !places.contains_key(wanted) {
            let now = Instant::now();
            // A place that is locked is being filled, and stays.
            places.retain(|_, place| {
                place.try_lock().map_or(true, |kept| kept.as_ref().is_some_and(|t| t.until > now))
            });
            if places.len() >= MAX_KEPT {
                places.clear();
            }
        }
        Arc::clone(places.entry(wanted.clone()).or_default())
    }
}

/// Asks for a token: with a password by GET, as Docker, with an identity token by POST. With
/// `offline` a token is wanted too that stands for the password afterwards.
pub(crate) async fn fetch(
    transport: &Transport,
    endpoint: &Endpoint,
    wanted: &Wanted,
    offline: bool,
    line: &str,
) -> Result<Token, DistributionError> {
    let (url, request) = match &wanted.who {
        Credentials::Identity { token, .. } => (wanted.realm.clone(), post(wanted, token)),
        _ => (with_query(&wanted.realm, &query(wanted, offline))?, get()),
    };
    let asked_at = Instant::now();
    let auth = match &wanted.who {
        Credentials::Basic { .. } => wanted.who.authorization(),
        Credentials::None | Credentials::Identity { .. } | Credentials::Bearer(_) => None,
    };
    let response = transport.send_to_realm(&url, endpoint, &request, auth.as_ref()).await?;
    let status = response.status;
    let retry_after = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|value| ranges::retry_after(value, SystemTime::now()));
    let what = "the token server's answer";
    let body = response.bytes(limits::MAX_TOKEN, what).await?;
    if !status.is_success() {
        let answer = refusal(status.as_u16(), &body);
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(DistributionError::RateLimited { retry_after, answer, may_log_in: false });
        }
        return Err(DistributionError::TokenRefused { request: line.to_owned(), answer });
    }
    parse(&body, asked_at).map_err(|why| DistributionError::Malformed { what: what.into(), why })
}

fn get() -> Request {
    Request::new(Method::GET, "")
}

fn post(wanted: &Wanted, refresh: &Secret) -> Request {
    let scopes: Vec<String> = wanted.scopes.texts().collect();
    let scopes = scopes.join(" ");
    let mut fields = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.expose()),
        ("service", &wanted.service),
        ("client_id", CLIENT_ID),
    ];
    if !scopes.is_empty() {
        fields.push(("scope", &scopes));
    }
    let mut request = Request::new(Method::POST, "");
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers.insert(CONTENT_TYPE, form);
    request.body = RequestBody::Bytes(Bytes::from(encode(&fields)));
    request
}

fn query(wanted: &Wanted, offline: bool) -> String {
    let scopes: Vec<String> = wanted.scopes.texts().collect();
    let mut fields = Vec::new();
    if !wanted.service.is_empty() {
        fields.push(("service", wanted.service.as_str()));
    }
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    if let Some(account) = wanted.who.account() {
        fields.push(("account", account));
    }
    if offline {
        fields.extend([("client_id", CLIENT_ID), ("offline_token", "true")]);
    }
    encode(&fields)
}

fn encode(fields: &[(&str, &str)]) -> String {
    let encode = |text| utf8_percent_encode(text, FORM);
    let fields = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    fields.collect::<Vec<_>>().join("&")
}

fn with_query(realm: &Uri, query: &str) -> Result<Uri, DistributionError> {
    let text = realm.to_string();
    let url = match (query, realm.query()) {
        ("", _) => text,
        (query, None) => format!("{text}?{query}"),
        (query, Some("")) => format!("{text}{query}"),
        (query, Some(_)) => format!("{text}&{query}"),
    };
    url.parse().map_err(|error: http::uri::InvalidUri| DistributionError::Malformed {
        what: "the address of the token server".into(),
        why: error.to_string(),
    })
}

fn refusal(status: u16, body: &[u8]) -> Answer {
    let said = parse_errors(body).errors.into_iter().next();
    let (code, message) = said.map_or_else(
        || (ErrorCode::Unknown("UNKNOWN".into()), String::new()),
        |(code, message, _)| (code, message),
    );
    // A server that names no code means the one of its status. [RFC 6749, 5.2, answers with 400]
    let code = match (code, status) {
        (ErrorCode::Unknown(_), 401) => ErrorCode::Unauthorized,
        (ErrorCode::Unknown(_), 403) => ErrorCode::Denied,
        (ErrorCode::Unknown(_), 429) => ErrorCode::TooManyRequests,
        (code, _) => code,
    };
    Answer { status, code, message }
}

#[derive(Deserialize)]
struct Given {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Reads what a token server gave; its life is counted from when it was asked.
fn parse(body: &[u8], asked_at: Instant) -> Result<Token, String> {
    // The parser's error may repeat a piece of the token, so only its place is told.
    let given: Given = serde_json::from_slice(body)
        .map_err(|error| format!("no JSON of a token at column {}", error.column()))?;
    let full = |text: Option<String>| text.filter(|text| !text.is_empty());
    let value = full(given.token)
        .or_else(|| full(given.access_token))
        .ok_or_else(|| "authorization server did not include a token in the response".to_owned())?;
    let life = Duration::from_secs(given.expires_in.unwrap_or_default());
    // A life of centuries must not overflow the clock.
    let life = life.clamp(DEFAULT_LIFE, Duration::from_secs(24 * 3600));
    Ok(Token {
        value: Secret::new(value),
        refresh: full(given.refresh_token).map(Secret::new),
        until: asked_at + life.saturating_sub(MARGIN),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(who: Credentials) -> Wanted {
        Wanted {
            realm: "https://auth.example/token".parse().unwrap(),
            service: "registry example".into(),
            scopes: Scopes::push("a/b").and(&Scopes::pull("c")),
            who,
        }
    }

    fn basic() -> Credentials {
        Credentials::Basic { user: "me&you".into(), password: Secret::new("s3cret") }
    }

    #[test]
    fn a_query_names_service_scopes_and_account() {
        assert_eq!(
            query(&wanted(basic()), false),
            "service=registry%20example&scope=repository:a/b:pull%2Cpush&scope=repository:c:pull&account=me%26you"
        );
        let mut bare = wanted(Credentials::None);
        (bare.scopes, bare.service) = (Scopes::default(), String::new());
        assert_eq!(query(&bare, true), "client_id=docker&offline_token=true");
        assert_eq!(query(&bare, false), "");
    }

    #[test]
    fn an_identity_token_goes_in_the_body() {
        let request = post(&wanted(Credentials::None), &Secret::new("a+b"));
        let RequestBody::Bytes(body) = request.body else { panic!("bytes") };
        assert_eq!(
            body,
            "grant_type=refresh_token&refresh_token=a%2Bb&service=registry%20example&client_id=docker&scope=repository:a/b:pull%2Cpush%20repository:c:pull"
        );
    }

    #[test]
    fn a_realm_keeps_its_own_query() {
        let check = |realm: &str, expect: &str| {
            assert_eq!(with_query(&realm.parse().unwrap(), "a=b").unwrap(), expect);
        };
        check("https://h/token", "https://h/token?a=b");
        check("https://h/token?x=y", "https://h/token?x=y&a=b");
        check("https://h/token?", "https://h/token?a=b");
    }

    #[track_caller]
    fn check(body: &str, expect: Result<(&str, Option<&str>, u64), &str>) {
        let now = Instant::now();
        let token = parse(body.as_bytes(), now);
        let token = token.as_ref().map_err(String::as_str).map(|token| {
            let refresh = token.refresh.as_ref().map(Secret::expose);
            (token.value.expose(), refresh, (token.until - now).as_secs())
        });
        assert_eq!(token, expect);
    }

    #[test]
    fn tokens_are_read() {
        check(r#"{"token":"t"}"#, Ok(("t", None, 50)));
        check(r#"{"access_token":"a","expires_in":300}"#, Ok(("a", None, 290)));
        check(r#"{"token":"","access_token":"a","refresh_token":"r"}"#, Ok(("a", Some("r"), 50)));
        check(r#"{"token":"t","expires_in":5}"#, Ok(("t", None, 50)));
        check(r#"{"token":"t","expires_in":18446744073709551615}"#, Ok(("t", None, 86390)));
        check("{}", Err("authorization server did not include a token in the response"));
        check(r#"{"token":"s3cret"#, Err("no JSON of a token at column 16"));
    }

    #[test]
    fn a_refusal_without_a_code_is_named_by_its_status() {
        let words = |status, body: &str| refusal(status, body.as_bytes()).to_string();
        assert_eq!(
            words(401, r#"{"details":"incorrect username or password"}"#),
            "unauthorized: incorrect username or password"
        );
        assert_eq!(
            words(403, r#"{"errors":[{"code":"DENIED","message":"denied"}]}"#),
            "denied: denied"
        );
        assert_eq!(words(503, ""), "received unexpected HTTP status: 503 Service Unavailable");
    }
}
