//! `AdmissionReview` v1 on the wire: only what a decision needs is read, the objects stay as the bytes they came in.
//! It decides nothing; what is not well-formed is an error, never a default.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::Answer;

/// The version of `AdmissionReview` that is spoken here.
const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server cuts longer warnings by itself, and drops all of them beyond 4096 bytes.
pub(super) const LONGEST_WARNING: usize = 256;

/// What the API server asks about.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRequest {
    /// Of this question; the answer repeats it.
    pub uid: String,
    /// The kind of [`Self::object`] as it is sent: what the webhook's rules were converted to.
    pub kind: GroupVersionKind,
    /// The resource it is sent as.
    pub resource: GroupVersionResource,
    /// `status`, `scale`, `ephemeralcontainers`, `resize` …
    #[serde(default)]
    pub sub_resource: Option<String>,
    /// The object's name; empty while the API server still has to generate it.
    #[serde(default)]
    pub name: String,
    /// The object's namespace; empty for what has none.
    #[serde(default)]
    pub namespace: String,
    /// What is to be done.
    pub operation: Operation,
    /// Who wants it.
    pub user_info: UserInfo,
    /// What it is to become; none when it is deleted.
    #[serde(default)]
    pub object: Option<Box<RawValue>>,
    /// What it is now; none when it is created.
    #[serde(default)]
    pub old_object: Option<Box<RawValue>>,
    /// Whether nothing will be kept.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

impl AdmissionRequest {
    /// What it is to become, decoded once by whoever decides.
    pub fn object<K: DeserializeOwned>(&self) -> Result<Option<K>, serde_json::Error> {
        decode(self.object.as_deref())
    }

    /// What it is now.
    pub fn old_object<K: DeserializeOwned>(&self) -> Result<Option<K>, serde_json::Error> {
        decode(self.old_object.as_deref())
    }
}

fn decode<K: DeserializeOwned>(raw: Option<&RawValue>) -> Result<Option<K>, serde_json::Error> {
    raw.map(|raw| serde_json::from_str(raw.get())).transpose()
}

/// A kind, as in `apps/v1, Deployment`; the core group is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct GroupVersionKind {
    /// The group.
    #[serde(default)]
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

/// A resource, as in `apps/v1, deployments`; the core group is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct GroupVersionResource {
    /// The group.
    #[serde(default)]
    pub group: String,
    /// The version.
    pub version: String,
    /// The plural, in lower case.
    pub resource: String,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It does not exist yet.
    Create,
    /// It exists and is changed.
    Update,
    /// It goes.
    Delete,
    /// Somebody connects to it: exec, attach, port-forward, proxy.
    Connect,
}

/// Who wants it, as the API server authenticated it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct UserInfo {
    /// `system:serviceaccount:NAMESPACE:NAME` for a service account.
    #[serde(default)]
    pub username: String,
    /// Its uid, where the authenticator knows one.
    #[serde(default)]
    pub uid: String,
    /// The groups it is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What else the authenticator says, such as the name of the pod whose token it is.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A body that is no question.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    /// Not JSON, or not of this shape.
    #[error("the body is not an AdmissionReview: {0}")]
    Shape(#[from] serde_json::Error),
    /// Of another kind or version.
    #[error("the body is {0}, not {API_VERSION} {KIND}: send that version (admissionReviewVersions: [v1])")]
    Version(String),
    /// A review without a question.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// An answer could not be told to whom it belongs.
    #[error("request.uid is empty")]
    NoUid,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    request: Option<Box<RawValue>>,
}

/// The same of this version and well-formed, which it nearly always is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    api_version: String,
    kind: String,
    request: AdmissionRequest,
}

/// Reads a question.
pub(super) fn read(body: &[u8]) -> Result<AdmissionRequest, Malformed> {
    match serde_json::from_slice::<Question>(body) {
        Ok(Question {
            api_version,
            kind,
            request,
        }) if api_version == API_VERSION && kind == KIND && !request.uid.is_empty() => Ok(request),
        _ => read_slowly(body),
    }
}

/// Reads it again, to say what is wrong with it: the envelope first, so that another version is named and not misread.
fn read_slowly(body: &[u8]) -> Result<AdmissionRequest, Malformed> {
    let asked: Asked = serde_json::from_slice(body)?;
    if asked.api_version != API_VERSION || asked.kind != KIND {
        return Err(Malformed::Version(format!(
            "{} {}",
            asked.api_version, asked.kind
        )));
    }
    let request = asked.request.ok_or(Malformed::NoRequest)?;
    let request: AdmissionRequest = serde_json::from_str(request.get())?;
    if request.uid.is_empty() {
        return Err(Malformed::NoUid);
    }
    Ok(request)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    message: &'a str,
}

