//! Which image of an index suits a platform. Pure.

use ferry_oci::manifest::{Descriptor, Index};
use ferry_oci::platform::Platform;

/// What an index has for a platform.
#[derive(Clone, Debug, PartialEq)]
pub enum Chosen<'a> {
    /// The member that suits best.
    Manifest(&'a Descriptor),
    /// Nothing.
    NoMatch {
        /// What it has images for, in the order of the index.
        offered: Vec<Platform>,
    },
}

/// The member of an index that suits a platform best; among equals the first. A member without a
/// platform may be for any, and suits least. Attestations are no images.
pub fn choose<'a>(index: &'a Index, want: &Platform) -> Chosen<'a> {
    match candidates(index, want).first() {
        Some(best) => Chosen::Manifest(best),
        None => {
            let offered = images(index).filter_map(|member| member.platform.clone());
            Chosen::NoMatch { offered: offered.collect() }
        }
    }
}

/// The members that suit a platform, the best first.
pub(crate) fn candidates<'a>(index: &'a Index, want: &Platform) -> Vec<&'a Descriptor> {
    let wants = with_lesser(want);
    let rank = |member: &Descriptor| -> Option<(usize, u32)> {
        let Some(platform) = stated(member) else { return Some((wants.len(), 0)) };
        wants.iter().enumerate().find_map(|(lesser, want)| {
            // The first is the best, so that what is left of perfection is what is sorted by.
            platform.suitability(want).map(|suits| (lesser, u32::MAX - suits))
        })
    };
    let mut ranked: Vec<_> =
        images(index).filter_map(|member| Some((rank(member)?, member))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, member)| member).collect()
}

fn images(index: &Index) -> impl Iterator<Item = &Descriptor> {
    let known = |member: &&Descriptor| {
        member.is_manifest() || member.is_index() || member.media_type.is_empty()
    };
    index.manifests.iter().filter(|member| !member.is_attestation()).filter(known)
}

fn stated(member: &Descriptor) -> Option<&Platform> {
    // Compat: an empty platform is none.
    let is_empty = |p: &Platform| p.os.is_empty() && p.architecture.is_empty();
    member.platform.as_ref().filter(|platform| !is_empty(platform))
}

/// A platform, and those whose programs its processors run too, as containerd orders them.
fn with_lesser(want: &Platform) -> Vec<Platform> {
    let want = want.clone().normalized();
    let lesser = |architecture: &str, variant: &str| Platform {
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        ..want.clone()
    };
    let more = match want.architecture.as_str() {
        "amd64" => Some(lesser("386", "")),
        "arm64" => Some(lesser("arm", "v8")),
        _ => None,
    };
    std::iter::once(want.clone()).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use ferry_oci::digest::Digest;
    use ferry_oci::manifest::media_type;

    use super::*;

    /// An index of these platforms; `-` is none, `!` an attestation, `[...]` a nested index.
    fn index(members: &str) -> Index {
        let members = members.split_ascii_whitespace().map(|text| {
            let platform = text.trim_matches(['[', ']']);
            let media =
                if platform == text { media_type::OCI_MANIFEST } else { media_type::OCI_INDEX };
            let mut member = Descriptor::new(media, Digest::sha256_of(text.as_bytes()), 1);
            member.platform = match platform {
                "-" => None,
                "!" => Some(Platform {
                    os: "unknown".into(),
                    architecture: "unknown".into(),
                    ..Platform::default()
                }),
                text => {
                    let mut parts = text.split('/').map(str::to_owned);
                    let mut part = || parts.next().unwrap_or_default();
                    let (os, architecture, variant) = (part(), part(), part());
                    Some(Platform { os, architecture, variant, ..Platform::default() })
                }
            };
            member
        });
        Index {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            manifests: members.collect(),
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        }
    }

    #[track_caller]
    fn check(members: &str, want: &str, expect: &str) {
        let index = index(members);
        let found = choose(&index, &want.parse().unwrap());
        match found {
            Chosen::Manifest(member) => {
                assert_eq!(member.digest, Digest::sha256_of(expect.as_bytes()), "not {expect}");
            }
            Chosen::NoMatch { .. } => assert_eq!(expect, "", "nothing found"),
        }
    }

    #[test]
    fn the_best_image_for_a_platform_is_chosen() {
        check("linux/arm64 linux/amd64", "linux/amd64", "linux/amd64");
        check("linux/arm64/v8 linux/amd64", "linux/arm64", "linux/arm64/v8");
        check("linux/s390x linux/ppc64le", "linux/amd64", "");
        check("windows/amd64", "linux/amd64", "");
        check("", "linux/amd64", "");
        let arms = "linux/arm/v5 linux/arm/v6 linux/arm/v7 linux/arm64/v8";
        check(arms, "linux/arm/v7", "linux/arm/v7");
        check(arms, "linux/arm/v6", "linux/arm/v6");
        check("linux/arm/v5 linux/arm/v6", "linux/arm/v7", "linux/arm/v6");
        check("linux/arm/v7", "linux/arm/v6", "");
        check(arms, "linux/arm64", "linux/arm64/v8");
    }

    #[test]
    fn older_processors_are_better_than_nothing() {
        check("linux/386", "linux/amd64", "linux/386");
        check("linux/386 linux/amd64", "linux/amd64", "linux/amd64");
        check("linux/amd64", "linux/386", "");
        check("linux/arm/v6 linux/arm/v7", "linux/arm64", "linux/arm/v7");
    }

    #[test]
    fn among_equals_the_first_is_chosen() {
        let mut index = index("linux/amd64 linux/amd64 -");
        index.manifests[1].digest = Digest::sha256_of(b"second");
        let found = candidates(&index, &"linux/amd64".parse().unwrap());
        let digests: Vec<_> = found.iter().map(|member| member.digest.clone()).collect();
        assert_eq!(
            digests,
            ["linux/amd64", "second", "-"].map(|t| Digest::sha256_of(t.as_bytes()))
        );
    }

    #[test]
    fn what_says_no_platform_may_be_for_any() {
        check("-", "linux/amd64", "-");
        check("- linux/amd64", "linux/amd64", "linux/amd64");
        check("linux/s390x [-]", "linux/amd64", "[-]");
        check("- linux/386", "linux/amd64", "linux/386");
    }

    #[test]
    fn attestations_are_no_images() {
        check("! linux/s390x", "linux/amd64", "");
        let index = index("! linux/s390x windows/amd64");
        let Chosen::NoMatch { offered } = choose(&index, &"linux/amd64".parse().unwrap()) else {
            panic!("nothing fits")
        };
        let offered: Vec<String> = offered.iter().map(ToString::to_string).collect();
        assert_eq!(offered, ["linux/s390x", "windows/amd64"]);
    }
}
