//! Registries: who one is there, and what they have.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use ferry_oci::{manifest::Descriptor, platform::Platform};
use serde::{Deserialize, Serialize};

use crate::go::wire;

/// The header of a request that goes to a registry, with an [`AuthConfig`] in it.
pub const REGISTRY_AUTH: &str = "X-Registry-Auth";

/// Who one is at a registry; `Debug` hides what proves it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields")]
pub struct AuthConfig {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// Both, as HTTP has them; only in files.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth: String,
    /// The registry.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    /// What a login gave in place of the password.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    /// A token that goes into every request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

wire! {
    /// The same as it is read: the case of names does not matter, and `null` is nothing.
    Fields {
        username: String = "username",
        password: String = "password",
        auth: String = "auth",
        serveraddress: String = "serveraddress",
        identitytoken: String = "identitytoken",
        registrytoken: String = "registrytoken",
    }
}

impl From<Fields> for AuthConfig {
    fn from(fields: Fields) -> Self {
        let Fields { username, password, auth, serveraddress, identitytoken, registrytoken } =
            fields;
        Self { username, password, auth, serveraddress, identitytoken, registrytoken }
    }
}

/// A header that has no credentials in it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAuth {
    /// What is encoded is not the JSON of an [`AuthConfig`].
    #[error("invalid X-Registry-Auth header: not an authentication configuration")]
    Json,
}

impl AuthConfig {
    /// Writes it as the value of a header: JSON in base64 for URLs, padded, as Docker's client.
    pub fn to_header(&self) -> String {
        let json = serde_json::to_vec(self)
            .expect("a structure of texts has nothing in it that JSON cannot say");
        URL_SAFE.encode(json)
    }

    /// Reads the value of a header: base64 for URLs, padded. An empty value and an empty object are
    /// nobody.
    ///
    /// Compat: as Docker, which reads both as streams, it looks at nothing after the JSON's end.
    ///
    /// # Errors
    ///
    /// It is malformed. The error does not repeat what stands in it.
    pub fn from_header(value: &str) -> Result<Self, InvalidAuth> {
        if value.is_empty() {
            return Ok(Self::default());
        }
        let json = decoded(value);
        let mut values = serde_json::Deserializer::from_slice(&json).into_iter();
        // serde's words would show a piece of it.
        values.next().and_then(Result::ok).ok_or(InvalidAuth::Json)
    }
}

/// What is encoded before the first group of digits that makes no sense.
fn decoded(value: &str) -> Vec<u8> {
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&alphabet::URL_SAFE, config);
    let mut bytes = Vec::new();
    for group in value.as_bytes().chunks(4) {
        let Ok(decoded) = engine.decode(group) else { break };
        bytes.extend(decoded);
        if group.contains(&b'=') {
            break;
        }
    }
    bytes
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

wire! {
    /// What a push made of one tag; `aux` of its stream.
    PushResult {
        tag: String = "Tag",
        digest: String = "Digest",
        /// Bytes of the manifest.
        size: i64 = "Size",
    }
}

/// The answer to `POST /auth`; `Debug` hides the token.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// What is to be kept in place of the password; empty when the registry gives nothing.
    pub identity_token: String,
    /// `Login Succeeded`.
    pub status: String,
}

impl std::fmt::Debug for AuthResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The answer to `GET /distribution/{name}/json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DistributionInspect {
    /// What the name stands for: an index or a manifest.
    #[serde(rename = "Descriptor")]
    pub descriptor: Descriptor,
    /// What it has images for.
    #[serde(rename = "Platforms")]
    pub platforms: Vec<Platform>,
}

/// `aux` of a push: of an index only one manifest was sent, for the others are not here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestPushedInsteadOfIndex {
    /// Always.
    pub manifest_pushed_instead_of_index: bool,
    /// What the name stands for here.
    pub original_index: Descriptor,
    /// What was sent.
    pub selected_manifest: Descriptor,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> AuthConfig {
        AuthConfig {
            username: "me".into(),
            password: "s3cret?>~".into(),
            serveraddress: "localhost:5000".into(),
            ..AuthConfig::default()
        }
    }

    #[test]
    fn a_header_is_read_as_docker_does() {
        let header = auth().to_header();
        assert_eq!(AuthConfig::from_header(&header).unwrap(), auth());
        // Another alphabet, and digits that do not fill a group, end what is read.
        let standard = header.replace('-', "+").replace('_', "/");
        assert_ne!(standard, header);
        AuthConfig::from_header(&standard).unwrap_err();
        let unpadded = URL_SAFE.encode(r#"{"username":"u","password":"pp"}"#);
        AuthConfig::from_header(unpadded.trim_end_matches('=')).unwrap_err();
        // What follows the JSON is not looked at, neither in it nor after it.
        let json = r#"{"username":"u"}"#;
        let user = AuthConfig { username: "u".into(), ..AuthConfig::default() };
        for value in [
            URL_SAFE.encode(format!("{json} garbage")),
            format!("{}!!!!", URL_SAFE.encode(format!("{json}  "))),
        ] {
            assert_eq!(AuthConfig::from_header(&value).unwrap(), user, "{value}");
        }
        for json in ["[]", "null ", r#"{"username":1}"#, r#"{"username":"u""#, "word", ""] {
            let nobody = AuthConfig::from_header(&URL_SAFE.encode(json)).unwrap_or_default();
            assert_eq!(nobody, AuthConfig::default(), "{json}");
        }
    }

    #[test]
    fn nobody_is_written_in_several_ways() {
        // `e30=` is `{}`.
        for value in ["", "e30="] {
            assert_eq!(AuthConfig::from_header(value).unwrap(), AuthConfig::default());
        }
        assert_eq!(AuthConfig::default().to_header(), "e30=");
    }

    #[test]
    fn an_answer_is_that_of_docker() {
        let text = r#"{"IdentityToken":"","Status":"Login Succeeded"}"#;
        let answer: AuthResponse = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
        let answer = AuthResponse { identity_token: "s3cret".into(), ..answer };
        assert!(!format!("{answer:?}").contains("s3cret"));
    }

    #[test]
    fn a_configuration_is_read_as_go_does() {
        let text = r#"{"Username":"me","password":null,"email":"x","serverAddress":"h"}"#;
        let auth: AuthConfig = serde_json::from_str(text).unwrap();
        assert_eq!((auth.username.as_str(), auth.serveraddress.as_str()), ("me", "h"));
        assert!(auth.password.is_empty());
    }

    #[test]
    fn errors_and_debug_repeat_no_secret() {
        let secret = "eyJwYXNzd29yZCI6eyJzM2NyZXQiOjF9fQ==";
        for value in [secret, "bm8ganNvbg==", "***"] {
            let error = AuthConfig::from_header(value).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
        assert!(!format!("{:?}", auth()).contains("s3cret"));
    }

    #[test]
    fn an_inspection_is_that_of_docker() {
        let text = r#"{"Descriptor":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":9},"Platforms":[{"architecture":"arm","os":"linux","variant":"v7"}]}"#;
        let inspect: DistributionInspect = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&inspect).unwrap(), text);
    }
}
