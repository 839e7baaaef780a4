//! Versions of the API: which are served, and what the old ones did otherwise.
//!
//! Handlers speak the newest version. A request of an older one is lifted to it step by step, an
//! answer is lowered likewise; each step is a file that lists everything which that version did
//! otherwise. No other file mentions a version of the API.

mod v1_24;
mod v1_39;
mod v1_41;
mod v1_42;
mod v1_43;
mod v1_44;
mod v1_46;
mod v1_48;
mod v1_49;
mod v1_50;

use std::fmt;

use ferry_api::{API_VERSION, MIN_API_VERSION, Operation};
use http::StatusCode;
use serde_json::{Map, Value};

use crate::http::error::Failure;

/// A version of the API that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    /// The newest.
    pub(crate) const NEWEST: Self = Self { major: 1, minor: 51 };
    const OLDEST: Self = Self { major: 1, minor: 24 };

    const fn minor(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    /// Reads a version from a path, if it is served.
    pub(crate) fn admit(text: &str) -> Result<Self, Failure> {
        let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
        let version = Self { major: parts.next().unwrap_or(0), minor: parts.next().unwrap_or(0) };
        if version < Self::OLDEST {
            return Err(Failure::text(
                StatusCode::BAD_REQUEST,
                format!(
                    "client version {text} is too old. Minimum supported API version is \
                     {MIN_API_VERSION}, please upgrade your client to a newer version\n"
                ),
            ));
        }
        if version > Self::NEWEST {
            return Err(Failure::invalid(format!(
                "client version {text} is too new. Maximum supported API version is {API_VERSION}"
            )));
        }
        Ok(version)
    }

    /// Whether streams with frames have a media type of their own.
    pub(crate) fn names_multiplexed_streams(self) -> bool {
        self >= Self::minor(42)
    }

    /// Whether stop and restart take a signal.
    pub(crate) fn stops_with_a_signal(self) -> bool {
        self >= Self::minor(42)
    }

    /// Whether a wait has a condition, and sends its head at once.
    pub(crate) fn waits_for_conditions(self) -> bool {
        self >= Self::minor(30)
    }

    /// Whether a create chooses a platform.
    pub(crate) fn creates_for_a_platform(self) -> bool {
        self >= Self::minor(41)
    }

    /// Whether a push chooses a platform.
    pub(crate) fn pushes_a_platform(self) -> bool {
        self >= Self::minor(46)
    }

    /// Whether archives and histories of images are of a platform.
    pub(crate) fn archives_a_platform(self) -> bool {
        self >= Self::minor(48)
    }

    /// Whether an image is inspected for a platform.
    pub(crate) fn inspects_a_platform(self) -> bool {
        self >= Self::minor(49)
    }

    /// Whether platforms of an image are removed.
    pub(crate) fn removes_platforms(self) -> bool {
        self >= Self::minor(50)
    }

    /// Whether disk usage can be asked for by type.
    pub(crate) fn measures_by_type(self) -> bool {
        self >= Self::minor(42)
    }

    /// Whether a list of networks is without their containers.
    pub(crate) fn lists_networks_alone(self) -> bool {
        self >= Self::minor(28)
    }
}

/// What a version did otherwise than the next one.
struct Step {
    /// The version; older ones did likewise.
    until: Version,
    /// The operations whose requests differ.
    lifts: &'static [Operation],
    /// Makes a request one of the next version.
    lift_request: fn(Operation, &mut Value),
    /// The operations whose answers differ.
    lowers: &'static [Operation],
    /// Makes an answer of the next version one of this.
    lower_response: fn(Operation, &mut Value),
}

/// All steps, from the newest to the oldest.
const STEPS: [Step; 10] = [
    v1_50::STEP,
    v1_49::STEP,
    v1_48::STEP,
    v1_46::STEP,
    v1_44::STEP,
    v1_43::STEP,
    v1_42::STEP,
    v1_41::STEP,
    v1_39::STEP,
    v1_24::STEP,
];

/// A step that leaves requests, or answers, as they are.
fn unchanged(_operation: Operation, _body: &mut Value) {}

