//! The numbers that a run is reported with, by stable ids.

use serde::Serialize;

use super::outcome::{Attacked, SampleResult, Tally};

/// One number. What it means is in docs/cli.md.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// The stable id.
    pub id: &'static str,
    /// Its value.
    pub value: f64,
    /// How many samples it is made of.
    pub n: usize,
    /// Of how many of them something holds, where the value is a share: what an interval is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// The numbers of an attack. What would be made of no sample at all is left out.
///
/// `clean_accuracy` and `robust_accuracy` are shares of all samples, those without an answer among them (`RobustBench`);
/// `robust_accuracy_conditional` is the share of those that are read rightly as they are.
/// `queries_mean` and `queries_median` are of the samples that were broken.
pub fn metrics(results: &[SampleResult]) -> Vec<Metric> {
    let tally = Tally::of(results);
    let mut queries: Vec<u32> = results
        .iter()
        .filter(|result| matches!(result.attacked, Some(Attacked::Broken { .. })))
        .map(|result| result.queries)
        .collect();
    queries.sort_unstable();
    let mut metrics = Vec::new();
    metrics.extend(share("clean_accuracy", tally.correct, tally.samples));
    metrics.extend(share("robust_accuracy", tally.held, tally.samples));
    metrics.extend(share("robust_accuracy_conditional", tally.held, tally.correct));
    let total: u64 = queries.iter().copied().map(u64::from).sum();
    let number = |id, value| Metric {
        id,
        value,
        n: queries.len(),
        count: None,
    };
    metrics.extend(ratio(total, queries.len()).map(|mean| number("queries_mean", mean)));
    metrics.extend(median(&queries).map(|median| number("queries_median", median)));
    metrics
}

/// `distance_median`, for attacks that look for the nearest input that is read wrongly: how far it is, in the attack's
/// norm, in the middle of all samples that were attacked. One for which none was found is further than any, so that a
/// model that cannot be attacked has no median instead of a small one.
pub fn median_distance(results: &[SampleResult]) -> Option<Metric> {
    let attacked = results.iter().filter(|result| result.attacked.is_some());
    let mut distances: Vec<f64> = attacked
        .map(|result| result.distance.unwrap_or(f64::INFINITY))
        .collect();
    distances.sort_unstable_by(f64::total_cmp);
    let upper = *distances.get(distances.len() / 2)?;
    let lower = *distances.get(distances.len().checked_sub(1)? / 2)?;
    let value = f64::midpoint(lower, upper);
    value.is_finite().then_some(Metric {
        id: "distance_median",
        value,
        n: distances.len(),
        count: None,
    })
}

fn share(id: &'static str, count: usize, n: usize) -> Option<Metric> {
    let value = ratio(count as u64, n)?;
    Some(Metric {
        id,
        value,
        n,
        count: Some(count),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of samples and their queries are far below 2^53"
)]
fn ratio(count: u64, n: usize) -> Option<f64> {
    (n > 0).then(|| count as f64 / n as f64)
}

/// Of sorted numbers; the mean of the two in the middle when their number is even.
fn median(sorted: &[u32]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(f64::from(lower), f64::from(upper)))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::{super::outcome::Clean, *};

    fn results(attacked: &[(Clean, Option<Attacked>, u32)]) -> Vec<SampleResult> {
        let result = |(sample, (clean, attacked, queries)): (usize, &(_, _, _))| SampleResult {
            sample,
            clean: *clean,
            attacked: *attacked,
            queries: *queries,
            distance: None,
        };
        attacked.iter().enumerate().map(result).collect()
    }

    #[test]
    fn shares_are_of_all_samples() {
        let held = (Clean::Correct, Some(Attacked::Held), 100);
        let broken = |queries| {
            (
                Clean::Correct,
                Some(Attacked::Broken { confirmed: true }),
                queries,
            )
        };
        let wrong = (Clean::Wrong, None, 0);
        let found = metrics(&results(&[
            held,
            broken(1),
            broken(10),
            broken(4),
            wrong,
            wrong,
            wrong,
            wrong,
        ]));
        let shown: Vec<_> = found.iter().map(|m| (m.id, m.value, m.n, m.count)).collect();
        let expected = [
            ("clean_accuracy", 0.5, 8, Some(4)),
            ("robust_accuracy", 0.125, 8, Some(1)),
            ("robust_accuracy_conditional", 0.25, 4, Some(1)),
            ("queries_mean", 5.0, 3, None),
            ("queries_median", 4.0, 3, None),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn numbers_of_nothing_are_left_out() {
        let ids = |found: &[Metric]| found.iter().map(|metric| metric.id).collect::<Vec<_>>();
        assert!(metrics(&[]).is_empty());
        let found = metrics(&results(&[(Clean::Wrong, None, 0)]));
        assert_eq!(ids(&found), ["clean_accuracy", "robust_accuracy"]);
        assert!(found.iter().all(|metric| metric.value == 0.0));
    }

    #[test_case(&[] => None; "nothing attacked")]
    #[test_case(&[Some(0.5)] => Some(0.5); "one")]
    #[test_case(&[Some(0.5), Some(0.25)] => Some(0.375); "between two")]
    #[test_case(&[Some(0.5), Some(0.25), None] => Some(0.5); "one that was not found is far")]
    #[test_case(&[Some(0.5), None] => None; "half of them")]
    #[test_case(&[None, None, None] => None; "none that was found is not near")]
    fn median_distances(distances: &[Option<f64>]) -> Option<f64> {
        let mut found = results(&vec![(Clean::Correct, Some(Attacked::Held), 9); distances.len()]);
        for (result, distance) in found.iter_mut().zip(distances) {
            result.distance = *distance;
        }
        found.extend(results(&[(Clean::Wrong, None, 0)]));
        median_distance(&found).map(|metric| metric.value)
    }

    #[test_case(&[] => None)]
    #[test_case(&[3] => Some(3.0))]
    #[test_case(&[3, 4] => Some(3.5))]
    #[test_case(&[3, 4, 9] => Some(4.0))]
    fn medians(sorted: &[u32]) -> Option<f64> {
        median(sorted)
    }
}
