//! The same decision through the API server's door: what it asks, what it is answered, and who decides.
//! It looks verdicts up and never makes one; a request it cannot judge is refused.

pub mod certificates;
mod gate;
mod metrics;
mod records;
mod review;
mod server;

use std::{collections::BTreeMap, convert::Infallible, fmt};

use serde_json::Value;

pub use gate::Gate;
pub use metrics::Metrics;
pub use records::Records;
pub use review::{AdmissionRequest, GroupVersionKind, GroupVersionResource, Operation, UserInfo};
use review::{LONGEST_WARNING, cut};
pub use server::{Limits, serve};

/// Decides about one request. What is not known is no reason to allow: an implementation fails closed.
///
/// It may wait for one bounded read from the API server when a verdict is missing, and for nothing else: the server
/// gives it less than the time the API server gives us.
pub trait Judge: Send + Sync + 'static {
    /// May this be? The answer's patch is not looked at.
    fn validate(&self, request: &AdmissionRequest) -> impl Future<Output = Answer> + Send;

    /// What has to be changed first? An answer without a patch changes nothing.
    fn mutate(&self, request: &AdmissionRequest) -> impl Future<Output = Answer> + Send;
}

/// No judge: for an operator that serves no admission.
impl Judge for Infallible {
    async fn validate(&self, _: &AdmissionRequest) -> Answer {
        match *self {}
    }

    async fn mutate(&self, _: &AdmissionRequest) -> Answer {
        match *self {}
    }
}

/// Which of the two questions the API server asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// `POST /validate`.
    Validate,
    /// `POST /mutate`.
    Mutate,
}

impl Hook {
    /// The path it is asked at, without the slash, and its metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Mutate => "mutate",
        }
    }

    /// The hook that is asked at this path.
    pub fn at(path: &str) -> Option<Self> {
        [Self::Validate, Self::Mutate]
            .into_iter()
            .find(|hook| path.strip_prefix('/') == Some(hook.name()))
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the API server is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Whether the request may go on.
    pub allowed: bool,
    /// The HTTP status that whoever asked gets when it may not: 403 for a decision, 5xx for what could not be decided.
    pub code: u16,
    /// One sentence: what is wrong and what to do. Not shown when the request is allowed.
    pub message: String,
    /// What `kubectl` shows in any case, one line each; longer ones than 256 bytes are cut.
    pub warnings: Vec<String>,
    /// A JSON patch (RFC 6902), an array of operations; of `mutate` alone.
    pub patch: Option<Value>,
    /// For the audit log. The API server puts the webhook's name before each key.
    pub audit_annotations: BTreeMap<String, String>,
}

impl Answer {
    /// The request may go on as it is.
    pub fn allow() -> Self {
        Self {
            allowed: true,
            code: 200,
            message: String::new(),
            warnings: Vec::new(),
            patch: None,
            audit_annotations: BTreeMap::new(),
        }
    }

    /// It may not. `message` says what is wrong and what to do.
    pub fn deny(code: u16, message: impl Into<String>) -> Self {
        Self {
            allowed: false,
            code,
            message: message.into(),
            ..Self::allow()
        }
    }
}