/// Each value of a list of objects.
fn each(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Whether requests of a version are lifted.
pub(crate) fn lifts(operation: Operation, version: Version) -> bool {
    STEPS.iter().any(|step| version <= step.until && step.lifts.contains(&operation))
}

/// Whether answers to a version are lowered.
pub(crate) fn lowers(operation: Operation, version: Version) -> bool {
    STEPS.iter().any(|step| version <= step.until && step.lowers.contains(&operation))
}

/// Makes a request of an old version one of the newest, from the oldest step to the newest.
pub(crate) fn lift_request(operation: Operation, version: Version, body: &mut Value) {
    for step in STEPS.iter().rev().filter(|step| version <= step.until) {
        (step.lift_request)(operation, body);
    }
}

/// Makes an answer of the newest version one of an old one, from the newest step to the oldest.
pub(crate) fn lower_response(operation: Operation, version: Version, body: &mut Value) {
    for step in STEPS.iter().filter(|step| version <= step.until) {
        (step.lower_response)(operation, body);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lowered(operation: Operation, version: &str, mut body: Value) -> Value {
        let version = Version::admit(version).unwrap();
        assert!(lowers(operation, version));
        lower_response(operation, version, &mut body);
        body
    }

    fn lifted(operation: Operation, version: &str, mut body: Value) -> Value {
        let version = Version::admit(version).unwrap();
        assert!(lifts(operation, version));
        lift_request(operation, version, &mut body);
        body
    }

    #[test]
    fn the_newest_version_is_left_alone() {
        for operation in [Operation::ContainerCreate, Operation::ImageList, Operation::SystemInfo] {
            assert!(!lifts(operation, Version::NEWEST));
            assert!(!lowers(operation, Version::NEWEST));
        }
    }

    #[test]
    fn steps_go_from_the_newest_to_the_oldest() {
        assert!(STEPS.is_sorted_by(|newer, older| newer.until > older.until));
    }

    #[test]
    fn images_are_listed_as_they_used_to_be() {
        let list = json!([{ "Containers": 1, "Size": 7, "RepoDigests": [] }]);
        let of = |version| lowered(Operation::ImageList, version, list.clone());
        assert_eq!(of("1.50"), json!([{ "Containers": -1, "Size": 7, "RepoDigests": [] }]));
        assert_eq!(
            of("1.43"),
            json!([{ "Containers": -1, "Size": 7, "RepoDigests": [], "VirtualSize": 7 }])
        );
        assert_eq!(
            of("1.24"),
            json!([{ "Containers": -1, "Size": 7, "RepoDigests": null, "VirtualSize": 7 }])
        );
    }

    #[test]
    fn an_old_create_means_what_it_used_to_mean() {
        let body = json!({
            "Image": "a",
            "Healthcheck": { "StartInterval": 5 },
            "HostConfig": {
                "AutoRemove": true, "ConsoleSize": [1, 2], "Annotations": { "a": "b" },
                "Mounts": [{
                    "Type": "bind", "ReadOnly": true, "TmpfsOptions": {},
                    "BindOptions": { "CreateMountpoint": true, "NonRecursive": true },
                }],
            },
        });
        assert_eq!(
            lifted(Operation::ContainerCreate, "1.24", body),
            json!({
                "Image": "a",
                "Healthcheck": {},
                "HostConfig": {
                    "IpcMode": "shareable",
                    "Mounts": [{
                        "Type": "bind", "ReadOnly": true,
                        "BindOptions": { "ReadOnlyNonRecursive": true },
                    }],
                },
            })
        );
    }

    #[test]
    fn what_is_no_object_is_left_alone() {
        for body in [json!(null), json!([1]), json!({ "HostConfig": { "Mounts": 5 } })] {
            assert_eq!(
                lifted(Operation::ContainerCreate, "1.24", body.clone())["Image"],
                body["Image"]
            );
        }
    }

    #[track_caller]
    fn check(text: &str, expect: Result<Version, &str>) {
        let got = Version::admit(text).map_err(|failure| failure.message);
        assert_eq!(got, expect.map_err(str::to_owned));
    }

    #[test]
    fn versions_are_admitted_from_the_oldest_to_the_newest() {
        assert_eq!(Version::NEWEST.to_string(), API_VERSION);
        assert_eq!(Version::OLDEST.to_string(), MIN_API_VERSION);
        check("1.24", Ok(Version::OLDEST));
        check("1.51", Ok(Version::NEWEST));
        check(
            "1.23",
            Err(
                "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n",
            ),
        );
        check("1.99", Err("client version 1.99 is too new. Maximum supported API version is 1.51"));
        check("2", Err("client version 2 is too new. Maximum supported API version is 1.51"));
    }
}
