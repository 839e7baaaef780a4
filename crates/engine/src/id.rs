//! Identifiers: containers, execs, and how people may abbreviate them.

use std::fmt;
use std::sync::Arc;

/// The id of a container, an exec or an endpoint: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

/// The id of a container.
pub type ContainerId = Id;

/// The id of an exec.
pub type ExecId = Id;

impl Id {
    /// How many digits an id has.
    pub const LENGTH: usize = 64;

    /// How many digits people are shown.
    pub const SHORT: usize = 12;

    /// A new random id.
    ///
    /// Twelve digits that are all decimal are avoided: they would be taken for a number as host name.
    ///
    /// # Panics
    /// When the kernel has no random numbers, which it always has.
    #[must_use]
    pub fn random() -> Self {
        loop {
            let mut bytes = [0_u8; Self::LENGTH / 2];
            getrandom::fill(&mut bytes).expect("the kernel gives random numbers");
            let text = hex::encode(bytes);
            if text.as_bytes().iter().take(Self::SHORT).any(u8::is_ascii_alphabetic) {
                return Self(text.into());
            }
        }
    }

    /// Takes a full id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == Self::LENGTH
            && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| Self(text.into()))
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..Self::SHORT).unwrap_or(&self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.short())
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_lower_case_hexadecimal_is_an_id() {
        let id = Id::random();
        assert_eq!(Id::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.short().len(), 12);
        assert_eq!(Id::parse(&id.as_str()[1..]), None);
        assert_eq!(Id::parse(&id.as_str().to_uppercase().replace(char::is_numeric, "A")), None);
        assert_eq!(Id::parse("../../../../etc/passwd"), None);
    }
}
