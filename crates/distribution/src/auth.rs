//! Who one is at a registry, and how that is proved there.
//!
//! A request is made without proof until its registry has asked for one; from then on each has it.
//! What is asked for is answered for the registry itself only: a challenge that comes from where a
//! redirection led to is not taken up, and the address of a token server must be as safe as the
//! registry's own ([`Transport::send_to_realm`]).

pub(crate) mod credentials;
mod login;
mod scope;
mod token;

pub use login::{LoginOutcome, login};
pub(crate) use scope::Scopes;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::header::{HeaderMap, WWW_AUTHENTICATE};
use http::{StatusCode, Uri};

use self::credentials::{Credentials, Secret};
use self::token::{Tokens, Wanted};
use crate::endpoint::{Endpoint, EndpointId};
use crate::error::DistributionError;
use crate::limits;
use crate::protocol::challenge::{Challenge, Scheme, parse_challenges};
use crate::transport::{Request, Response, Transport};

/// Sends requests with the proof that their registries want.
#[derive(Debug)]
pub(crate) struct Authenticator {
    transport: Transport,
    challenges: Mutex<HashMap<EndpointId, Known>>,
    tokens: Tokens,
}

/// What an endpoint has asked for, when it was last asked for these rights.
#[derive(Debug)]
struct Known {
    challenge: Challenge,
    scopes: Scopes,
}

/// Who asks whom, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) who: &'a Credentials,
    pub(crate) scopes: &'a Scopes,
}

/// A proof, and the token in it where there is one.
struct Proof {
    header: Secret,
    token: Option<Secret>,
}

impl Authenticator {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, challenges: Mutex::default(), tokens: Tokens::default() }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Sends a request to its path at the endpoint, or to an address that the endpoint gave. The
    /// status is not judged; one that asks for a proof is answered first, and once more when it says
    /// that even a fresh proof does not do.
    ///
    /// # Errors
    /// When no answer comes, or the proof that is asked for cannot be had.
    pub(crate) async fn send(
        &self,
        caller: Caller<'_>,
        to: Option<&Uri>,
        request: &Request,
    ) -> Result<Response, DistributionError> {
        let url = match to {
            Some(url) => url.clone(),
            None => caller.endpoint.url(&request.path, &request.query)?,
        };
        let line = DistributionError::request_line(&request.method, &url);
        let mut proof = match self.challenge_of(caller) {
            Some(challenge) => self.proof(caller, &challenge, None, &line).await?,
            None => bearer(caller.who),
        };
        let mut response = self.exchange(caller, to, request, proof.as_ref()).await?;
        let mut answered: Option<Challenge> = None;
        for _ in 0..PROOFS {
            let is_own = caller.endpoint.has_origin(&response.url);
            if response.status != StatusCode::UNAUTHORIZED || !is_own {
                return Ok(response);
            }
            let Some(challenge) = choose_challenge(&challenges(&response.headers)) else {
                return Ok(response);
            };
            if answered.as_ref().is_some_and(|before| !is_news(before, &challenge)) {
                return Ok(response);
            }
            self.remember(caller, &challenge);
            let line = response.request.clone();
            let refused = proof.as_ref().and_then(|proof| proof.token.as_ref());
            let next = match self.proof(caller, &challenge, refused, &line).await? {
                Some(next) if proof.as_ref().is_none_or(|p| p.header != next.header) => next,
                // The same proof again: it was wrong, not missing.
                _ => return Ok(response),
            };
            tracing::debug!(endpoint = %caller.endpoint.id, "proving who asks");
            // Read to its end, so that the connection serves the next attempt; what it says is known.
            response.bytes(limits::MAX_ERROR_BODY, "the answer").await.ok();
            response = self.exchange(caller, to, request, Some(&next)).await?;
            (proof, answered) = (Some(next), Some(challenge));
        }
        Ok(response)
    }

    async fn exchange(
        &self,
        caller: Caller<'_>,
        to: Option<&Uri>,
        request: &Request,
        proof: Option<&Proof>,
    ) -> Result<Response, DistributionError> {
        let header = proof.map(|proof| &proof.header);
        match to {
            None => self.transport.send(caller.endpoint, request, header).await,
            Some(url) => self.transport.send_to(url, caller.endpoint, request, header).await,
        }
    }

    /// The proof that a challenge asks for; none when the endpoint takes none of ours.
    async fn proof(
        &self,
        caller: Caller<'_>,
        challenge: &Challenge,
        refused: Option<&Secret>,
        line: &str,
    ) -> Result<Option<Proof>, DistributionError> {
        if let Some(proof) = bearer(caller.who) {
            return Ok(Some(proof));
        }
        match challenge.scheme {
            Scheme::Basic => match caller.who.authorization() {
                Some(header) => Ok(Some(Proof { header, token: None })),
                None => Err(DistributionError::NoCredentials { request: line.to_owned() }),
            },
            Scheme::Bearer => {
                let wanted = wanted(caller, challenge)?;
                let (tokens, transport) = (&self.tokens, &self.transport);
                let token = tokens.get(transport, caller.endpoint, &wanted, refused, line).await?;
                let header = Secret::new(format!("Bearer {}", token.expose()));
                Ok(Some(Proof { header, token: Some(token) }))
            }
            Scheme::Other(_) => Ok(None),
        }
    }

    /// What the endpoint is known to ask for. The rights that it named are left out when they were
    /// named for another request than the caller's.
    fn challenge_of(&self, caller: Caller<'_>) -> Option<Challenge> {
        let challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        let known = challenges.get(&caller.endpoint.id)?;
        let mut challenge = known.challenge.clone();
        if known.scopes != *caller.scopes {
            challenge.scope.clear();
        }
        Some(challenge)
    }

    fn remember(&self, caller: Caller<'_>, challenge: &Challenge) {
        let known = Known { challenge: challenge.clone(), scopes: caller.scopes.clone() };
        let mut challenges = self.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        challenges.insert(caller.endpoint.id.clone(), known);
    }
}

