//! Content digests: `sha256:<hex>`, as the OCI image specification writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A digest: an algorithm and the lower-case hexadecimal sum of some bytes.
///
/// Only well-formed digests of known algorithms can be made, so the text is safe as a file name
/// once split at its colon.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: Box<str>,
    algorithm: Algorithm,
}

/// The algorithms of the OCI image specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which everything uses.
    Sha256,
    /// SHA-384; accepted in references, as Docker does.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// Why a text is no digest; in the words of Docker's digest library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// No colon, or strange characters.
    #[error("invalid checksum digest format")]
    Format,
    /// The wrong number of digits for the algorithm.
    #[error("invalid checksum digest length")]
    Length,
    /// An algorithm that we cannot compute.
    #[error("unsupported digest algorithm")]
    Unsupported,
}

impl Digest {
    /// The digest of `bytes`.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self::from_sha256(sha2::Sha256::digest(bytes).into())
    }

    /// A digest from a sum computed elsewhere.
    pub fn from_sha256(sum: [u8; 32]) -> Self {
        Self { text: format!("sha256:{}", hex::encode(sum)).into(), algorithm: Algorithm::Sha256 }
    }

    /// A SHA-256 digest from its 64 hexadecimal digits.
    ///
    /// # Errors
    /// When they are not 64 lower-case digits.
    pub fn from_sha256_hex(digits: &str) -> Result<Self, ParseDigestError> {
        format!("sha256:{digits}").parse()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits after the colon.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// The first twelve digits, as Docker shows ids.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The whole text, `sha256:<hex>`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Starts computing a digest of this one's algorithm.
    pub fn verifier(&self) -> Hasher {
        Hasher::new(self.algorithm)
    }

    /// Whether this is the digest of `bytes`.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.verifier();
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let (name, digits) = text.split_once(':').ok_or(ParseDigestError::Format)?;
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if name.is_empty()
            || name.split(['+', '.', '_', '-']).any(|w| w.is_empty() || !w.chars().all(word))
        {
            return Err(ParseDigestError::Format);
        }
        if digits.is_empty()
            || !digits.bytes().all(|b| b.is_ascii_alphanumeric() || b"=_-".contains(&b))
        {
            return Err(ParseDigestError::Format);
        }
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            _ => return Err(ParseDigestError::Unsupported),
        };
        if digits.len() != algorithm.hex_len() {
            return Err(ParseDigestError::Length);
        }
        if !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseDigestError::Format);
        }
        Ok(Self { text: text.into(), algorithm })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a digest piece by piece.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Starts with nothing hashed.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Starts a SHA-256.
    pub fn sha256() -> Self {
        Self::new(Algorithm::Sha256)
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        let (algorithm, sum) = match self.0 {
            State::Sha256(state) => (Algorithm::Sha256, hex::encode(state.finalize())),
            State::Sha384(state) => (Algorithm::Sha384, hex::encode(state.finalize())),
            State::Sha512(state) => (Algorithm::Sha512, hex::encode(state.finalize())),
        };
        Digest { text: format!("{}:{sum}", algorithm.name()).into(), algorithm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn check(text: &str, expect: Result<(), ParseDigestError>) {
        assert_eq!(text.parse::<Digest>().map(|_| ()), expect, "{text}");
    }

    #[test]
    fn digests_of_bytes_are_those_of_the_standard() {
        assert_eq!(Digest::sha256_of(b"").as_str(), EMPTY);
        let digest: Digest = EMPTY.parse().unwrap();
        assert!(digest.matches(b""));
        assert!(!digest.matches(b"x"));
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert!(
            Hasher::new(Algorithm::Sha512).finish().as_str().starts_with("sha512:cf83e1357eef")
        );
    }

    #[test]
    fn malformed_digests_are_refused_in_dockers_words() {
        check(EMPTY, Ok(()));
        check("sha256", Err(ParseDigestError::Format));
        check("sha256:", Err(ParseDigestError::Format));
        check("sha256:abc", Err(ParseDigestError::Length));
        check("md5:d41d8cd98f00b204e9800998ecf8427e", Err(ParseDigestError::Unsupported));
        check(&EMPTY.replace("e3", "E3"), Err(ParseDigestError::Format));
        check(&EMPTY.replace("e3b", "../"), Err(ParseDigestError::Format));
        check(&EMPTY.replace("sha", "SHA"), Err(ParseDigestError::Format));
    }
}
