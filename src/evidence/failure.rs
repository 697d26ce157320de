//! Why something about an artifact could not be shown, as stable codes that people and alerts match on.
//! Codes only: the sentence that goes with one is written where the failure is found.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of failure a [`Reason`] is. It decides the exit code, and that only [`Class::Transient`] is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The content is what was signed, but policy does not accept it.
    Policy,
    /// The content is not what was signed.
    Integrity,
    /// An input is not well-formed.
    Malformed,
    /// An input is well-formed but of a kind this version does not read.
    Unsupported,
    /// The trust material itself is missing, broken or revoked.
    Trust,
    /// Something could not be reached; trying again may help.
    Transient,
    /// A defect of ours.
    Internal,
}

impl Class {
    /// The exit code of the command line for this class.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Policy => 10,
            Self::Integrity => 20,
            Self::Malformed => 30,
            Self::Unsupported => 40,
            Self::Trust => 50,
            Self::Transient => 60,
            Self::Internal => 70,
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident: $class:ident,)*) => {
        /// Why an artifact is refused, or not known yet. The string is API: conditions, Events, metrics and the
        /// command line use the same one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[schemars(inline)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason there is, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The class of this reason.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// The stable code, in `PascalCase`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

reasons! {
    /// The artifact carries no signature.
    Unsigned: Policy,
    /// The signature was made by none of the accepted signers, or by too few of them.
    SignerMismatch: Policy,
    /// The artifact lies in a repository the policy does not allow.
    RepositoryNotAllowed: Policy,
    /// The model declares egress that the policy's ceiling does not allow.
    EgressAboveCeiling: Policy,
    /// No policy selects the namespace.
    NoPolicy: Policy,
    /// The account of a model would hold, or holds, more rights than the policy's ceiling; the message names the chain.
    RightsExceeded: Policy,
    /// A network policy of somebody else's opens what a policy wants closed around models; the message names the fields.
    NetworkOpened: Policy,
    /// The model was measured, and does not withstand what policy asks for.
    NotRobust: Policy,
    /// Policy asks for measurements, and nobody can make them of this model.
    NotMeasurable: Policy,
    /// The policy itself cannot be applied; its status says why.
    PolicyInvalid: Policy,

    /// No model answers for the pod, and policy wants one.
    UnmanagedPod: Policy,
    /// The pod says it belongs to a model or a controller that did not make it.
    ForgedOwner: Policy,
    /// The pod of a model differs from the planned one; the message names the fields.
    PodNotAsPlanned: Policy,
    /// The pod, or the server of the model, has more rights or fewer limits than policy allows; the message names every field.
    NotHardened: Policy,
    /// The pod asks for no RuntimeClass that policy allows.
    RuntimeClassNotAllowed: Policy,
    /// A change to a running pod that would replace what was judged.
    PodChanged: Policy,

    /// A file differs from what was signed, or bytes differ from their digest.
    DigestMismatch: Integrity,
    /// The signature does not verify under the key it names.
    SignatureInvalid: Integrity,
    /// A signed file is not in the artifact.
    MissingFile: Integrity,
    /// The artifact has a file that was not signed.
    UnsignedFile: Integrity,
    /// The digest the signature states over its files is not the one its files give.
    RootDigestMismatch: Integrity,
    /// A file changed while it was read.
    ChangedDuringVerify: Integrity,
    /// A link, device, socket or pipe where only regular files may be.
    NotARegularFile: Integrity,

    /// The signature file is not a well-formed Sigstore bundle.
    MalformedBundle: Malformed,
    /// The signed statement is not a well-formed OMS statement.
    MalformedStatement: Malformed,
    /// A file name that is absolute, climbs out, repeats, collides or is not canonical.
    MalformedPath: Malformed,
    /// The manifest is not well-formed.
    MalformedManifest: Malformed,
    /// A reference or digest that cannot be parsed.
    MalformedReference: Malformed,
    /// A field of the object makes no sense; the message names it.
    SpecInvalid: Malformed,
    /// The pull secret is not of type `kubernetes.io/dockerconfigjson`, or its content is not.
    MalformedCredentials: Malformed,
    /// More bytes, files, layers or depth than allowed.
    LimitExceeded: Malformed,

    /// The artifact is no model this version reads.
    NotAModel: Unsupported,
    /// A media type this version does not read.
    UnsupportedMediaType: Unsupported,
    /// A signing method, hash or curve this version does not verify.
    UnsupportedAlgorithm: Unsupported,
    /// A statement or serialization method this version does not verify.
    UnsupportedMethod: Unsupported,

    /// The trust root a signer names does not exist.
    TrustRootMissing: Trust,
    /// The trust root exists but a key in it cannot be used.
    TrustRootInvalid: Trust,
    /// The digest was revoked.
    Revoked: Trust,

    /// The registry cannot be reached or answers with a server error.
    RegistryUnavailable: Transient,
    /// The registry asks to come back later (429).
    RateLimited: Transient,
    /// The registry did not answer in time.
    Timeout: Transient,
    /// The registry refuses the credentials (401, 403). Tried again, because secrets are fixed without telling us.
    RegistryDenied: Transient,
    /// The registry does not have it (404). Tried again, because it may be pushed later.
    NotFound: Transient,
    /// A run of measurements came to no numbers. Another run may.
    EvaluationFailed: Transient,
    /// The pull secret does not exist or cannot be read.
    CredentialsMissing: Transient,
    /// The registry, token realm or redirect target is not on the operator's allow-list.
    HostNotAllowed: Policy,
    /// The operator has not read yet what the answer rests on. Whoever asked tries again.
    NotReadYet: Transient,
    /// An image by tag in the pod of an adopted workload is not resolved to a digest. Whoever asked tries again.
    NotYetResolved: Transient,
    /// The check needs a registry and `--offline` forbids asking one.
    Offline: Transient,
    /// Reading or writing a file failed.
    Io: Transient,
    /// A defect of ours; please report it.
    Internal: Internal,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failure: a stable code and one sentence that says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The stable code.
    pub reason: Reason,
    /// One sentence: what is wrong and what to do about it.
    #[schemars(length(max = 1024))]
    pub message: String,
}

impl Failure {
    /// A failure with this code and sentence. Sentences are cut at 1000 characters: input may be quoted in them.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(1000) {
            message.truncate(end);
            message.push('…');
        }
        Self { reason, message }
    }

    /// Whether trying the same thing again may help.
    pub fn is_transient(&self) -> bool {
        self.reason.class() == Class::Transient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_serialized_form() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn quoted_input_cannot_grow_a_message_without_bound() {
        let failure = Failure::new(Reason::MalformedPath, "é".repeat(5000));
        assert_eq!(failure.message.chars().count(), 1001);
    }
}
