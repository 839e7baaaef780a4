//! Credentials, which are never shown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A password, a token or a header made of one. It has no `Display`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for the wire and for the file of credentials, for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Who one is at a registry, and how that is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    None,
    /// A user with a password.
    Basic {
        /// The name.
        user: String,
        /// The password, or what stands for it.
        password: Secret,
    },
    /// A refresh token that a login gave; tokens are asked for with it.
    Identity {
        /// The refresh token.
        token: Secret,
        /// A user and a password besides, for a registry that has no server of tokens.
        login: Option<(String, Secret)>,
    },
    /// A token that goes into every request as it is.
    Bearer(Secret),
}

impl Credentials {
    /// What the four fields of Docker's authentication header mean: a registry token before an
    /// identity token, and that before a password.
    pub fn from_parts(
        user: String,
        password: String,
        identity_token: String,
        registry_token: String,
    ) -> Self {
        if !registry_token.is_empty() {
            Self::Bearer(Secret::new(registry_token))
        } else if !identity_token.is_empty() {
            let login = !user.is_empty() && !password.is_empty();
            let login = login.then(|| (user, Secret::new(password)));
            Self::Identity { token: Secret::new(identity_token), login }
        } else if !user.is_empty() || !password.is_empty() {
            Self::Basic { user, password: Secret::new(password) }
        } else {
            Self::None
        }
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The name of the user, where there is one.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Basic { user, .. } => Some(user),
            Self::None | Self::Identity { .. } | Self::Bearer(_) => None,
        }
    }

    /// The `Authorization` header that proves it directly; an identity token alone has none, since
    /// only a token server takes it. [RFC 7617, RFC 6750]
    pub fn authorization(&self) -> Option<Secret> {
        let basic = |user: &str, password: &Secret| {
            let both = STANDARD.encode(format!("{user}:{}", password.expose()));
            Some(Secret(format!("Basic {both}")))
        };
        match self {
            Self::Basic { user, password } => basic(user, password),
            Self::Identity { login: Some((user, password)), .. } => basic(user, password),
            Self::Bearer(token) => Some(Secret(format!("Bearer {}", token.expose()))),
            Self::None | Self::Identity { login: None, .. } => None,
        }
    }
}

/// Knows the credentials of registries.
pub trait CredentialSource: Send + Sync + fmt::Debug {
    /// The credentials of a registry: the domain of a name (`docker.io` for Docker's own), or the
    /// host and port of a mirror.
    fn credentials(&self, registry: &str) -> Credentials;
}

/// Has credentials of no registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCredentials;

impl CredentialSource for NoCredentials {
    fn credentials(&self, _registry: &str) -> Credentials {
        Credentials::None
    }
}

/// Has credentials of one registry, as a request to the engine brings them.
#[derive(Clone, Debug)]
pub struct CredentialsFor {
    /// The domain of the registry.
    pub registry: String,
    /// The credentials there.
    pub credentials: Credentials,
}

impl CredentialSource for CredentialsFor {
    fn credentials(&self, registry: &str) -> Credentials {
        if registry == self.registry { self.credentials.clone() } else { Credentials::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(token: &str, login: Option<(&str, &str)>) -> Credentials {
        let login = login.map(|(user, password)| (user.to_owned(), Secret::new(password)));
        Credentials::Identity { token: Secret::new(token), login }
    }

    fn basic() -> Credentials {
        let (user, password) = ("Aladdin".to_owned(), Secret::new("open sesame"));
        Credentials::Basic { user, password }
    }

    #[test]
    fn the_header_is_that_of_the_standard() {
        let header = |credentials: &Credentials| {
            credentials.authorization().map(|header| header.expose().to_owned())
        };
        // The example of RFC 7617, section 2.
        assert_eq!(header(&basic()).unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(header(&Credentials::Bearer(Secret::new("abc"))).unwrap(), "Bearer abc");
        assert_eq!(header(&identity("abc", None)), None);
        assert_eq!(header(&identity("abc", Some(("a", "b")))).unwrap(), "Basic YTpi");
        assert_eq!(header(&Credentials::None), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        for shown in [basic(), identity("open sesame", Some(("a", "open sesame")))] {
            let text = format!("{shown:?} {:?} {shown:#?}", shown.authorization());
            assert!(!text.contains("sesame") && !text.contains("QWxh"), "{text}");
        }
    }

    #[track_caller]
    fn check(parts: [&str; 4], expect: &Credentials) {
        let [user, password, identity, registry] = parts.map(str::to_owned);
        assert_eq!(Credentials::from_parts(user, password, identity, registry), *expect);
    }

    #[test]
    fn tokens_go_before_passwords() {
        check(["", "", "", ""], &Credentials::None);
        check(["Aladdin", "open sesame", "", ""], &basic());
        check(["Aladdin", "x", "id", ""], &identity("id", Some(("Aladdin", "x"))));
        check(["<token>", "", "id", ""], &identity("id", None));
        check(["Aladdin", "x", "id", "reg"], &Credentials::Bearer(Secret::new("reg")));
    }

    #[test]
    fn credentials_are_for_their_registry_only() {
        let source = CredentialsFor { registry: "docker.io".into(), credentials: basic() };
        assert_eq!(source.credentials("docker.io"), basic());
        assert!(source.credentials("docker.io.evil.example").is_none());
        assert!(NoCredentials.credentials("docker.io").is_none());
    }
}