/// How often a proof is given for one request: a second time when the first, though it was fresh, had
/// expired on its way or was asked for in another way meanwhile.
const PROOFS: usize = 2;

/// Whether a challenge that comes in answer to a fresh proof may be met by another.
fn is_news(before: &Challenge, now: &Challenge) -> bool {
    let said = |challenge: &Challenge| Challenge { error: String::new(), ..challenge.clone() };
    // A token that does not allow enough will not allow more the next time.
    said(before) != said(now) || (now.scheme == Scheme::Bearer && now.error != "insufficient_scope")
}

/// A token that was given to us goes into every request as it is.
fn bearer(who: &Credentials) -> Option<Proof> {
    match who {
        Credentials::Bearer(_) => who.authorization().map(|header| Proof { header, token: None }),
        Credentials::None | Credentials::Basic { .. } | Credentials::Identity { .. } => None,
    }
}

fn wanted(caller: Caller<'_>, challenge: &Challenge) -> Result<Wanted, DistributionError> {
    let realm: Uri = challenge.realm.parse().map_err(|error: http::uri::InvalidUri| {
        DistributionError::Malformed {
            what: "the address of the token server".into(),
            why: error.to_string(),
        }
    })?;
    let asked = Scopes::parse(&challenge.scope);
    // A registry beneath a path knows its repositories by other names than ours.
    let is_root = matches!(caller.endpoint.base.path(), "" | "/" | "/v2" | "/v2/");
    let scopes =
        if is_root || asked.is_empty() { caller.scopes.clone().and(&asked) } else { asked };
    Ok(Wanted { realm, service: challenge.service.clone(), scopes, who: caller.who.clone() })
}

/// All challenges in the head of an answer.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(parse_challenges).collect()
}

/// The challenge that is taken up: one for a token before one for a password.
fn choose_challenge(challenges: &[Challenge]) -> Option<Challenge> {
    let of = |scheme: Scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
    of(Scheme::Bearer).or_else(|| of(Scheme::Basic)).cloned()
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_asked_for_before_a_password() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"r\""));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"https://a/t\",service=\"s\""),
        );
        let found = challenges(&headers);
        assert_eq!(found.len(), 3);
        let chosen = choose_challenge(&found).unwrap();
        assert_eq!((chosen.scheme, chosen.service.as_str()), (Scheme::Bearer, "s"));
        assert_eq!(choose_challenge(&found[..2]).unwrap().scheme, Scheme::Basic);
        assert!(choose_challenge(&found[1..2]).is_none());
    }
}
