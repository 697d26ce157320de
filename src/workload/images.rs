//! The images that a pod names: which of them by a tag, that may mean another one tomorrow, and which by what they are.
//! Pure; what a tag means is found elsewhere, written down once, and comes in as [`Pins`].

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PodSpec;

use super::VERIFY_CONTAINER;
use crate::{
    api::v1alpha1::ResolvedImage,
    evidence::{Digest, Reference},
};

/// The registry that is meant where an image names none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The same under an older name.
const OLD_DEFAULT_REGISTRY: &str = "index.docker.io";
/// Where images of one word lie there.
const DEFAULT_FOLDER: &str = "library";
/// The tag that is meant where none is written.
const DEFAULT_TAG: &str = "latest";

/// An image as a pod names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// By what it is.
    Pinned {
        /// The tag that stands beside the digest, in full.
        tag: Option<Reference>,
        /// None: by another hash than SHA-256.
        digest: Option<Digest>,
    },
    /// By a tag, in full: the registry and the tag are what the node would take where none is written.
    Tagged(Reference),
    /// As no registry would know it; why, and what to write.
    Odd(String),
}

impl Image {
    /// Reads an image as the node does.
    pub fn read(text: &str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let full = in_full(name);
        let Some(digest) = digest else {
            return match full.parse() {
                Ok(reference) => Self::Tagged(reference),
                Err(_) => Self::Odd(format!(
                    "`{}` is no name of an image: write host/repository:tag or host/repository@sha256:…, in lower case",
                    text.chars().take(200).collect::<String>()
                )),
            };
        };
        let sha256 = digest.parse().ok();
        if sha256.is_none() && !is_other_digest(digest) {
            return Self::Odd(format!(
                "`{}` has no digest behind its @: write sha256: and 64 lower-case hex digits",
                text.chars().take(200).collect::<String>()
            ));
        }
        Self::Pinned {
            tag: full.parse().ok().filter(|_| has_tag(name)),
            digest: sha256,
        }
    }
}

