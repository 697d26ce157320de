//! The judge that the operator serves: policy's decision about a pod, on what the watches have read; what it would be about
//! the pods of a template; and whether an object of our own makes sense.
//! It looks verdicts up and never makes one; before it refuses a pod of a model it reads once what the watch may lack.

mod networks;
mod objects;
mod recall;
mod rights;
mod templates;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{ResourceExt as _, core::ObjectMeta};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use self::recall::Recall;
use super::{
    AdmissionRequest, Answer, Judge, Operation,
    records::{Model, Records},
};
use crate::{
    api::{
        GROUP,
        v1alpha1::{ArtifactVerification, ModelDeployment, WorkloadRef},
    },
    controller::{owners::Unread, world::WorldView},
    evidence::{Effect, Finding, Reason, Verdict},
    policy::{
        Decision, World,
        pods::{self, PodRequest, Recorded},
    },
    workload::{Plans, PodSettings, controller},
};

/// At most this many reasons are told in one refusal.
const MAX_REASONS: usize = 5;

/// Decides about pods in governed namespaces.
pub struct Gate {
    world: WorldView,
    records: Records,
    plans: Plans,
    recall: Recall,
    clock: fn() -> Timestamp,
}

impl Gate {
    /// A gate on these stores. `clock` says what time it is when something expires.
    pub fn new(world: WorldView, records: Records, settings: PodSettings, clock: fn() -> Timestamp) -> Self {
        Self {
            world,
            records,
            plans: Plans::new(settings),
            recall: Recall::default(),
            clock,
        }
    }

    async fn pod(&self, request: &AdmissionRequest) -> Answer {
        let (pod, old) = (
            Sent::read(request.object.as_deref()),
            Sent::read(request.old_object.as_deref()),
        );
        let user = &request.user_info.username;
        let unreadable = || Answer::deny(400, "object: is no pod that this version can read");
        let (Ok(Some(mut sent)), Ok(mut old)) = (pod, old) else {
            return unreadable();
        };
        // A change of a pod, and a pod that no controller of Kubernetes' made, rest on nothing that is recorded.
        let claim = if old.is_none() {
            self.claim(&request.namespace, user, &sent.pod).await
        } else {
            Ok(Claim::default())
        };
        let mut claim = match claim {
            Ok(claim) => claim,
            Err(unread) => return not_read(&unread),
        };
        if claim.model.is_none() {
            for sent in [Some(&mut sent), old.as_mut()].into_iter().flatten() {
                if sent.decode().is_err() {
                    return unreadable();
                }
            }
        }
        let (world, now) = (self.world.current(), (self.clock)());
        let decide = |recorded: &Written, owners: &[WorkloadRef]| {
            let asked = PodRequest {
                namespace: &request.namespace,
                requester: user,
                pod: &sent.pod,
                spec: &sent.spec,
                old: old.as_ref().map(|old| &old.pod),
                owners,
            };
            let recorded = Recorded {
                model: recorded.model(),
                verifications: &recorded.verifications,
            };
            pods::judge(&asked, recorded, &world, &self.plans, now)
        };
        let Some(name) = &claim.model else {
            return answer(&decide(&Written::default(), &claim.owners));
        };
        let decision = decide(&self.recorded(&request.namespace, name, &world), &claim.owners);
        if decision.admits() {
            return answer(&decision);
        }
        // What a pod rests on was written a moment ago, as a rule, and may be on its way to this replica.
        let read = match self.read(&request.namespace, name, &world).await {
            Ok(read) => read,
            Err(unread) => return not_read(&unread),
        };
        // A model that only this read knows may govern what the pod goes back to.
        if let Some(model) = read.model().filter(|model| model.spec.workload_ref.is_some())
            && claim.owners.is_empty()
        {
            claim.owners = match self.owners(&request.namespace, &sent.pod, &[model]).await {
                Ok(owners) => owners,
                Err(unread) => return not_read(&unread),
            };
        }
        answer(&decide(&read, &claim.owners))
    }

