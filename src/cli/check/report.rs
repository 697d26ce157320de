//! What the check found, for people as a table and for programs as JSON or YAML; and the exit code that goes with it.
//! It shows; nothing is decided here.

use std::fmt::Write as _;

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use super::{files::Trouble, judge::Judged};
use crate::{
    evidence::{Class, Effect, Finding, Reason, Verdict},
    policy::{Rules, severity},
};

/// The exit code of a command line that cannot be carried out, as clap's own.
const USAGE: u8 = 2;

/// Everything a check found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// What is said of each model; empty while there are errors.
    pub models: Vec<Judged>,
    /// Whether each policy can be applied as it is written.
    pub policies: Vec<PolicyState>,
    /// What people should know though it is no mistake.
    pub notes: Vec<String>,
    /// What kept the files from being checked.
    pub errors: Vec<ErrorLine>,
    #[serde(skip)]
    usage: bool,
}

/// Whether a policy can be applied as it is written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyState {
    policy: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Something that is wrong with a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorLine {
    origin: String,
    message: String,
}

impl Report {
    /// A report of files that could not be checked.
    pub(super) fn of_troubles(troubles: Vec<Trouble>, notes: Vec<String>) -> Self {
        let usage = troubles.iter().all(|trouble| trouble.usage);
        let errors = troubles
            .into_iter()
            .map(|Trouble { origin, message, .. }| ErrorLine { origin, message });
        Self {
            notes,
            errors: errors.collect(),
            usage,
            ..Self::default()
        }
    }

    /// A report of what was checked.
    pub(super) fn of(models: Vec<Judged>, rules: &[Rules], notes: Vec<String>) -> Self {
        let policies = rules.iter().map(|rules| match rules.ready() {
            Ok(()) => PolicyState {
                policy: rules.policy.clone(),
                ready: true,
                reason: None,
                message: None,
            },
            Err(failure) => PolicyState {
                policy: rules.policy.clone(),
                ready: false,
                reason: Some(failure.reason),
                message: Some(failure.message),
            },
        });
        Self {
            models,
            policies: policies.collect(),
            notes,
            ..Self::default()
        }
    }

    /// Whether the files could be checked at all.
    pub(super) fn is_checked(&self) -> bool {
        self.errors.is_empty()
    }

    /// 0 when every model may serve; otherwise the class of the worst reason: what failed before what is not known.
    pub(super) fn exit_code(&self) -> u8 {
        if !self.errors.is_empty() {
            return if self.usage {
                USAGE
            } else {
                Class::Malformed.exit_code()
            };
        }
        let worst = self
            .models
            .iter()
            .map(|model| model.verdict)
            .max()
            .unwrap_or(Verdict::Pass);
        let reasons = |verdict| {
            self.models
                .iter()
                .filter(move |model| model.verdict == verdict)
                .filter_map(|m| m.reason)
        };
        match worst {
            // Policies that were checked for themselves: one that cannot be applied is a failure then.
            Verdict::Pass if self.models.is_empty() => {
                class(self.policies.iter().filter_map(|policy| policy.reason)).map_or(0, Class::exit_code)
            }
            Verdict::Pass => 0,
            verdict => class(reasons(verdict)).unwrap_or(Class::Transient).exit_code(),
        }
    }

