//! What a model is attacked with, and what numbers must come of it: the words that policies and evaluations share.
//! Shapes only; what a number means is documented with what computes it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::evidence::{Decimal, Digest, Effect};

/// The least that must have been measured of a model before it serves, whoever had it measured.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RobustnessRequirements {
    /// What happens when something in this section does not hold. Left out: what the policy's own `effect` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::value::<Effect>")]
    pub effect: Option<Effect>,
    /// What must have been shown, each entry by a run of an `Evaluation` on the very content that is to serve. A run that is weaker than an
    /// entry asks for does not count for it, and one that shows the opposite is never made good by another run.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub require: Vec<RobustnessFloor>,
}

/// One thing that must have been shown.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RobustnessFloor {
    /// What findings call it.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::local_name())]
    pub name: String,
    /// The attack: `Square`.
    pub attack: AttackKind,
    /// How the size of a change to an input is measured: `Linf`, the largest change of any of its values.
    pub norm: Norm,
    /// The attacker may change inputs by at least so much, in the units of the inputs before any normalisation.
    #[x_kube(validation = rules::positive())]
    pub min_epsilon: Decimal,
    /// The attacker may ask the model at least so often about each sample.
    #[schemars(range(min = 1, max = 100_000))]
    pub min_queries: u32,
    /// At least so many samples were measured.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_samples: u32,
    /// The data set, by the digest of its artifact: whoever could choose another could choose an easy one.
    pub dataset: Digest,
    /// The robust accuracy, the share of all samples that stay right under attack, is shown to be at least this: the lower end
    /// of its confidence interval is.
    #[x_kube(validation = rules::share())]
    pub lower: Decimal,
    /// How old the run may be, in seconds. Left out: any age.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub max_age_seconds: Option<u32>,
}

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum AttackKind {
    /// Random search with squares, by scores alone (Andriushchenko et al. 2020).
    Square,
}

/// How the size of a change to an input is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Norm {
    /// The largest change of any value.
    Linf,
}

/// Something that is measured, under a name that gates and numbers refer to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::suite_measures_something())]
pub struct Suite {
    /// Its name.
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = rules::local_name())]
    pub name: String,
    /// The Square attack. It gives `clean_accuracy`, `robust_accuracy`, `robust_accuracy_conditional`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub square: Option<SquareSuite>,
}

/// The Square attack.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct SquareSuite {
    /// How the size of a change is measured.
    pub norm: Norm,
    /// By how much the attacker may change an input, in its own units before any normalisation.
    #[x_kube(validation = rules::positive())]
    pub epsilon: Decimal,
    /// How often the attacker may ask the model about each sample.
    #[schemars(range(min = 1, max = 100_000))]
    pub queries: u32,
}

/// A number that must come out.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// The suite that it is from, by name.
    #[schemars(length(min = 1, max = 20))]
    pub suite: String,
    /// The number, by its stable name.
    pub metric: MetricId,
    /// `AtLeast` or `AtMost`.
    pub op: Comparison,
    /// What it is compared with.
    pub threshold: Decimal,
}

/// The stable name of a number. The text is API: reports, gates and dashboards match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "snake_case")]
pub enum MetricId {
    /// The share of all samples that the model is right about.
    CleanAccuracy,
    /// The share of all samples that it is right about, also under attack.
    RobustAccuracy,
    /// The same of those only that it is right about without attack.
    RobustAccuracyConditional,
}

impl MetricId {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CleanAccuracy => "clean_accuracy",
            Self::RobustAccuracy => "robust_accuracy",
            Self::RobustAccuracyConditional => "robust_accuracy_conditional",
        }
    }
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Comparison {
    /// It holds when the lower end of the confidence interval is not below the threshold, and fails when the upper end is below it.
    AtLeast,
    /// It holds when the upper end of the confidence interval is not above the threshold, and fails when the lower end is above it.
    AtMost,
}

/// A labelled data set, as an artifact in a registry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// `host/repository@sha256:…`: always by digest.
    #[schemars(length(min = 3, max = 1024))]
    #[x_kube(validation = rules::without_scheme(), validation = rules::reference_grammar(), validation = rules::reference_has_digest())]
    pub reference: String,
    /// Which of its files: an `.npz` with the inputs as `x` and their labels as `y`.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules::plain_file())]
    pub file: String,
    /// The least that an input's numbers can be: no attack goes below. Left out: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Decimal>,
    /// The most. Left out: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Decimal>,
}

impl Dataset {
    /// The range of an input's numbers: the least and the most.
    pub fn range(&self) -> (Decimal, Decimal) {
        (
            self.minimum.unwrap_or(Decimal::ZERO),
            self.maximum.unwrap_or(Decimal::ONE),
        )
    }
}

/// One number of one suite.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// The suite.
    #[schemars(length(max = 20))]
    pub suite: String,
    /// The number's stable name.
    pub metric: MetricId,
    /// The number itself.
    pub value: Decimal,
    /// The lower end of its confidence interval.
    pub lower: Decimal,
    /// The upper end.
    pub upper: Decimal,
    /// How many samples it is from.
    pub n: u32,
}