    /// The controllers that the pod goes back to, as far as one of these models governs one of them.
    async fn owners(
        &self,
        namespace: &str,
        pod: &Pod,
        models: &[&ModelDeployment],
    ) -> Result<Vec<WorkloadRef>, Unread> {
        let known = |owners: &[WorkloadRef]| models.iter().any(|model| pods::governs(model, owners));
        match controller(pod.owner_references()) {
            Some(direct) if !models.is_empty() => self.records.owners(namespace, direct, known).await,
            _ => Ok(Vec::new()),
        }
    }

    /// What a pod lacks of its model's verifier, or of what is safe to add to any, as additions to it. One that cannot be mended is left as it is:
    /// it is refused, with a sentence that says why, when it is judged.
    async fn additions(&self, request: &AdmissionRequest) -> Option<Value> {
        let mut sent = Sent::read(request.object.as_deref()).ok()??;
        let user = &request.user_info.username;
        // What cannot be read now is told when the pod is judged.
        let claim = self.claim(&request.namespace, user, &sent.pod).await.ok()?;
        let (world, now) = (self.world.current(), (self.clock)());
        let written = match &claim.model {
            Some(name) => self.recorded(&request.namespace, name, &world),
            None => Written::default(),
        };
        let model = written
            .model()
            .filter(|model| pods::governs(model, &claim.owners));
        // The pod of a server is as planned, or is not mended.
        if claim.model.is_some() && model.is_none() {
            return None;
        }
        if model.is_none() && !pods::fills_in(&request.namespace, &world) {
            return None;
        }
        sent.decode().ok()?;
        let recorded = Recorded {
            model,
            verifications: &written.verifications,
        };
        pods::additions(
            model,
            &request.namespace,
            &sent.pod,
            recorded,
            &world,
            self.plans.settings(),
            now,
        )
    }

    /// Which model the pod is of: the one it names, or the one that governs the workload it goes back to.
    async fn claim(&self, namespace: &str, requester: &str, pod: &Pod) -> Result<Claim, Unread> {
        if !pods::is_made_by_kubernetes(requester) {
            return Ok(Claim::default());
        }
        let named = pods::model(pod);
        let recorded = named.and_then(|name| self.records.model(namespace, name));
        let serves = |model: &Model| model.0.as_ref().is_ok_and(|model| model.spec.server.is_some());
        let adopting = match &recorded {
            // The pods of a server that Probity runs go back to nothing else.
            Some(model) if serves(model) => Vec::new(),
            _ => self.records.adopting(namespace),
        };
        let adopting: Vec<&ModelDeployment> = adopting
            .iter()
            .filter_map(|model| model.0.as_ref().ok())
            .collect();
        let owners = self.owners(namespace, pod, &adopting).await?;
        let governing = pods::governing(adopting, &owners).map(kube::ResourceExt::name_any);
        Ok(Claim {
            model: named.map(ToOwned::to_owned).or(governing),
            owners,
        })
    }

    fn recorded(&self, namespace: &str, name: &str, world: &Arc<World>) -> Written {
        let model = self.records.model(namespace, name);
        let names = model.as_ref().map_or_else(Arc::default, |model| {
            self.recall.needed(namespace, name, model, world)
        });
        Written {
            model,
            verifications: self.records.verifications(namespace, &names),
        }
    }

    async fn read(&self, namespace: &str, name: &str, world: &World) -> Result<Written, Unread> {
        let mut written = Written {
            model: self.records.read_model(namespace, name).await?,
            ..Written::default()
        };
        let names = written.needed(world);
        written.verifications = self.records.read_verifications(namespace, &names).await?;
        Ok(written)
    }
}

/// Which model a pod is of, as far as that was looked up.
#[derive(Default)]
struct Claim {
    model: Option<String>,
    /// The controllers it goes back to, the nearest first.
    owners: Vec<WorkloadRef>,
}

