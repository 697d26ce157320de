//! `Report` of `openreports.io/v1alpha1`, as far as it is written here: the form in which dashboards read what policies find.
//! Shapes only; the definition is the `OpenReports` project's, and is installed by whoever wants reports.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Resource,
    core::{NamespaceResourceScope, ObjectMeta, TypeMeta},
};
use serde::{Deserialize, Serialize};

/// The API group.
pub const GROUP: &str = "openreports.io";
/// The version of it that is written.
pub const VERSION: &str = "v1alpha1";

/// What was found about one subject.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Kind and version.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub types: Option<TypeMeta>,
    /// Name, namespace, labels and owner.
    pub metadata: ObjectMeta,
    /// Who found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ObjectReference>,
    /// How many results there are of each kind, those that are not listed included.
    #[serde(default)]
    pub summary: Summary,
    /// The results, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<ReportResult>,
}

/// How many results there are of each kind.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What holds.
    #[serde(default)]
    pub pass: i64,
    /// What does not.
    #[serde(default)]
    pub fail: i64,
    /// What does not, and is tolerated.
    #[serde(default)]
    pub warn: i64,
    /// What could not be found out.
    #[serde(default)]
    pub error: i64,
    /// What is not known yet.
    #[serde(default)]
    pub skip: i64,
}

/// One result.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReportResult {
    /// Who found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The policy.
    pub policy: String,
    /// Its rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What kind of question it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// How much it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Since when this is the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<ReportTime>,
    /// The result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    /// What it is about, where that is not the report's scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ObjectReference>,
    /// One sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What else is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// A time in seconds since 1970.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportTime {
    /// The seconds.
    pub seconds: i64,
    /// Billionths of a second more.
    pub nanos: i32,
}

/// What came of a rule, the worst first.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It does not hold.
    Fail,
    /// It could not be found out.
    Error,
    /// It does not hold, and is tolerated.
    Warn,
    /// It is not known yet.
    Skip,
    /// It holds.
    Pass,
}

/// How much a result matters, the most first.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Content or trust is broken.
    Critical,
    /// Something is denied.
    High,
    /// Something would be.
    Medium,
    /// It is on record.
    Low,
    /// It is as it should be.
    Info,
}

impl Resource for Report {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Report".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "reports".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
