//! What became of each sample, and the counts that metrics are made of.
//! Every sample is counted: one that gave no answer is no reason to leave it out.

use std::collections::BTreeMap;

use crate::evaluation::model::Fault;

/// How the model reads a sample as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clean {
    /// As its label says.
    Correct,
    /// A guard refused it, which is no classification.
    Blocked,
    /// It gave no answer that can be read.
    Error(Fault),
    /// As something else, or as nothing in particular.
    Wrong,
}

/// What an attack made of a sample that is read rightly as it is. In the order of what it says against the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attacked {
    /// The budget is spent, and the last input is still read rightly.
    Held,
    /// The last input was refused by a guard, which is no classification.
    Blocked,
    /// The model gave no answer that can be read.
    Error(Fault),
    /// An allowed input is read wrongly.
    Broken {
        /// Asked again, it was still read wrongly. Otherwise the model does not answer the same each time.
        confirmed: bool,
    },
}

/// One sample of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleResult {
    /// Its place in the data.
    pub sample: usize,
    /// As it is.
    pub clean: Clean,
    /// Under attack; absent for what is not read rightly as it is.
    pub attacked: Option<Attacked>,
    /// What the attack asked: up to and with the first success, or all it was allowed.
    pub queries: u32,
    /// How far the last input is from the sample, in the attack's norm, if it is read wrongly; allowed or not.
    pub distance: Option<f64>,
}

impl SampleResult {
    /// Read rightly as it is and under attack.
    pub fn is_robust(&self) -> bool {
        self.clean == Clean::Correct && self.attacked == Some(Attacked::Held)
    }

    /// Whether the model failed to answer, as it is or under attack.
    pub fn is_error(&self) -> bool {
        matches!(self.clean, Clean::Error(_)) || matches!(self.attacked, Some(Attacked::Error(_)))
    }
}

/// Counts over the samples of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All samples.
    pub samples: usize,
    /// Read rightly as they are.
    pub correct: usize,
    /// Read wrongly as they are.
    pub wrong: usize,
    /// Refused by a guard, as they are or under attack.
    pub blocked: usize,
    /// Without an answer that can be read, as they are or under attack.
    pub errors: usize,
    /// Broken by the attack.
    pub broken: usize,
    /// Broken, but not when asked again.
    pub unconfirmed: usize,
    /// Read rightly as they are and under attack.
    pub held: usize,
}

impl Tally {
    /// Counts results.
    pub fn of(results: &[SampleResult]) -> Self {
        let mut tally = Self::default();
        for result in results {
            tally.samples += 1;
            match result.clean {
                Clean::Correct => tally.correct += 1,
                Clean::Wrong => tally.wrong += 1,
                Clean::Blocked => tally.blocked += 1,
                Clean::Error(_) => tally.errors += 1,
            }
            match result.attacked {
                Some(Attacked::Held) => tally.held += 1,
                Some(Attacked::Broken { confirmed }) => {
                    tally.broken += 1;
                    tally.unconfirmed += usize::from(!confirmed);
                }
                Some(Attacked::Blocked) => tally.blocked += 1,
                Some(Attacked::Error(_)) => tally.errors += 1,
                None => {}
            }
        }
        tally
    }
}

/// The worst that any of several attacks made of each sample.
///
/// A sample counts once every attack has seen it: one that only the weaker attack had time for would look better than it
/// is.
#[derive(Debug, Clone, Default)]
pub struct WorstCase {
    attacks: usize,
    samples: BTreeMap<usize, (usize, SampleResult)>,
}

impl WorstCase {
    /// Adds what one attack found. Queries add up; the distance is that of the worse result.
    pub fn add(&mut self, results: &[SampleResult]) {
        self.attacks += 1;
        for result in results {
            match self.samples.get_mut(&result.sample) {
                None => {
                    self.samples.insert(result.sample, (1, result.clone()));
                }
                Some((seen, worst)) => {
                    *seen += 1;
                    let queries = worst.queries.saturating_add(result.queries);
                    if (result.clean, result.attacked) > (worst.clean, worst.attacked) {
                        *worst = result.clone();
                    }
                    worst.queries = queries;
                    if worst.clean != Clean::Correct {
                        worst.attacked = None;
                    }
                }
            }
        }
    }

