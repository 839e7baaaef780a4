//! One index out of images and indexes that there are, as `docker buildx imagetools create` makes
//! it: the same sources give the same bytes. Pure.

mod listing;

use std::collections::{BTreeMap, HashMap, HashSet};

use ferry_oci::manifest::{Descriptor, media_type};
use ferry_oci::platform::Platform;

use self::listing::{Listing, Member, go_json};
use super::AssembleError;
use crate::registry::RawManifest;

/// BuildKit's annotation: what a manifest in an index is, when it is no image.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// BuildKit's annotation: the manifest that another one in the index is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ATTESTATION: &str = "attestation-manifest";

/// A manifest or an index that becomes part of a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct CombineSource {
    /// How the new index is to list it; of an image with its platform.
    pub descriptor: Descriptor,
    /// The document.
    pub raw: RawManifest,
}

/// Where an annotation of a new index goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnotationPlace {
    /// To the index.
    Index,
    /// To what the index says of its members: of those for one platform, or of all.
    Members(Option<Platform>),
}

/// An annotation for a new index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexAnnotation {
    /// Where it goes.
    pub place: AnnotationPlace,
    /// Its name.
    pub key: String,
    /// Its text.
    pub value: String,
}

/// What is made of the sources besides putting them together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CombinePlan {
    /// Annotations of an OCI index; Docker's kind has no place for them.
    pub annotations: Vec<IndexAnnotation>,
    /// Whether a single image is left as it is, rather than listed by an index.
    pub keeps_single: bool,
    /// If there are any, only images for these platforms are taken, with their attestations.
    pub platforms: Vec<Platform>,
}

/// A new index, or the single document that needed no other.
#[derive(Clone, Debug, PartialEq)]
pub struct Combined {
    /// The document.
    pub raw: RawManifest,
    /// What must be in its repository before it, each with the number of its source.
    pub parts: Vec<(Descriptor, usize)>,
    /// Digests of an algorithm that is not known, each with the number of its source: these must be
    /// in the repository already, for nobody can tell whether a copy would be right.
    pub unknown: Vec<(String, usize)>,
    /// Whether annotations were asked for, and the document is of Docker's kind.
    pub lost_annotations: bool,
}

/// Puts sources together. Members of indexes become members; what is there twice is listed once.
///
/// # Errors
/// When there is nothing to list, a source is malformed, or is not for a wanted platform.
pub fn combine(sources: &[CombineSource], plan: &CombinePlan) -> Result<Combined, AssembleError> {
    if let ([source], true) = (sources, plan.annotations.is_empty())
        && (source.descriptor.is_index() || plan.keeps_single)
    {
        return copy_of(source, plan);
    }
    let mut list = List::default();
    for (number, source) in sources.iter().enumerate() {
        if source.descriptor.is_index() {
            for member in Listing::parse(&source.raw)?.manifests {
                list.add(member, number);
            }
        } else {
            list.add(source.descriptor.clone().into(), number);
        }
    }
    let mut members = list.members;
    let is_docker = |member: &Member| member.media_type.starts_with("application/vnd.docker.");
    let is_docker = members.iter().all(is_docker);
    let media = if is_docker { media_type::DOCKER_LIST } else { media_type::OCI_INDEX };
    let mut annotations = BTreeMap::new();
    if !is_docker {
        for annotation in &plan.annotations {
            annotate(annotation, &mut members, &mut annotations);
        }
    }
    let index = Listing {
        schema_version: 2,
        media_type: Some(media.to_owned()),
        artifact_type: None,
        manifests: members,
        subject: None,
        annotations,
    };
    let raw = RawManifest::new(media, go_json(&index));
    let mut combined = filtered(raw, index, &|digest| list.sources.get(digest).copied(), plan)?;
    combined.lost_annotations = is_docker && !plan.annotations.is_empty();
    Ok(combined)
}