impl Judge for Gate {
    async fn validate(&self, request: &AdmissionRequest) -> Answer {
        let resource = &request.resource;
        match (
            resource.group.as_str(),
            resource.resource.as_str(),
            request.sub_resource.as_deref(),
        ) {
            ("", "pods", None | Some("ephemeralcontainers" | "resize")) => self.pod(request).await,
            ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets", None)
            | ("batch", "jobs" | "cronjobs", None) => self.template(request),
            ("networking.k8s.io", "networkpolicies", None) | ("cilium.io", "ciliumnetworkpolicies", None) => {
                self.network(request).await
            }
            ("rbac.authorization.k8s.io", "rolebindings" | "roles", None) => self.rights(request).await,
            (
                GROUP,
                "modeldeployments"
                | "deploymentpolicies"
                | "clusterdeploymentpolicies"
                | "trustroots"
                | "robustnesspolicies"
                | "waivers",
                None,
            ) => self.object(request),
            // Whoever sends this here expects a judgement, and there is none.
            _ => Answer::deny(
                400,
                format!(
                    "{} is not judged here: the webhooks' rules name more than the chart's",
                    resource.resource
                ),
            ),
        }
    }

    async fn mutate(&self, request: &AdmissionRequest) -> Answer {
        let resource = &request.resource;
        let pod = resource.group.is_empty() && resource.resource == "pods" && request.sub_resource.is_none();
        let waiver =
            resource.group == GROUP && resource.resource == "waivers" && request.sub_resource.is_none();
        let patch = match request.operation {
            Operation::Create if pod => self.additions(request).await,
            Operation::Create if waiver => Some(approval(request)),
            _ => None,
        };
        Answer {
            patch,
            ..Answer::allow()
        }
    }
}

/// Writes into a waiver who makes it, whatever stands there: its author's word for that is worth nothing.
fn approval(request: &AdmissionRequest) -> Value {
    json!([{"op": "add", "path": "/spec/approvedBy", "value": request.user_info.username}])
}

/// What is recorded about the model a pod names.
#[derive(Default)]
struct Written {
    model: Option<Model>,
    verifications: Vec<ArtifactVerification>,
}

impl Written {
    fn model(&self) -> Option<&ModelDeployment> {
        self.model.as_ref()?.0.as_ref().ok()
    }

    /// The names of the verifications that belong to the model.
    fn needed(&self, world: &World) -> Vec<String> {
        self.model()
            .map_or_else(Vec::new, |model| pods::needed(model, world))
    }
}

/// A pod as far as it is judged, and all that was sent of its `spec`, which is decoded only for who needs that.
struct Sent {
    pod: Pod,
    spec: Value,
}