    /// The samples that every attack has seen, by their place in the data.
    pub fn results(&self) -> Vec<SampleResult> {
        let complete = self.samples.values().filter(|(seen, _)| *seen == self.attacks);
        complete.map(|(_, result)| result.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    fn result(sample: usize, clean: Clean, attacked: Option<Attacked>) -> SampleResult {
        SampleResult {
            sample,
            clean,
            attacked,
            queries: 10,
            distance: None,
        }
    }

    const HELD: Option<Attacked> = Some(Attacked::Held);
    const BLOCKED: Option<Attacked> = Some(Attacked::Blocked);
    const ERROR: Option<Attacked> = Some(Attacked::Error(Fault::NotFinite));
    const BROKEN: Option<Attacked> = Some(Attacked::Broken { confirmed: true });

    #[test_case(&[HELD, HELD] => HELD; "holds only if it always holds")]
    #[test_case(&[HELD, BROKEN] => BROKEN; "broken once is broken")]
    #[test_case(&[BROKEN, HELD] => BROKEN; "whichever was first")]
    #[test_case(&[HELD, ERROR] => ERROR; "no answer is not holding")]
    #[test_case(&[ERROR, BROKEN] => BROKEN; "broken is settled")]
    #[test_case(&[BLOCKED, HELD] => BLOCKED; "a refusal is not holding")]
    fn the_worst_counts(attacks: &[Option<Attacked>]) -> Option<Attacked> {
        let mut worst = WorstCase::default();
        for attacked in attacks {
            worst.add(&[result(3, Clean::Correct, *attacked)]);
        }
        let [found] = &worst.results()[..] else {
            panic!("one sample")
        };
        assert_eq!((found.sample, found.queries), (3, 20));
        found.attacked
    }

    #[test]
    fn a_sample_that_is_wrong_once_was_never_held() {
        let mut worst = WorstCase::default();
        worst.add(&[result(0, Clean::Correct, HELD)]);
        worst.add(&[result(0, Clean::Wrong, None)]);
        worst.add(&[result(0, Clean::Correct, BROKEN)]);
        let tally = Tally::of(&worst.results());
        assert_eq!((tally.samples, tally.wrong, tally.held), (1, 1, 0));
    }

    #[test]
    fn samples_count_once_every_attack_has_seen_them() {
        let mut worst = WorstCase::default();
        worst.add(&[result(0, Clean::Correct, HELD), result(1, Clean::Correct, HELD)]);
        worst.add(&[result(1, Clean::Correct, HELD)]);
        assert_eq!(
            worst.results(),
            [SampleResult {
                queries: 20,
                ..result(1, Clean::Correct, HELD)
            }]
        );
    }

    #[test]
    fn every_sample_is_counted_once() {
        let results = [
            result(0, Clean::Correct, HELD),
            result(1, Clean::Correct, BROKEN),
            result(2, Clean::Correct, Some(Attacked::Broken { confirmed: false })),
            result(3, Clean::Correct, BLOCKED),
            result(4, Clean::Correct, ERROR),
            result(5, Clean::Wrong, None),
            result(6, Clean::Blocked, None),
            result(7, Clean::Error(Fault::Shape), None),
        ];
        let expected = Tally {
            samples: 8,
            correct: 5,
            wrong: 1,
            blocked: 2,
            errors: 2,
            broken: 2,
            unconfirmed: 1,
            held: 1,
        };
        assert_eq!(Tally::of(&results), expected);
        assert_eq!(results.iter().filter(|result| result.is_robust()).count(), 1);
        assert_eq!(results.iter().filter(|result| result.is_error()).count(), 2);
    }
}
