//! Who may do what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::State;
use super::http::{Answer, Head, unescape};

/// The one user that is known.
pub const USER: &str = "somebody";
/// The user's password; bytes that must turn up nowhere but at the registry itself.
pub const PASSWORD: &str = "s3cr3t-marker";
/// What a token server gives for the password, to be used instead of it.
const IDENTITY: &str = "identity-s3cr3t-marker";

/// How a registry asks who one is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Not at all.
    #[default]
    Open,
    /// By name and password.
    Basic,
    /// By tokens of its own; anybody may pull when `anybody_pulls`.
    Token {
        /// Whether tokens for pulls are given to anybody.
        anybody_pulls: bool,
    },
}

/// What must be found in no log and at no other host: the password as it is, and as it is sent.
#[must_use]
pub fn secrets() -> [String; 2] {
    [PASSWORD.to_owned(), STANDARD.encode(format!("{USER}:{PASSWORD}"))]
}

fn knows(head: &Head) -> bool {
    let value = head.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    value == Some(&STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

impl State {
    /// The refusal of a request that may not be.
    pub(super) fn refuse(&self, head: &Head, scheme: &str) -> Option<Answer> {
        let unauthorized = |challenge: &str| {
            Answer::error(401, "UNAUTHORIZED", "authentication required")
                .with("WWW-Authenticate", challenge)
        };
        match self.guard {
            Guard::Open => None,
            Guard::Basic => {
                (!knows(head)).then(|| unauthorized("Basic realm=\"the fault registry\""))
            }
            Guard::Token { .. } => self.wants_token(head, scheme).map(|it| unauthorized(&it)),
        }
    }

    /// The challenge to a request without a token that allows it.
    fn wants_token(&self, head: &Head, scheme: &str) -> Option<String> {
        let host = head.header("host").unwrap_or_default();
        let challenge =
            format!("Bearer realm=\"{scheme}://{host}/token\",service=\"fault-registry\"");
        let token = head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let scopes = token.and_then(|token| self.tokens.get(token));
        let Some(repository) = repository(head.path()) else {
            return scopes.is_none().then_some(challenge);
        };
        let action = if matches!(head.method.as_str(), "GET" | "HEAD") { "pull" } else { "push" };
        let wanted = format!("repository:{repository}");
        let challenge = format!("{challenge},scope=\"{wanted}:{action}\"");
        match scopes {
            Some(scopes) if allows(scopes, &wanted, action) => None,
            Some(_) => Some(format!("{challenge},error=\"insufficient_scope\"")),
            None => Some(challenge),
        }
    }

    /// Gives a token, for what is asked and may be.
    pub(super) fn give_token(&mut self, head: &Head, body: &[u8]) -> Answer {
        let Guard::Token { anybody_pulls } = self.guard else { return Answer::new(404) };
        let form = String::from_utf8_lossy(body);
        let fields = form.split('&').filter_map(|pair| pair.split_once('='));
        let field = |name: &str| {
            let mut found = fields.clone().filter(|(known, _)| *known == name);
            found.next().map(|(_, value)| unescape(value))
        };
        let by_form = field("refresh_token").is_some_and(|token| token == IDENTITY)
            || field("password").is_some_and(|word| word == PASSWORD);
        let is_known = knows(head) || by_form;
        if !is_known && (head.method == "POST" || head.header("authorization").is_some()) {
            return Answer::error(401, "UNAUTHORIZED", "incorrect username or password");
        }
        let asked = match head.method.as_str() {
            "POST" => field("scope").unwrap_or_default(),
            _ => unescape(&head.query().replace("scope=", " ")),
        };
        let scopes = match (is_known, anybody_pulls) {
            (true, _) => asked,
            (false, true) => asked.replace("push", ""),
            (false, false) => String::new(),
        };
        self.count += 1;
        let token = format!("token-{PASSWORD}-{}", self.count);
        self.tokens.insert(token.clone(), scopes);
        let mut said =
            serde_json::json!({ "token": token, "access_token": token, "expires_in": 300 });
        let wants_identity = head.query().contains("offline_token=true")
            || field("access_type").is_some_and(|kind| kind == "offline");
        if is_known && wants_identity {
            said["refresh_token"] = IDENTITY.into();
        }
        Answer::bytes(200, said.to_string().into_bytes()).with("Content-Type", "application/json")
    }
}

/// Whether one of the scopes is of this repository and has this action.
fn allows(scopes: &str, repository: &str, action: &str) -> bool {
    scopes.split([' ', '&']).any(|scope| {
        let rest = scope.strip_prefix(repository).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|actions| actions.split(',').any(|one| one == action))
    })
}

/// The repository that a path is about.
fn repository(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v2/")?;
    let kinds = ["/manifests/", "/blobs/", "/tags/", "/referrers/"];
    kinds.iter().find_map(|kind| Some(rest.split_once(kind)?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_looked_at_whole() {
        let scopes = "service=x& repository:a/b:pull,push& repository:c:pull";
        assert!(allows(scopes, "repository:a/b", "push"));
        assert!(allows(scopes, "repository:c", "pull"));
        assert!(!allows(scopes, "repository:c", "push"));
        assert!(!allows(scopes, "repository:a", "pull"));
    }
}