/// Writes the answer to the question of this uid.
pub(super) fn write(uid: &str, answer: &Answer) -> Result<Vec<u8>, serde_json::Error> {
    let patch = match &answer.patch {
        // The API server takes a refusal with a patch for a mistake of ours.
        Some(patch) if answer.allowed => {
            Some(base64::engine::general_purpose::STANDARD.encode(serde_json::to_vec(patch)?))
        }
        _ => None,
    };
    serde_json::to_vec(&Answered {
        api_version: API_VERSION,
        kind: KIND,
        response: Response {
            uid,
            allowed: answer.allowed,
            status: (!answer.allowed).then_some(Status {
                code: answer.code,
                message: &answer.message,
            }),
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            warnings: answer
                .warnings
                .iter()
                .map(|warning| cut(warning, LONGEST_WARNING))
                .collect(),
            audit_annotations: &answer.audit_annotations,
        },
    })
}

/// The text's beginning, at most so many bytes of it, cut between characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=text.len().min(most))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;

    fn review() -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5", "operation": "CREATE", "namespace": "bank", "name": "digits",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
                "userInfo": {"username": "ann", "groups": ["dev"], "extra": {"a": ["b"]}},
                "object": {"metadata": {"name": "digits"}, "spec": {"n": 1.50}}, "oldObject": null, "dryRun": false,
                "options": {"kind": "CreateOptions"}
            }
        })
    }

    #[test]
    fn a_question_is_read_and_its_object_left_as_it_came() {
        let body = review().to_string();
        let request = read(body.as_bytes()).unwrap();
        assert_eq!(request.operation, Operation::Create);
        assert_eq!(request.user_info.groups, ["dev"]);
        let value: Value = request.object().unwrap().unwrap();
        assert_eq!(value["spec"]["n"], json!(1.5));
        assert!(request.old_object::<Value>().unwrap().is_none());
    }

    #[test_case(b"", "not an AdmissionReview"; "nothing")]
    #[test_case(b"\x00\xff{", "not an AdmissionReview"; "garbage")]
    #[test_case(b"[]", "not admission.k8s.io/v1"; "another shape")]
    #[test_case(b"{}", "not admission.k8s.io/v1"; "an empty object")]
    #[test_case(br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#, "v1beta1"; "an older version")]
    #[test_case(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#, "no request"; "an answer")]
    #[test_case(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1"}}"#, "missing field"; "half a question")]
    #[test_case(br#"{"kind":"AdmissionReview","kind":"AdmissionReview"}"#, "duplicate field"; "a key twice")]
    fn what_is_no_question_is_refused(body: &[u8], says: &str) {
        let error = read(body).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn an_empty_uid_is_refused() {
        let mut review = review();
        review["request"]["uid"] = json!("");
        assert!(matches!(
            read(review.to_string().as_bytes()),
            Err(Malformed::NoUid)
        ));
    }

    fn written(answer: &Answer) -> Value {
        serde_json::from_slice(&write("705ab4f5", answer).unwrap()).unwrap()
    }

    #[test]
    fn an_answer_repeats_the_uid_and_says_no_more_than_it_must() {
        let allowed = json!({"apiVersion": API_VERSION, "kind": KIND, "response": {"uid": "705ab4f5", "allowed": true}});
        assert_eq!(written(&Answer::allow()), allowed);
        let denied = written(&Answer::deny(403, "no"));
        assert_eq!(
            denied["response"],
            json!({"uid": "705ab4f5", "allowed": false, "status": {"code": 403, "message": "no"}})
        );
    }

    #[test]
    fn a_patch_goes_with_what_is_allowed_alone() {
        let patch = json!([{"op": "add", "path": "/a", "value": 1}]);
        let mut answer = Answer {
            patch: Some(patch.clone()),
            ..Answer::allow()
        };
        let response = written(&answer)["response"].clone();
        assert_eq!(response["patchType"], "JSONPatch");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(response["patch"].as_str().unwrap())
            .unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), patch);
        answer.allowed = false;
        assert_eq!(written(&answer)["response"]["patch"], Value::Null);
    }

    #[test]
    fn a_warning_is_cut_between_characters() {
        let answer = Answer {
            warnings: vec!["…".repeat(200), "short".into()],
            ..Answer::allow()
        };
        let response = written(&answer)["response"].clone();
        assert_eq!(response["warnings"][0].as_str().unwrap().len(), 255);
        assert_eq!(response["warnings"][1], "short");
    }
}
