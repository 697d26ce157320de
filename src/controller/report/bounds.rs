//! Keeps a report within what dashboards and the API server bear, and a new one from differing by its times alone. Pure.

use jiff::Timestamp;

use crate::api::openreports::{Outcome, Report, ReportResult, ReportTime, Severity};

/// At most this many results are listed.
pub(super) const MOST_RESULTS: usize = 256;
/// At most this many bytes they take, as JSON: below 256 KiB with what else there is.
pub(super) const MOST_BYTES: usize = 240 * 1024;

/// The results that fit, the worst first; how many do not is the last one's to say.
pub(super) fn bounded(mut results: Vec<ReportResult>) -> Vec<ReportResult> {
    results.sort_by(|a, b| {
        let key = |one: &ReportResult| {
            (
                one.result,
                one.severity,
                one.policy.clone(),
                one.rule.clone(),
                one.message.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let mut bytes = 0;
    let fits = |result: &&ReportResult| {
        bytes += serde_json::to_string(result).map_or(MOST_BYTES, |text| text.len() + 1);
        bytes <= MOST_BYTES
    };
    let fitting = results.iter().take_while(fits).count();
    if fitting == results.len() && fitting <= MOST_RESULTS {
        return results;
    }
    let kept = fitting.min(MOST_RESULTS - 1);
    let cut = results.len() - kept;
    results.truncate(kept);
    results.push(ReportResult {
        source: Some("probity".into()),
        policy: "probity".into(),
        rule: Some("report.bounded".into()),
        category: Some("Status".into()),
        severity: Some(Severity::Info),
        result: Some(Outcome::Skip),
        message: Some(format!(
            "{cut} more results are counted in the summary and not listed: the worst come first"
        )),
        properties: [("cut".to_owned(), cut.to_string())].into(),
        ..ReportResult::default()
    });
    results
}

/// The report as it should be stored: a result that was there already keeps its time.
pub(super) fn with_times(mut report: Report, stored: Option<&Report>, now: Timestamp) -> Report {
    let new = ReportTime {
        seconds: now.as_second(),
        nanos: 0,
    };
    for result in &mut report.results {
        let known = stored.and_then(|stored| {
            stored.results.iter().find(|there| {
                let as_there = ReportResult {
                    timestamp: there.timestamp,
                    ..result.clone()
                };
                as_there == **there
            })
        });
        result.timestamp = known.and_then(|known| known.timestamp).or(Some(new));
    }
    report
}

/// Whether the stored report is as it should be, as far as it is ours to say.
pub(super) fn is_as_wanted(stored: &Report, wanted: &Report) -> bool {
    let labels = |report: &Report| report.metadata.labels.clone().unwrap_or_default();
    let there = labels(stored);
    stored.source == wanted.source
        && stored.scope == wanted.scope
        && stored.summary == wanted.summary
        && stored.results == wanted.results
        && labels(wanted)
            .iter()
            .all(|(key, value)| there.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(n: usize, message: &str) -> ReportResult {
        ReportResult {
            policy: format!("ClusterDeploymentPolicy/{n:04}"),
            result: Some(if n.is_multiple_of(100) {
                Outcome::Fail
            } else {
                Outcome::Pass
            }),
            message: Some(message.into()),
            ..ReportResult::default()
        }
    }

    fn many(n: usize, message: &str) -> Vec<ReportResult> {
        (0..n).map(|n| result(n, message)).collect()
    }

    #[test]
    fn few_results_are_all_there_the_worst_first() {
        let few = bounded(many(200, "m"));
        assert_eq!(few.len(), 200);
        assert_eq!(few[0].result, Some(Outcome::Fail));
        assert_eq!(few[1].result, Some(Outcome::Fail));
        assert_eq!(few[2].result, Some(Outcome::Pass));
    }

    #[test]
    fn of_many_the_worst_are_kept_and_the_rest_is_counted() {
        let kept = bounded(many(1000, "m"));
        assert_eq!(kept.len(), MOST_RESULTS);
        let fails = kept.iter().filter(|one| one.result == Some(Outcome::Fail));
        assert_eq!(fails.count(), 10);
        assert_eq!(kept.last().unwrap().properties["cut"], "745");
        assert_eq!(bounded(many(MOST_RESULTS, "m")).len(), MOST_RESULTS);
    }

    #[test]
    fn long_results_are_cut_by_their_length() {
        let kept = bounded(many(256, &"é".repeat(1000)));
        let bytes = serde_json::to_string(&kept).unwrap().len();
        assert!(bytes < 256 * 1024, "{bytes}");
        let cut: usize = kept.last().unwrap().properties["cut"].parse().unwrap();
        assert_eq!(kept.len() - 1 + cut, 256);
    }

    #[test]
    fn a_later_look_that_finds_the_same_changes_nothing() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let report = |messages: &[&str]| Report {
            results: messages
                .iter()
                .enumerate()
                .map(|(n, message)| result(n + 1, message))
                .collect(),
            ..Report::default()
        };
        let first = with_times(report(&["a", "b"]), None, at(10));
        let second = with_times(report(&["a", "b"]), Some(&first), at(20));
        assert_eq!(first, second);
        assert!(is_as_wanted(&first, &second));
        let third = with_times(report(&["a", "c"]), Some(&first), at(30));
        let seconds: Vec<_> = third
            .results
            .iter()
            .map(|one| one.timestamp.unwrap().seconds)
            .collect();
        assert_eq!(seconds, [10, 30]);
        assert!(!is_as_wanted(&first, &third));
    }
}
