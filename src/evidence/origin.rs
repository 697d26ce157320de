//! Where a model comes from: a registry, a volume of its namespace, or whatever its workload brings.
//! A name for policies and people; which content that is, only a digest says.

use std::fmt;

use super::{Digest, Reference};

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A registry.
    Registry(Reference),
    /// A folder on a volume of the model's namespace.
    Volume {
        /// The claim.
        claim: String,
        /// The folder, relative to the volume's root; none: the root.
        path: Option<String>,
    },
    /// What the workload brings to the model's place by itself.
    Mounted,
}

impl Origin {
    /// What policies match with `model.repositories`: `host/repository`, `volume:CLAIM/PATH` (`.` for a volume's root) or
    /// `mounted`. No registry can be called like the last two.
    pub fn name(&self) -> String {
        match self {
            Self::Registry(reference) => reference.name(),
            Self::Volume { .. } | Self::Mounted => self.to_string(),
        }
    }

    /// The reference, if it is from a registry.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            Self::Volume { .. } | Self::Mounted => None,
        }
    }

    /// The digest it names by itself.
    pub fn digest(&self) -> Option<Digest> {
        self.reference().and_then(Reference::digest)
    }
}

impl From<Reference> for Origin {
    fn from(reference: Reference) -> Self {
        Self::Registry(reference)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Volume { claim, path } => {
                write!(f, "volume:{claim}/{}", path.as_deref().unwrap_or("."))
            }
            Self::Mounted => f.write_str("mounted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(Origin::Volume { claim: "models".into(), path: Some("digits/1".into()) } => "volume:models/digits/1")]
    #[test_case(Origin::Volume { claim: "models".into(), path: None } => "volume:models/.")]
    #[test_case(Origin::Mounted => "mounted")]
    #[test_case(Origin::Registry("registry.example/models/digits:1".parse().unwrap()) => "registry.example/models/digits")]
    #[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
    fn names(origin: Origin) -> String {
        origin.name()
    }

    #[test_case("volume:models/digits")]
    #[test_case("volume:models/.:1")]
    #[test_case("mounted")]
    fn no_registry_is_called_so(name: &str) {
        assert!(format!("{name}:1").parse::<Reference>().is_err());
        assert!(name.parse::<Reference>().is_err());
    }
}
