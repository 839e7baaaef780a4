//! Who may do what at the fake registry, and its token server.

use base64::Engine as _;
use http::Method;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::{Answer, Guard, Seen, State};

impl State {
    pub(super) fn refuse(&self, seen: &Seen) -> Option<Answer> {
        let header = seen.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap());
        let refusal =
            |challenge: &str| Answer::error(401, "UNAUTHORIZED").with(WWW_AUTHENTICATE, challenge);
        match &self.guard {
            Guard::Open => None,
            Guard::Basic(user, password) => {
                (header != Some(&basic(user, password))).then(|| refusal("Basic realm=\"fake\""))
            }
            Guard::Token(_) => {
                let host = seen.headers["host"].to_str().unwrap();
                let repository = "repository:a/b";
                let action = match seen.method {
                    Method::GET | Method::HEAD => "pull",
                    _ => "push",
                };
                let scope = format!("{repository}:{action}");
                let challenge = format!(
                    "Bearer realm=\"http://{host}/token\",service=\"fake\",scope=\"{scope}\""
                );
                let token = header.and_then(|header| header.strip_prefix("Bearer "));
                let allowed = token.and_then(|token| self.tokens.get(token));
                let is_allowed = allowed.is_some_and(|scopes| {
                    seen.path == "/v2/" || scopes.contains(repository) && scopes.contains(action)
                });
                match token {
                    _ if is_allowed => None,
                    Some(_) if allowed.is_some() => {
                        Some(refusal(&format!("{challenge},error=\"insufficient_scope\"")))
                    }
                    _ => Some(refusal(&challenge)),
                }
            }
        }
    }

    pub(super) fn give_token(&mut self, seen: &Seen) -> Answer {
        let Guard::Token(user) = &self.guard else { return Answer::new(404, "") };
        let header = seen.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap());
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let is_known = match user {
            _ if seen.method == Method::POST => body.contains("refresh_token=refresh"),
            None => true,
            Some((user, password)) => header == Some(&basic(user, password)),
        };
        // One who may only look.
        let may_push = user.is_some();
        if !is_known && (header.is_some() || seen.method == Method::POST) {
            return Answer::new(401, r#"{"details":"incorrect username or password"}"#);
        }
        self.count += 1;
        let token = format!("token-{}", self.count);
        let asked = format!("{}&{body}", seen.query);
        let scopes = if is_known { asked } else { String::new() };
        let scopes = if may_push { scopes } else { scopes.replace("push", "") };
        if self.stillborn > 0 {
            self.stillborn -= 1;
        } else {
            self.tokens.insert(token.clone(), scopes);
        }
        let refresh = if seen.query.contains("offline_token=true") { "refresh" } else { "" };
        Answer::new(200, format!(r#"{{"token":"{token}","refresh_token":"{refresh}"}}"#))
    }
}

fn basic(user: &str, password: &str) -> String {
    let both = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}