    /// The table: a row for each finding, and for each model that got no further.
    pub(super) fn table(&self) -> String {
        if self.models.is_empty() {
            return String::new();
        }
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header([
            "MODEL",
            "NAMESPACE",
            "VERDICT",
            "POLICY",
            "RULE",
            "REASON",
            "MESSAGE",
        ]);
        for model in &self.models {
            let mut row =
                |verdict: String, policy: Option<&str>, rule: &str, reason: Option<Reason>, message: &str| {
                    table.add_row([
                        printable(&model.name),
                        printable(&model.namespace),
                        verdict,
                        printable(policy.unwrap_or("-")),
                        rule.to_owned(),
                        reason.map_or("-", Reason::as_str).to_owned(),
                        printable(message),
                    ]);
                };
            if model.findings.is_empty() {
                let verdict = format!("{:?}", model.verdict);
                row(verdict, None, "-", model.reason, &model.message);
            }
            for finding in &model.findings {
                let (policy, rule) = (finding.policy.as_deref(), finding.rule.as_str());
                row(verdict(finding), policy, rule, finding.reason, &finding.message);
            }
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        format!("{}\n", table.trim_fmt())
    }

    /// What goes beside the table: errors, notes, policies that are not as they should be, and the sum.
    pub(super) fn aside(&self) -> String {
        let mut text = String::new();
        for ErrorLine { origin, message } in &self.errors {
            let _ = writeln!(text, "error: {}: {}", printable(origin), printable(message));
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {}", printable(note));
        }
        for policy in self.policies.iter().filter(|policy| !policy.ready) {
            let message = policy.message.as_deref().unwrap_or_default();
            let _ = writeln!(
                text,
                "policy: {}: {}",
                printable(&policy.policy),
                printable(message)
            );
        }
        let count = |verdict| {
            self.models
                .iter()
                .filter(|model| model.verdict == verdict)
                .count()
        };
        // What may serve and has a finding that failed has it from a policy that is not enforced.
        let spared = self
            .models
            .iter()
            .filter(|model| model.verdict == Verdict::Pass)
            .filter(|model| {
                model
                    .findings
                    .iter()
                    .any(|finding| finding.verdict == Verdict::Fail)
            })
            .count();
        let but = match spared {
            0 => String::new(),
            n => format!("; {n} would not if every policy were enforced"),
        };
        let (all, good, bad) = (self.models.len(), count(Verdict::Pass), count(Verdict::Fail));
        let _ = match (all, all - good - bad) {
            (0, _) if self.errors.is_empty() => {
                writeln!(text, "policies: {} checked, and no model", self.policies.len())
            }
            (0, _) => writeln!(text, "nothing was checked"),
            (_, 0) => writeln!(text, "{good} of {all} may serve{but}"),
            (_, open) => writeln!(text, "{good} of {all} may serve, {open} not known{but}"),
        };
        text
    }
}

/// What a finding says, and what its policy does about it where that is less than to deny.
fn verdict(finding: &Finding) -> String {
    let (verdict, effect) = (finding.verdict, finding.effect);
    match (verdict, effect) {
        (Verdict::Pass, _) | (_, Effect::Enforce) => format!("{verdict:?}"),
        (_, Effect::Warn | Effect::Audit) => format!("{verdict:?} ({effect:?})"),
    }
}

/// The class of the reason that people should read first.
fn class(reasons: impl Iterator<Item = Reason>) -> Option<Class> {
    reasons.min_by_key(|reason| severity(*reason)).map(Reason::class)
}

/// Text from files and registries must not steer the terminal it is shown on.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evidence::RuleId;

    fn model(name: &str, verdict: Verdict, reason: Option<Reason>) -> Judged {
        let finding = Finding {
            rule: RuleId::ModelSignature,
            policy: Some("ClusterDeploymentPolicy/baseline".into()),
            effect: Effect::Enforce,
            verdict,
            reason,
            message: "what was found".into(),
            waived_by: None,
        };
        Judged {
            name: name.into(),
            namespace: "bank".into(),
            origin: "a.yaml".into(),
            reference: None,
            digest: None,
            verdict,
            reason,
            message: "what was found".into(),
            findings: vec![finding],
            signers: Vec::new(),
        }
    }

