//! What would become of the pods of a workload that somebody applies, told before its pods fail.
//! It only warns, and only from what the watches have read: nothing is asked of anybody for a warning.

use kube::ResourceExt as _;
use serde_json::Value;

use super::{Gate, MAX_REASONS, Written};
use crate::{
    admission::{AdmissionRequest, Answer, LONGEST_WARNING, cut},
    api::v1alpha1::ModelDeployment,
    evidence::{Effect, Finding, Verdict},
    policy::{
        Decision,
        pods::{self, Recorded, Template},
    },
};

impl Gate {
    /// Lets the workload be, with what would be said of its pods.
    pub(super) fn template(&self, request: &AdmissionRequest) -> Answer {
        Answer {
            warnings: self
                .decide_on_template(request)
                .map_or_else(Vec::new, |decision| warnings(&decision)),
            ..Answer::allow()
        }
    }

    /// What would be said of the pods; nothing when nobody would judge them, or when this change is not about them.
    fn decide_on_template(&self, request: &AdmissionRequest) -> Option<Decision> {
        let template = Template::read(&request.object::<Value>().ok()??)?;
        let before = request.old_object::<Value>().ok()?;
        if before.and_then(|before| Template::read(&before)).as_ref() == Some(&template) {
            return None;
        }
        let namespace = &request.namespace;
        let adopting = self.records.adopting(namespace);
        let adopting = adopting.iter().filter_map(|model| model.0.as_ref().ok());
        let named = template.model().map(ToOwned::to_owned);
        let name =
            named.or_else(|| pods::governing(adopting, template.owners()).map(ModelDeployment::name_any));
        let (world, now) = (self.world.current(), (self.clock)());
        let written = match name {
            Some(name) => self.recorded(namespace, &name, &world),
            None => Written::default(),
        };
        let recorded = Recorded {
            model: written.model(),
            verifications: &written.verifications,
        };
        template.judge(namespace, recorded, &world, &self.plans, now)
    }
}

/// Each reason in one sentence that fits into a warning.
fn warnings(decision: &Decision) -> Vec<String> {
    let told = |finding: &Finding| {
        let would = match (finding.effect, finding.verdict) {
            (_, Verdict::Pass) | (Effect::Audit, _) => return None,
            (Effect::Warn, _) => "warned about",
            (Effect::Enforce, Verdict::Fail) => "refused",
            // Somebody is at it, or will be.
            (Effect::Enforce, Verdict::Wait | Verdict::Unknown) => "refused for now",
        };
        Some(short(would, finding))
    };
    decision
        .findings
        .iter()
        .filter_map(told)
        .take(MAX_REASONS)
        .collect()
}

/// One finding, with the message cut so that the rest stays whole.
fn short(would: &str, finding: &Finding) -> String {
    let head = format!("its pods would be {would}: ");
    let mut finding = finding.clone();
    let told = super::told(&finding);
    let over = (head.len() + told.len()).saturating_sub(LONGEST_WARNING);
    if over == 0 {
        return head + &told;
    }
    let room = finding.message.len().saturating_sub(over + '…'.len_utf8());
    finding.message = format!("{}…", cut(&finding.message, room));
    head + &super::told(&finding)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evidence::{Reason, RuleId};

    fn finding(effect: Effect, verdict: Verdict, message: &str) -> Finding {
        Finding {
            rule: RuleId::PodManaged,
            policy: Some("ClusterDeploymentPolicy/baseline".into()),
            effect,
            verdict,
            reason: (verdict == Verdict::Fail).then_some(Reason::UnmanagedPod),
            message: message.into(),
            waived_by: None,
        }
    }

    fn told(finding: &Finding) -> Vec<String> {
        warnings(&Decision {
            verdict: finding.verdict,
            findings: vec![finding.clone()],
            signers: Vec::new(),
            approved_by: Vec::new(),
            until: None,
        })
    }

    #[test_case(Effect::Enforce, Verdict::Fail => vec!["its pods would be refused: UnmanagedPod: why (pods.managed of ClusterDeploymentPolicy/baseline)"]; "refused")]
    #[test_case(Effect::Enforce, Verdict::Wait => vec!["its pods would be refused for now: NotYet: why (pods.managed of ClusterDeploymentPolicy/baseline)"]; "waited for")]
    #[test_case(Effect::Warn, Verdict::Fail => vec!["its pods would be warned about: UnmanagedPod: why (pods.managed of ClusterDeploymentPolicy/baseline)"]; "warned about")]
    #[test_case(Effect::Audit, Verdict::Fail => Vec::<String>::new(); "on record alone")]
    #[test_case(Effect::Enforce, Verdict::Pass => Vec::<String>::new(); "allowed")]
    fn says_what_would_become_of_the_pods(effect: Effect, verdict: Verdict) -> Vec<String> {
        told(&finding(effect, verdict, "why"))
    }

    #[test_case(&"a".repeat(400); "of letters")]
    #[test_case(&"é".repeat(400); "of longer characters")]
    fn a_long_sentence_keeps_its_reason_and_its_policy(message: &str) {
        let warning = told(&finding(Effect::Enforce, Verdict::Fail, message)).remove(0);
        assert!((250..=LONGEST_WARNING).contains(&warning.len()), "{warning}");
        assert!(warning.starts_with("its pods would be refused: UnmanagedPod: "));
        assert!(warning.ends_with("… (pods.managed of ClusterDeploymentPolicy/baseline)"));
    }
}
