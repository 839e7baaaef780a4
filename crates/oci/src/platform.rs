//! Platforms: the operating system and processor that an image is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, a processor architecture in Go's words, and its variant.
///
/// [OCI image, image index § platform]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// For example `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// For example `linux`.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system; only Windows images have it.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// What the operating system must have; only Windows images say so.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// For example `v8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A text that is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePlatformError {
    /// An empty part or a strange character.
    #[error(
        "\"{part}\" is an invalid component of \"{whole}\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\""
    )]
    Component {
        /// The part at fault.
        part: String,
        /// The whole text.
        whole: String,
    },
    /// A single word that is neither an operating system nor an architecture, or too many words.
    #[error("\"{0}\": unknown operating system or architecture")]
    Unknown(String),
}

impl Platform {
    /// The platform of this machine, as Docker names it.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "x86" => ("386", ""),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            os_version: String::new(),
            os_features: Vec::new(),
            variant: variant.to_owned(),
        }
    }

    /// How well an image for `self` suits `host`: higher is better, `None` not at all.
    ///
    /// Only the arm family has variants that run on one another: each runs those beneath it.
    pub fn suitability(&self, host: &Self) -> Option<u32> {
        let (image, host) = (self.clone().normalized(), host.clone().normalized());
        if image.os != host.os || image.architecture != host.architecture {
            return None;
        }
        if image.variant == host.variant {
            return Some(100);
        }
        let level = |variant: &str| variant.strip_prefix('v').and_then(|v| v.parse::<u32>().ok());
        match (level(&image.variant), level(&host.variant)) {
            (None, _) => Some(50),
            (Some(have), Some(want)) if have <= want => Some(have),
            // An x86-64-v2 image on a host that names no level: we cannot know, so least wanted.
            (Some(_), None) if image.architecture == "amd64" => Some(1),
            _ => None,
        }
    }

    /// The same platform in its usual words: `aarch64` is `arm64`, `arm64/v8` is `arm64`.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.os = self.os.to_ascii_lowercase();
        if self.os == "macos" {
            self.os = "darwin".to_owned();
        }
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386" | "i686", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64", other) => ("amd64", other),
            ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
            ("aarch64", other) => ("arm64", other),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        (self.architecture, self.variant) = (architecture.to_owned(), variant.to_owned());
        self
    }
}

const SYSTEMS: [&str; 11] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "linux",
    "netbsd",
    "openbsd",
    "solaris",
    "windows",
];
const ARCHITECTURES: [&str; 20] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv64", "s390x", "wasm", "x86_64", "x86-64", "aarch64", "armhf", "armel", "i386",
];

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// Parses `os`, `arch`, `os/arch` or `os/arch/variant`; what is missing is the host's.
    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let fine = |p: &&str| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if let Some(part) = parts.iter().find(|p| !fine(p)) {
            let part = (*part).to_owned();
            return Err(ParsePlatformError::Component { part, whole: text.to_owned() });
        }
        let host = Self::host();
        let platform = match *parts.as_slice() {
            [one] if SYSTEMS.contains(&one.to_ascii_lowercase().as_str()) => {
                Self { os: one.to_owned(), ..host }
            }
            [one] if ARCHITECTURES.contains(&one.to_ascii_lowercase().as_str()) => {
                Self { architecture: one.to_owned(), variant: String::new(), ..host }
            }
            [os, architecture] => {
                Self { os: os.to_owned(), architecture: architecture.to_owned(), ..Self::default() }
            }
            [os, architecture, variant] => Self {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
                ..Self::default()
            },
            _ => return Err(ParsePlatformError::Unknown(text.to_owned())),
        };
        Ok(platform.normalized())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(text.parse::<Platform>().unwrap().to_string(), expect);
    }

    #[test]
    fn platforms_are_put_in_usual_words() {
        check("linux/x86_64", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("Linux/ARM", "linux/arm/v7");
        check("linux/arm/6", "linux/arm/v6");
        check("arm64", "linux/arm64");
        assert!("linux//amd64".parse::<Platform>().is_err());
        assert!("nonsense".parse::<Platform>().is_err());
        assert!("a/b/c/d".parse::<Platform>().is_err());
    }

    #[test]
    fn the_nearest_variant_beneath_the_host_suits_best() {
        let host: Platform = "linux/arm/v7".parse().unwrap();
        let suits = |text: &str| text.parse::<Platform>().unwrap().suitability(&host);
        assert!(suits("linux/arm/v7") > suits("linux/arm/v6"));
        assert!(suits("linux/arm/v6") > suits("linux/arm/v5"));
        assert_eq!(suits("linux/arm/v8"), None);
        assert_eq!(suits("linux/amd64"), None);
        assert_eq!(suits("windows/arm/v7"), None);
    }
}