/// A single source, which stays as it is unless platforms are chosen of it.
fn copy_of(source: &CombineSource, plan: &CombinePlan) -> Result<Combined, AssembleError> {
    let descriptor = &source.descriptor;
    if descriptor.is_index() {
        let index = Listing::parse(&source.raw)?;
        return filtered(source.raw.clone(), index, &|_digest| Some(0), plan);
    }
    if !is_wanted(descriptor.platform.as_ref(), &plan.platforms) {
        let platform = descriptor.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(AssembleError::OtherPlatform(platform));
    }
    let parts = vec![(descriptor.clone(), 0)];
    let (raw, unknown) = (source.raw.clone(), Vec::new());
    Ok(Combined { raw, parts, unknown, lost_annotations: false })
}

/// Members in their order, and the source of each.
#[derive(Default)]
struct List {
    members: Vec<Member>,
    at: HashMap<String, usize>,
    sources: HashMap<String, usize>,
}

impl List {
    fn add(&mut self, new: Member, source: usize) {
        self.sources.insert(new.digest.clone(), source);
        let Some(&at) = self.at.get(&new.digest) else {
            self.at.insert(new.digest.clone(), self.members.len());
            self.members.push(new);
            return;
        };
        let old = &mut self.members[at];
        if old.media_type.is_empty() {
            old.media_type = new.media_type;
        }
        if new.platform.is_some() {
            old.platform = new.platform;
        }
        old.annotations.extend(new.annotations);
    }
}