/// A digest by one of the longer hashes: it names content as well as SHA-256 does, and only that is asked here.
fn is_other_digest(text: &str) -> bool {
    [("sha384:", 96), ("sha512:", 128)].iter().any(|(hash, length)| {
        text.strip_prefix(hash).is_some_and(|hex| {
            hex.len() == *length
                && hex
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    })
}

/// Whether a tag is written: a colon in the last part of the path, for one further in front belongs to a port.
fn has_tag(name: &str) -> bool {
    let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
    last.contains(':')
}

/// The name with the registry, the folder and the tag that are meant where they are not written. What is no name stays none.
fn in_full(name: &str) -> String {
    let is_registry = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    let is_default = [DEFAULT_REGISTRY, OLD_DEFAULT_REGISTRY].contains(&registry);
    let registry = if is_default { DEFAULT_REGISTRY } else { registry };
    let folder = if is_default && !path.contains('/') && !path.is_empty() {
        format!("{DEFAULT_FOLDER}/")
    } else {
        String::new()
    };
    let tag = if has_tag(path) || path.is_empty() {
        String::new()
    } else {
        format!(":{DEFAULT_TAG}")
    };
    format!("{registry}/{folder}{path}{tag}")
}

/// Whether both names mean the same content.
pub(super) fn same_image(one: &str, other: &str) -> bool {
    let same_digest = || match (Image::read(one), Image::read(other)) {
        (Image::Pinned { digest: one, .. }, Image::Pinned { digest: other, .. }) => {
            one.is_some() && one == other
        }
        (Image::Tagged(one), Image::Tagged(other)) => one == other,
        _ => false,
    };
    one == other || same_digest()
}

/// Every image of the pod with the field that names it. The verifier is Probity's own, and compared with the plan.
fn named(pod: &PodSpec) -> impl Iterator<Item = (String, &str)> {
    let init = pod
        .init_containers
        .iter()
        .flatten()
        .filter(|one| one.name != VERIFY_CONTAINER)
        .map(|one| ("initContainers", one));
    let containers = init.chain(pod.containers.iter().map(|one| ("containers", one)));
    let containers = containers.map(|(list, one)| {
        (
            format!("spec.{list}[{}].image", one.name),
            one.image.as_deref().unwrap_or_default(),
        )
    });
    let volumes = pod.volumes.iter().flatten().filter_map(|volume| {
        let image = volume.image.as_ref()?;
        Some((
            format!("spec.volumes[{}].image.reference", volume.name),
            image.reference.as_deref().unwrap_or_default(),
        ))
    });
    containers.chain(volumes)
}

/// The images that the pod names by a tag alone, in full.
pub fn tagged(pod: &PodSpec) -> BTreeSet<String> {
    let tagged = named(pod).filter_map(|(_, image)| match Image::read(image) {
        Image::Tagged(reference) => Some(reference.to_string()),
        Image::Pinned { .. } | Image::Odd(_) => None,
    });
    tagged.collect()
}

/// The images that the pod names by a tag, a digest beside it or not, in full.
pub fn tags(pod: &PodSpec) -> BTreeSet<String> {
    let tags = named(pod).filter_map(|(_, image)| match Image::read(image) {
        Image::Tagged(tag) | Image::Pinned { tag: Some(tag), .. } => Some(tag.to_string()),
        Image::Pinned { tag: None, .. } | Image::Odd(_) => None,
    });
    tags.collect()
}

/// The images of the pod that no registry would know.
pub fn odd(pod: &PodSpec) -> Vec<String> {
    let odd = named(pod).filter_map(|(field, image)| match Image::read(image) {
        Image::Odd(problem) => Some(format!("{field}: {problem}")),
        Image::Pinned { .. } | Image::Tagged(_) => None,
    });
    odd.collect()
}

/// What the tags of a workload's images were resolved to, once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pins(BTreeMap<String, ResolvedImage>);

impl FromIterator<ResolvedImage> for Pins {
    fn from_iter<I: IntoIterator<Item = ResolvedImage>>(images: I) -> Self {
        let keyed = images.into_iter().map(|image| (image.image.clone(), image));
        Self(keyed.collect())
    }
}

impl Pins {
    fn of(&self, tag: &Reference) -> Option<&ResolvedImage> {
        self.0.get(&tag.to_string())
    }

    /// The pod with a digest behind every tag of which it is known.
    pub(super) fn pin(&self, pod: &mut PodSpec) {
        if self.0.is_empty() {
            return;
        }
        let containers = pod
            .init_containers
            .iter_mut()
            .flatten()
            .chain(&mut pod.containers)
            .filter_map(|one| one.image.as_mut());
        let volumes = pod
            .volumes
            .iter_mut()
            .flatten()
            .filter_map(|volume| volume.image.as_mut()?.reference.as_mut());
        for image in containers.chain(volumes) {
            if let Image::Tagged(tag) = Image::read(image)
                && let Some(digest) = self.of(&tag).and_then(|known| known.digest)
            {
                *image = format!("{tag}@{digest}");
            }
        }
    }

    /// The images of the pod whose tag is known, and not pinned to what it was resolved to.
    pub(super) fn unpinned(&self, pod: &PodSpec) -> Vec<String> {
        let unpinned = named(pod).filter_map(|(field, image)| {
            let Image::Tagged(tag) = Image::read(image) else {
                return None;
            };
            let digest = self.of(&tag)?.digest?;
            Some(format!(
                "{field}: {image} was resolved to sha256:{}… and is not pinned to it: have the pod made anew, Probity's admission pins it",
                digest.short()
            ))
        });
        unpinned.collect()
    }

    /// The images of the pod that somebody else pinned, where the workload's template leaves them to a tag that was resolved
    /// to another digest: the tag moved, and what it means now is not what was written down.
    pub fn moved(&self, pod: &PodSpec) -> Vec<String> {
        let moved = named(pod).filter_map(|(field, image)| {
            let Image::Pinned { tag: Some(tag), digest } = Image::read(image) else {
                return None;
            };
            let known = self.of(&tag).filter(|known| known.retained != Some(true))?;
            let wanted = known.digest.filter(|wanted| Some(*wanted) != digest)?;
            Some(format!(
                "{field}: {image} is not what {tag} was resolved to, sha256:{}…: to serve another image, name it in the workload's template by its digest, or by another tag",
                wanted.short()
            ))
        });
        moved.collect()
    }

    /// The images of the pod by a tag of which nothing is known.
    pub fn unknown(&self, pod: &PodSpec) -> Vec<String> {
        let unknown = named(pod).filter_map(|(field, image)| match Image::read(image) {
            Image::Pinned { .. } | Image::Odd(_) => None,
            Image::Tagged(tag) => match self.of(&tag) {
                Some(known) if known.digest.is_some() => None,
                Some(known) => Some(format!(
                    "{field}: {image} could not be resolved to a digest, and is tried again: {}",
                    known.message.as_deref().unwrap_or("the registry did not say why")
                )),
                None => Some(format!(
                    "{field}: {image} is not resolved to a digest yet: images of the workload's template are, within a minute; one that something else puts into the pod must be pinned by digest where it is configured"
                )),
            },
        });
        unknown.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;
    use crate::evidence::Reason;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test_case("nginx" => "docker.io/library/nginx:latest"; "one word")]
    #[test_case("nginx:1.27" => "docker.io/library/nginx:1.27"; "one word and a tag")]
    #[test_case("kserve/storage-initializer:v0.15" => "docker.io/kserve/storage-initializer:v0.15"; "a folder is no registry")]
    #[test_case("docker.io/nginx" => "docker.io/library/nginx:latest"; "the default registry by name")]
    #[test_case("index.docker.io/library/nginx:1" => "docker.io/library/nginx:1"; "by its older name")]
    #[test_case("docker.io/a/b:1" => "docker.io/a/b:1"; "with a folder")]
    #[test_case("registry.example/server" => "registry.example/server:latest"; "no tag")]
    #[test_case("registry.example:5000/server" => "registry.example:5000/server:latest"; "a port is no tag")]
    #[test_case("registry:5000/server:1" => "registry:5000/server:1"; "a word with a port is a registry")]
    #[test_case("localhost/server:1" => "localhost/server:1"; "this machine")]
    #[test_case("10.0.0.1:5000/a/b:1" => "10.0.0.1:5000/a/b:1"; "an address")]
    #[test_case("[::1]:5000/server:1" => "[::1]:5000/server:1"; "an address of version 6")]
    #[test_case("[2001:db8::1]/server" => "[2001:db8::1]/server:latest"; "the same without port or tag")]
    #[test_case("registry.example/Server:V1" => "odd"; "upper case in the repository")]
    #[test_case("Registry.example/server:1" => "odd"; "upper case in the host")]
    #[test_case("NGINX" => "odd"; "upper case in a word")]
    #[test_case("registry.example/server:V1" => "registry.example/server:V1"; "upper case in the tag")]
    #[test_case("" => "odd"; "nothing")]
    #[test_case("/" => "odd"; "a slash")]
    #[test_case("docker.io/" => "odd"; "a registry and nothing in it")]
    #[test_case("registry.example/server:" => "odd"; "an empty tag")]
    #[test_case(":1" => "odd"; "only a tag")]
    #[test_case(" nginx" => "odd"; "a space")]
    #[test_case("registry.example/a/../b:1" => "odd"; "climbing")]
    #[test_case("https://registry.example/server:1" => "odd"; "a URL")]
    #[test_case("nginx@sha256:12" => "odd"; "half a digest")]
    #[test_case("nginx@" => "odd"; "no digest")]
    #[test_case("nginx:1@latest" => "odd"; "two tags")]
    fn reads(text: &str) -> String {
        match Image::read(text) {
            Image::Tagged(reference) => reference.to_string(),
            Image::Odd(problem) => {
                assert!(problem.contains('`') && problem.contains(": write "), "{problem}");
                "odd".into()
            }
            Image::Pinned { .. } => "pinned".into(),
        }
    }

    #[test_case("nginx@sha256:", HEX => (true, None); "without a tag")]
    #[test_case("nginx:1@sha256:", HEX => (true, Some("docker.io/library/nginx:1".into())); "with a tag")]
    #[test_case("[::1]:5000/a@sha256:", HEX => (true, None); "a port is no tag")]
    #[test_case("a/b@sha384:", &HEX[..48] => (false, None); "another hash, cut short" )]
    #[test_case("a/b@sha384:", &HEX[..32] => (false, None); "another hash, shorter")]
    fn pinned(name: &str, hex: &str) -> (bool, Option<String>) {
        match Image::read(&format!("{name}{hex}")) {
            Image::Pinned { tag, digest } => (digest.is_some(), tag.map(|tag| tag.to_string())),
            Image::Odd(_) => (false, None),
            Image::Tagged(_) => panic!("it has a digest"),
        }
    }

    #[test]
    fn a_longer_hash_pins_as_well() {
        let longer = format!("nginx@sha512:{HEX}{HEX}");
        assert_eq!(
            Image::read(&longer),
            Image::Pinned {
                tag: None,
                digest: None
            }
        );
        assert!(!same_image(&longer, &format!("nginx@sha512:{}", "0".repeat(128))));
    }

    #[test_case("nginx", "docker.io/library/nginx:latest" => true; "two spellings of a tag")]
    #[test_case("nginx:1", "nginx:2" => false; "two tags")]
    #[test_case("NGINX", "NGINX" => true; "the same text")]
    #[test_case("NGINX", "MGINX" => false; "two texts that name nothing")]
    fn means_the_same(one: &str, other: &str) -> bool {
        same_image(one, other)
    }

    #[test]
    fn one_content_is_one_image_wherever_it_lies() {
        let (one, other) = (
            format!("a.example/x:1@sha256:{HEX}"),
            format!("b.example/y@sha256:{HEX}"),
        );
        assert!(same_image(&one, &other));
    }

    fn pod() -> PodSpec {
        serde_json::from_value(json!({
            "initContainers": [
                {"name": "prepare", "image": "prepare"},
                {"name": "pinned", "image": format!("registry.example/pinned:1@sha256:{HEX}")}
            ],
            "containers": [
                {"name": "server", "image": "registry.example/server:1"},
                {"name": "nameless"},
                {"name": "failed", "image": "registry.example/failed:1"}
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "data", "image": {"reference": "registry.example/data:1"}}
            ]
        }))
        .unwrap()
    }

    fn known(image: &str, n: u8) -> ResolvedImage {
        ResolvedImage {
            image: image.into(),
            digest: Some(Digest::from_bytes([n; 32])),
            reason: None,
            message: None,
            retained: None,
        }
    }

    fn pins() -> Pins {
        let failed = ResolvedImage {
            digest: None,
            reason: Some(Reason::NotFound),
            message: Some("push it".into()),
            ..known("registry.example/failed:1", 0)
        };
        Pins::from_iter([
            known("registry.example/server:1", 1),
            known("registry.example/data:1", 2),
            failed,
        ])
    }

    #[test]
    fn what_is_known_is_pinned_and_nothing_else_is_touched() {
        let mut once = pod();
        pins().pin(&mut once);
        let mut wanted = serde_json::to_value(pod()).unwrap();
        wanted["containers"][0]["image"] = json!(format!(
            "registry.example/server:1@{}",
            Digest::from_bytes([1; 32])
        ));
        wanted["volumes"][1]["image"]["reference"] =
            json!(format!("registry.example/data:1@{}", Digest::from_bytes([2; 32])));
        assert_eq!(serde_json::to_value(&once).unwrap(), wanted);
        let mut twice = once.clone();
        pins().pin(&mut twice);
        assert_eq!(twice, once);
        assert_eq!(pins().unpinned(&pod()).len(), 2);
        assert_eq!(pins().unpinned(&once), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_known_is_said_with_its_field_and_why() {
        let unknown = pins().unknown(&pod());
        let starts: Vec<&str> = unknown
            .iter()
            .map(|problem| problem.split(": ").next().unwrap())
            .collect();
        assert_eq!(
            starts,
            [
                "spec.initContainers[prepare].image",
                "spec.containers[failed].image"
            ]
        );
        assert_eq!(odd(&pod()).len(), 1);
        assert!(odd(&pod())[0].starts_with("spec.containers[nameless].image: "));
        assert!(
            unknown[0].contains("pinned by digest where it is configured"),
            "{unknown:?}"
        );
        assert!(unknown[1].ends_with("push it"), "{unknown:?}");
    }

    #[test]
    fn what_another_pinned_must_be_what_was_resolved() {
        let with = |digest: Digest| {
            let mut pod = pod();
            pod.containers[0].image = Some(format!("registry.example/server:1@{digest}"));
            pod
        };
        assert_eq!(
            pins().moved(&with(Digest::from_bytes([1; 32]))),
            Vec::<String>::new()
        );
        let moved = pins().moved(&with(Digest::from_bytes([9; 32])));
        assert_eq!(moved.len(), 1);
        assert!(
            moved[0].starts_with("spec.containers[server].image: "),
            "{moved:?}"
        );
        // The template names it no more: it may well pin the same tag to something newer.
        let retained = ResolvedImage {
            retained: Some(true),
            ..known("registry.example/server:1", 1)
        };
        let pins = Pins::from_iter([retained]);
        assert_eq!(
            pins.moved(&with(Digest::from_bytes([9; 32]))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_pod_names_tags_with_and_without_a_digest() {
        let alone: Vec<_> = tagged(&pod()).into_iter().collect();
        assert_eq!(
            alone,
            [
                "docker.io/library/prepare:latest",
                "registry.example/data:1",
                "registry.example/failed:1",
                "registry.example/server:1"
            ]
        );
        assert!(tags(&pod()).contains("registry.example/pinned:1"));
        assert_eq!(tags(&pod()).len(), 5);
    }
}