/// Half of a pod is who wrote which field of it, and how it is: nothing is decided by that, so nobody decodes it.
#[derive(Deserialize)]
struct Judged {
    #[serde(default)]
    metadata: JudgedMeta,
    #[serde(default)]
    spec: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JudgedMeta {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl Sent {
    fn read(raw: Option<&RawValue>) -> Result<Option<Self>, serde_json::Error> {
        let Some(raw) = raw else { return Ok(None) };
        let Judged { metadata, spec } = serde_json::from_str(raw.get())?;
        let metadata = ObjectMeta {
            labels: metadata.labels,
            annotations: metadata.annotations,
            owner_references: metadata.owner_references,
            ..ObjectMeta::default()
        };
        let pod = Pod {
            metadata,
            ..Pod::default()
        };
        Ok(Some(Self { pod, spec }))
    }

    fn decode(&mut self) -> Result<(), serde_json::Error> {
        self.pod.spec = Option::deserialize(&self.spec)?;
        Ok(())
    }
}

/// What cannot be read is not what is not there, and whoever makes pods tries again.
fn not_read(unread: &Unread) -> Answer {
    Answer::deny(503, format!("{}: {unread}", Reason::NotReadYet))
}

/// The answer where nobody is known to govern: nobody else is asked about, so the label is on its way to this replica.
fn not_governed_yet(namespace: &str, world: &World) -> Option<Answer> {
    let message = || {
        format!(
            "{}: this operator has not read yet that the namespace {namespace} is governed: try again",
            Reason::NotReadYet
        )
    };
    (!world.governs(namespace)).then(|| Answer::deny(503, message()))
}

/// A decision as the API server is told it.
fn answer(decision: &Decision) -> Answer {
    let failing = |effects: &[Effect]| -> Vec<String> {
        decision
            .findings
            .iter()
            .filter(|one| one.verdict != Verdict::Pass && effects.contains(&one.effect))
            .take(MAX_REASONS)
            .map(told)
            .collect()
    };
    // What is tolerated is told as well: a finding that passed, and yet has a reason.
    let tolerated = decision
        .findings
        .iter()
        .filter(|one| one.verdict == Verdict::Pass && one.reason.is_some());
    let warnings = failing(&[Effect::Warn])
        .into_iter()
        .chain(tolerated.map(told))
        .collect();
    let answer = if decision.admits() {
        Answer::allow()
    } else {
        let code = match decision.verdict {
            Verdict::Wait | Verdict::Unknown => 503,
            Verdict::Pass | Verdict::Fail => 403,
        };
        Answer::deny(code, failing(&[Effect::Enforce]).join("; "))
    };
    Answer { warnings, ..answer }
}

/// One finding in one sentence: the reason, what is wrong and what to do, the rule and whose it is.
fn told(finding: &Finding) -> String {
    let reason = finding.reason.map_or("NotYet", |reason| reason.as_str());
    let policy = finding
        .policy
        .as_ref()
        .map_or(String::new(), |policy| format!(" of {policy}"));
    format!("{reason}: {} ({}{policy})", finding.message, finding.rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::RuleId;

    fn finding(effect: Effect, verdict: Verdict, reason: Option<Reason>) -> Finding {
        Finding {
            rule: RuleId::PodManaged,
            policy: Some("ClusterDeploymentPolicy/baseline".into()),
            effect,
            verdict,
            reason,
            message: "no ModelDeployment answers for this pod".into(),
            waived_by: None,
        }
    }

    fn decision(verdict: Verdict, findings: Vec<Finding>) -> Decision {
        Decision {
            verdict,
            findings,
            signers: Vec::new(),
            approved_by: Vec::new(),
            until: None,
        }
    }

    #[test]
    fn a_refusal_names_reason_message_rule_and_policy() {
        let found = finding(Effect::Enforce, Verdict::Fail, Some(Reason::UnmanagedPod));
        let answer = answer(&decision(Verdict::Fail, vec![found]));
        assert_eq!(
            (answer.allowed, answer.code, answer.message.as_str()),
            (
                false,
                403,
                "UnmanagedPod: no ModelDeployment answers for this pod (pods.managed of ClusterDeploymentPolicy/baseline)"
            )
        );
    }

    #[test]
    fn what_is_not_known_yet_can_be_tried_again() {
        let found = finding(Effect::Enforce, Verdict::Wait, None);
        let answer = answer(&decision(Verdict::Wait, vec![found]));
        assert_eq!((answer.allowed, answer.code), (false, 503));
        assert!(answer.message.starts_with("NotYet: "), "{}", answer.message);
    }

    #[test]
    fn a_policy_that_only_warns_does_not_refuse() {
        let found = finding(Effect::Warn, Verdict::Fail, Some(Reason::UnmanagedPod));
        let answer = answer(&decision(Verdict::Pass, vec![found]));
        assert!(answer.allowed);
        assert_eq!(answer.warnings.len(), 1);
    }

    #[test]
    fn what_is_tolerated_is_told() {
        let found = finding(Effect::Enforce, Verdict::Pass, Some(Reason::SignerMismatch));
        let answer = answer(&decision(Verdict::Pass, vec![found]));
        assert!(answer.allowed);
        assert_eq!(answer.warnings.len(), 1);
    }

    #[test]
    fn a_refusal_stays_short_however_much_is_wrong() {
        let found = finding(Effect::Enforce, Verdict::Fail, Some(Reason::UnmanagedPod));
        let answer = answer(&decision(Verdict::Fail, vec![found; 100]));
        assert_eq!(answer.message.matches("UnmanagedPod").count(), MAX_REASONS);
    }
}
