//! Does what a model wants to reach lie below the policy's ceiling?
//! Pure: it looks at what is declared; what above it is declared is not opened either, whatever is decided.

use super::Says;
use crate::{
    api::v1alpha1::{EgressPeer, EgressPort, EgressRule},
    evidence::{Finding, Reason, RuleId},
    policy::{Facts, Rules, ceiling::above},
};

/// Passes when each rule of `egress` lies below the ceiling. Absent when the policy does not ask for isolation.
pub fn below_ceiling(facts: &Facts, rules: &Rules) -> Option<Finding> {
    let network = rules.isolation.network.as_ref()?;
    let says = Says {
        rule: RuleId::IsolationNetwork,
        rules,
    };
    let too_wide = facts.egress.iter().enumerate().find_map(|(at, rule)| {
        let (peer, port) = above(rule, &network.ceiling)?;
        Some((at, rule, peer, port))
    });
    Some(match too_wide {
        None if facts.egress.is_empty() => says.pass("the model declares no egress".to_owned()),
        None => says.pass("every egress rule is below the policy's ceiling".to_owned()),
        Some((at, rule, peer, port)) => says.fail(
            Reason::EgressAboveCeiling,
            format!(
                "spec.egress[{at}] asks for {}, which the policy's isolation.egressCeiling does not allow: narrow or remove the rule, or have the ceiling extended",
                sentence(rule, peer, port)
            ),
        ),
    })
}

fn sentence(rule: &EgressRule, peer: usize, port: usize) -> String {
    let EgressPort {
        port: first,
        end_port,
        protocol,
    } = &rule.ports[port];
    let last = end_port.map(|last| format!("-{last}")).unwrap_or_default();
    let protocol = protocol.unwrap_or_default().as_str();
    format!("{} on {protocol} {first}{last}", whom(&rule.to[peer], peer))
}

fn whom(peer: &EgressPeer, at: usize) -> String {
    match &peer.ip_block {
        Some(block) => block.cidr.clone(),
        None => format!("the pods of to[{at}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use test_case::test_case;

    use super::*;
    use crate::{
        evidence::{Effect, Verdict},
        policy::{
            Evidence, IsolationRules, NetworkRule,
            samples::{facts, rules, signer, verified},
        },
    };

    fn egress(cidr: &str, port: u16) -> Value {
        json!([{"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": port}]}])
    }

    fn finding(ceiling: Option<Value>, egress: Value) -> Option<Finding> {
        let network = ceiling.map(|ceiling| NetworkRule {
            ceiling: serde_json::from_value(ceiling).unwrap(),
            monitoring: Vec::new(),
        });
        let isolation = IsolationRules {
            network,
            ..IsolationRules::none(Effect::Warn)
        };
        let rules = Rules {
            isolation,
            ..rules(vec![signer("release", &[1])])
        };
        let facts = Facts {
            egress: serde_json::from_value(egress).unwrap(),
            ..facts(Evidence::Known(verified(&[1])))
        };
        below_ceiling(&facts, &rules)
    }

    #[test_case(None, egress("0.0.0.0/0", 443) => None; "not asked for")]
    #[test_case(Some(json!([])), json!([]) => Some(Verdict::Pass); "nothing declared")]
    #[test_case(Some(json!([])), egress("192.0.2.0/24", 443) => Some(Verdict::Fail); "no ceiling allows nothing")]
    #[test_case(Some(egress("192.0.0.0/16", 443)), egress("192.0.2.0/24", 443) => Some(Verdict::Pass); "below")]
    #[test_case(Some(egress("192.0.0.0/16", 443)), egress("192.0.2.0/24", 80) => Some(Verdict::Fail); "another port")]
    #[test_case(Some(egress("192.0.0.0/16", 443)), egress("192.0.0.0/8", 443) => Some(Verdict::Fail); "wider")]
    fn verdict(ceiling: Option<Value>, egress: Value) -> Option<Verdict> {
        finding(ceiling, egress).map(|finding| finding.verdict)
    }

    #[test]
    fn names_the_rule_and_the_remedy_under_the_effect_of_its_section() {
        let finding = finding(Some(json!([])), egress("192.0.2.0/24", 443)).unwrap();
        assert_eq!(finding.reason, Some(Reason::EgressAboveCeiling));
        assert_eq!(finding.effect, Effect::Warn);
        assert_eq!(
            finding.message,
            "spec.egress[0] asks for 192.0.2.0/24 on TCP 443, which the policy's isolation.egressCeiling does not allow: \
             narrow or remove the rule, or have the ceiling extended"
        );
    }
}