fn annotate(
    annotation: &IndexAnnotation,
    members: &mut [Member],
    own: &mut BTreeMap<String, String>,
) {
    let (key, value) = (annotation.key.clone(), annotation.value.clone());
    match &annotation.place {
        AnnotationPlace::Index => drop(own.insert(key, value)),
        AnnotationPlace::Members(wanted) => {
            let wanted = wanted.as_ref().map(ToString::to_string);
            for member in members {
                let platform = member.platform.as_ref().map(ToString::to_string);
                if wanted.is_none() || wanted == platform {
                    member.annotations.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

/// Keeps the members for the wanted platforms. An index that keeps all stays as it is.
fn filtered(
    raw: RawManifest,
    mut index: Listing,
    source: &dyn Fn(&str) -> Option<usize>,
    plan: &CombinePlan,
) -> Result<Combined, AssembleError> {
    let count = index.manifests.len();
    let by_digest: HashMap<&String, &Member> =
        index.manifests.iter().map(|member| (&member.digest, member)).collect();
    let is_wanted = |member: &Member| is_wanted(member.platform.as_ref(), &plan.platforms);
    let is_about_wanted = |member: &Member| {
        let about = member.annotations.get(REFERENCE_DIGEST);
        member.annotations.get(REFERENCE_TYPE).is_some_and(|kind| kind == ATTESTATION)
            && about.and_then(|about| by_digest.get(about)).is_some_and(|about| is_wanted(about))
    };
    // Compat: what says the same of several images is one member, listed once for each.
    let attestations: HashSet<String> = index
        .manifests
        .iter()
        .filter(|member| is_about_wanted(member))
        .map(|member| member.digest.clone())
        .collect();
    let mut members = index.manifests.clone();
    members.retain(|member| attestations.contains(&member.digest) || is_wanted(member));
    if members.is_empty() {
        return Err(AssembleError::NoPlatform);
    }
    let (mut parts, mut unknown) = (Vec::new(), Vec::new());
    for member in &members {
        let source = source(&member.digest).unwrap_or(0);
        match member.descriptor() {
            Some(descriptor) => parts.push((descriptor, source)),
            None => unknown.push((member.digest.clone(), source)),
        }
    }
    let raw = if members.len() == count {
        raw
    } else {
        index.manifests = members;
        RawManifest::new(raw.media_type, go_json(&index))
    };
    Ok(Combined { raw, parts, unknown, lost_annotations: false })
}

/// Whether a member is for one of the platforms; one that does not say may be for any.
fn is_wanted(platform: Option<&Platform>, platforms: &[Platform]) -> bool {
    let Some(platform) = platform else { return true };
    let platform = platform.clone().normalized();
    platforms.is_empty()
        || platforms.iter().any(|wanted| {
            let wanted = wanted.clone().normalized();
            (&wanted.os, &wanted.architecture, &wanted.variant)
                == (&platform.os, &platform.architecture, &platform.variant)
        })
}

#[cfg(test)]
mod tests {
    use ferry_oci::digest::Digest;
    use ferry_oci::manifest::Index;

    use super::*;

    fn source(media: &str, platform: &str, text: &str) -> CombineSource {
        let raw = RawManifest::new(media, text.to_owned());
        let platform: Platform = platform.parse().unwrap();
        CombineSource {
            descriptor: Descriptor { platform: Some(platform), ..raw.descriptor() },
            raw,
        }
    }

    fn text(combined: &Combined) -> &str {
        std::str::from_utf8(&combined.raw.bytes).unwrap()
    }

    #[test]
    fn an_index_is_buildx_s_to_the_byte() {
        let sources = [source(media_type::OCI_MANIFEST, "linux/arm/v7", "x")];
        let note = |place, key: &str, value: &str| IndexAnnotation {
            place,
            key: key.into(),
            value: value.into(),
        };
        let annotations = vec![
            note(AnnotationPlace::Index, "a", "<b>&c"),
            note(AnnotationPlace::Members(Some("linux/arm/v7".parse().unwrap())), "q", "r"),
            note(AnnotationPlace::Members(Some("linux/amd64".parse().unwrap())), "not", "here"),
        ];
        let plan = CombinePlan { annotations, ..CombinePlan::default() };
        let combined = combine(&sources, &plan).unwrap();
        let expect = r#"{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [
    {
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "digest": "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
      "size": 1,
      "annotations": {
        "q": "r"
      },
      "platform": {
        "architecture": "arm",
        "os": "linux",
        "variant": "v7"
      }
    }
  ],
  "annotations": {
    "a": "\u003cb\u003e\u0026c"
  }
}"#;
        assert_eq!(text(&combined), expect);
        assert!(!combined.lost_annotations);
    }

    #[test]
    fn members_of_indexes_become_members() {
        let docker =
            |platform: &str, text: &str| source(media_type::DOCKER_MANIFEST, platform, text);
        let first = combine(
            &[docker("linux/amd64", "a"), docker("linux/s390x", "b")],
            &CombinePlan::default(),
        )
        .unwrap();
        assert_eq!(first.raw.media_type, media_type::DOCKER_LIST);
        let index = CombineSource { descriptor: first.raw.descriptor(), raw: first.raw.clone() };
        let both = [index.clone(), docker("linux/amd64", "a"), docker("linux/386", "c")];
        let combined = combine(&both, &CombinePlan::default()).unwrap();
        let members = Index::parse(&combined.raw.bytes).unwrap().manifests;
        assert_eq!(members.len(), 3, "what is there twice is listed once");
        let of: Vec<usize> = combined.parts.iter().map(|(_, source)| *source).collect();
        assert_eq!(of, [1, 0, 2]);
        // A single index stays byte for byte.
        let copy = combine(&[index], &CombinePlan::default()).unwrap();
        assert_eq!(copy.raw, first.raw);
        assert_eq!(copy.parts.len(), 2);
    }

    #[test]
    fn a_single_image_is_listed_unless_it_is_to_be_kept() {
        let image = [source(media_type::OCI_MANIFEST, "linux/amd64", "x")];
        let keep = CombinePlan { keeps_single: true, ..CombinePlan::default() };
        assert_eq!(combine(&image, &keep).unwrap().raw, image[0].raw);
        assert!(combine(&image, &CombinePlan::default()).unwrap().raw.descriptor().is_index());
        let other = CombinePlan { platforms: vec!["linux/s390x".parse().unwrap()], ..keep };
        let refused = combine(&image, &other).unwrap_err();
        assert_eq!(refused, AssembleError::OtherPlatform("linux/amd64".into()));
    }

    #[test]
    fn platforms_are_chosen_with_their_attestations() {
        let image = |platform: &str| source(media_type::OCI_MANIFEST, platform, platform);
        let about = |image: &CombineSource| {
            let mut source = source(media_type::OCI_MANIFEST, "unknown/unknown", "about");
            source.raw = RawManifest::new(
                media_type::OCI_MANIFEST,
                format!("about {}", image.descriptor.digest),
            );
            let platform = source.descriptor.platform.clone();
            let annotations = BTreeMap::from([
                (REFERENCE_TYPE.to_owned(), ATTESTATION.to_owned()),
                (REFERENCE_DIGEST.to_owned(), image.descriptor.digest.to_string()),
            ]);
            source.descriptor = Descriptor { platform, annotations, ..source.raw.descriptor() };
            source
        };
        let (amd64, arm64) = (image("linux/amd64"), image("linux/arm64"));
        let all = [amd64.clone(), arm64.clone(), about(&amd64), about(&arm64)];
        let chosen = |platform: &str| {
            let platforms = vec![platform.parse().unwrap()];
            combine(&all, &CombinePlan { platforms, ..CombinePlan::default() })
        };
        let combined = chosen("linux/arm64/v8").unwrap();
        let members = Index::parse(&combined.raw.bytes).unwrap().manifests;
        let digests: Vec<&Digest> = members.iter().map(|member| &member.digest).collect();
        assert_eq!(digests, [&arm64.descriptor.digest, &all[3].descriptor.digest]);
        assert_eq!(chosen("linux/s390x").unwrap_err(), AssembleError::NoPlatform);
    }

    #[test]
    fn a_list_of_docker_s_has_no_annotations() {
        let image = [source(media_type::DOCKER_MANIFEST, "linux/amd64", "x")];
        let annotation =
            IndexAnnotation { place: AnnotationPlace::Index, key: "a".into(), value: "b".into() };
        let plan = CombinePlan { annotations: vec![annotation], ..CombinePlan::default() };
        let combined = combine(&image, &plan).unwrap();
        assert!(combined.lost_annotations && !text(&combined).contains("annotations"));
    }

    #[test]
    fn what_is_not_understood_stays_as_it_is() {
        let (known, unknown) = (Digest::sha256_of(b"x"), "blake3:af1349b9");
        let document = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"m","digest":"{unknown}","size":3,"platform":{{"os":"linux","architecture":"arm"}}}},
            {{"mediaType":"m","digest":"{known}","size":1,"data":"eA==","platform":{{"os":"linux","architecture":"386"}}}}]}}"#
        );
        let raw = RawManifest::new(media_type::OCI_INDEX, document);
        let index = CombineSource { descriptor: raw.descriptor(), raw };
        let both = [index.clone(), source(media_type::OCI_MANIFEST, "linux/amd64", "y")];
        let combined = combine(&both, &CombinePlan::default()).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&combined.raw.bytes).unwrap();
        assert_eq!(written["manifests"].as_array().unwrap().len(), 3);
        assert_eq!(written["manifests"][0]["digest"], unknown);
        assert_eq!(written["manifests"][1]["data"], "eA==");
        assert_eq!(combined.unknown, [(unknown.to_owned(), 0)]);
        assert_eq!(combined.parts.iter().map(|(_, source)| *source).collect::<Vec<_>>(), [0, 1]);
        // Chosen by platform it is no less.
        let platforms = vec!["linux/arm".parse().unwrap()];
        let chosen = combine(&[index], &CombinePlan { platforms, ..CombinePlan::default() });
        let chosen = chosen.unwrap();
        assert!(text(&chosen).contains(unknown) && chosen.parts.is_empty());
    }
}