    const PASS: (Verdict, Option<Reason>) = (Verdict::Pass, None);
    const OFFLINE: (Verdict, Option<Reason>) = (Verdict::Unknown, Some(Reason::Offline));
    const UNSIGNED: (Verdict, Option<Reason>) = (Verdict::Fail, Some(Reason::Unsigned));
    const ALTERED: (Verdict, Option<Reason>) = (Verdict::Fail, Some(Reason::DigestMismatch));
    const REVOKED: (Verdict, Option<Reason>) = (Verdict::Fail, Some(Reason::Revoked));
    const CLUMSY: (Verdict, Option<Reason>) = (Verdict::Fail, Some(Reason::SpecInvalid));

    #[test_case(&[PASS] => 0; "one may serve")]
    #[test_case(&[PASS, PASS] => 0; "all may serve")]
    #[test_case(&[PASS, OFFLINE] => 60; "one is not known")]
    #[test_case(&[OFFLINE, UNSIGNED] => 10; "what failed before what is not known")]
    #[test_case(&[UNSIGNED, ALTERED] => 20; "altered before unsigned")]
    #[test_case(&[ALTERED, REVOKED] => 50; "revoked before all")]
    #[test_case(&[CLUMSY] => 30; "a specification that makes no sense")]
    fn exit_codes(verdicts: &[(Verdict, Option<Reason>)]) -> u8 {
        let models = verdicts
            .iter()
            .map(|(verdict, reason)| model("digits", *verdict, *reason));
        Report::of(models.collect(), &[], Vec::new()).exit_code()
    }

    #[test_case(&[true] => 2; "a file that is not there")]
    #[test_case(&[false] => 30; "a file that makes no sense")]
    #[test_case(&[true, false] => 30; "both")]
    fn exit_codes_of_errors(usage: &[bool]) -> u8 {
        let trouble = |usage: &bool| Trouble {
            origin: "a".into(),
            message: "b".into(),
            usage: *usage,
        };
        Report::of_troubles(usage.iter().map(trouble).collect(), Vec::new()).exit_code()
    }

    #[test]
    fn columns_line_up() {
        let models = vec![
            model("digits", PASS.0, PASS.1),
            model("a-much-longer-name", ALTERED.0, ALTERED.1),
        ];
        let table = Report::of(models, &[], Vec::new()).table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = |line: &str, word: &str| line.find(word).unwrap();
        assert_eq!(column(lines[0], "VERDICT"), column(lines[1], "Pass"));
        assert_eq!(column(lines[0], "VERDICT"), column(lines[2], "Fail"));
        assert_eq!(column(lines[0], "REASON"), column(lines[2], "DigestMismatch"));
        assert_eq!(column(lines[0], "MESSAGE"), column(lines[1], "what was found"));
        assert!(lines[1].starts_with("digits "));
    }

    #[test]
    fn a_terminal_is_not_steered() {
        let hostile = Judged {
            findings: Vec::new(),
            message: "a\u{1b}[2Jb\nc".into(),
            ..model("x", UNSIGNED.0, UNSIGNED.1)
        };
        let table = Report::of(vec![hostile], &[], Vec::new()).table();
        assert!(table.contains("a\u{fffd}[2Jb\u{fffd}c"), "{table}");
    }

    #[test]
    fn what_is_not_enforced_is_told_and_fails_nothing() {
        let mut spared = model("digits", Verdict::Fail, Some(Reason::Unsigned));
        (spared.verdict, spared.reason) = PASS;
        spared.findings[0].effect = Effect::Warn;
        let report = Report::of(vec![spared], &[], Vec::new());
        assert_eq!(report.exit_code(), 0);
        assert!(report.table().contains("Fail (Warn)"), "{}", report.table());
        assert_eq!(
            report.aside(),
            "1 of 1 may serve; 1 would not if every policy were enforced\n"
        );
    }

    #[test]
    fn the_sum_is_told() {
        let models = [PASS, OFFLINE, UNSIGNED].map(|(verdict, reason)| model("digits", verdict, reason));
        assert_eq!(
            Report::of(models.into(), &[], Vec::new()).aside(),
            "1 of 3 may serve, 1 not known\n"
        );
    }
}
