//! Whether a model betrays what it was trained on: its losses on members are lower than on others, and by how much.
//! An attacker who is sure of a few members does harm that no average shows, so the rates at few false alarms count.

use super::{StatError, finite, interval::Tally, real, real64};

/// How well a threshold on the loss tells members from others.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// How likely a member has the lower loss than somebody else, ties half: 0.5 is no better than a coin.
    pub auc: f64,
    /// One entry for each rate of false alarms that was asked about, in that order.
    pub at: Vec<Caught>,
}

/// What an attacker gets who accepts some false alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Caught {
    /// The share of others that may be taken for members.
    pub false_alarms: f64,
    /// How many members are caught at the best threshold that keeps to it. A chance of twice the false alarms is
    /// already more than a model should give away.
    pub members: Tally,
    /// Members with a loss of at most this are caught; none when no threshold keeps to it.
    pub threshold: Option<f64>,
}

/// The loss-threshold attack. `members`, `others`: the model's loss for each row that it was, and was not, trained on.
/// `false_alarms`: rates of false alarms to ask about, such as 0.01 and 0.001.
///
/// # Errors
/// [`StatError::Empty`], [`StatError::NotFinite`]; [`StatError::Range`] for a rate not between 0 and 1;
/// [`StatError::TooFew`] others to tell a rate by: fewer than one false alarm would be allowed.
/// # Source
/// Yeom, Giacomelli, Fredrikson and Jha 2018; Carlini et al. 2022 for rates at few false alarms.
pub fn membership(members: &[f64], others: &[f64], false_alarms: &[f64]) -> Result<Membership, StatError> {
    finite("losses of members", members)?;
    finite("losses of others", others)?;
    for rate in false_alarms {
        super::open_share("the rate of false alarms", *rate)?;
        let needed = (1.0 / rate).ceil();
        if real(others.len()) < needed {
            return Err(StatError::TooFew {
                what: "losses of others",
                found: others.len(),
                needed: super::whole(needed, usize::MAX),
            });
        }
    }
    let members_only = members.iter().map(|loss| (*loss, true));
    let mut losses: Vec<(f64, bool)> = members_only
        .chain(others.iter().map(|loss| (*loss, false)))
        .collect();
    losses.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));

    let mut steps = vec![Step::default()];
    // In order of size those that are not above what comes before are equal to it.
    for equal in losses.chunk_by(|before, next| next.0 <= before.0) {
        let caught = equal.iter().filter(|(_, member)| *member).count() as u64;
        let before = steps.last().copied().unwrap_or_default();
        steps.push(Step {
            caught: before.caught + caught,
            alarms: before.alarms + equal.len() as u64 - caught,
            threshold: equal.first().map(|(loss, _)| *loss),
        });
    }
    let (all, all_others) = (real(members.len()), real(others.len()));
    let area: f64 = steps
        .windows(2)
        .map(|pair| {
            let [from, to] = pair else { return 0.0 };
            real64(to.alarms - from.alarms) * f64::midpoint(real64(from.caught), real64(to.caught))
        })
        .sum();
    let at = false_alarms.iter().map(|rate| {
        let within = steps
            .iter()
            .take_while(|step| real64(step.alarms) / all_others <= *rate);
        let best = within.last().copied().unwrap_or_default();
        Ok(Caught {
            false_alarms: *rate,
            members: Tally::new(best.caught, members.len() as u64)?,
            threshold: best.threshold,
        })
    });
    Ok(Membership {
        auc: area / (all * all_others),
        at: at.collect::<Result<_, StatError>>()?,
    })
}

/// Who is taken for a member up to a threshold.
#[derive(Clone, Copy, Default)]
struct Step {
    caught: u64,
    alarms: u64,
    threshold: Option<f64>,
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::testing::{Fixture, assert_within};

    #[test]
    fn areas_and_rates_are_those_of_scikit_learn() {
        for case in Fixture::membership().at("cases").list() {
            let found = membership(&case.numbers("members"), &case.numbers("others"), &[0.1, 0.01]).unwrap();
            assert_within(found.auc, case.number("auc"), 1e-12);
            for (caught, name) in found.at.iter().zip(["tpr_10", "tpr_1"]) {
                assert_within(caught.members.share().unwrap(), case.number(name), 1e-12);
            }
        }
    }

    #[test_case(&[0.0, 0.1], &[1.0, 2.0] => (1.0, 2); "every member is caught")]
    #[test_case(&[1.0, 2.0], &[0.0, 0.1] => (0.0, 0); "the wrong way round")]
    #[test_case(&[1.0, 1.0], &[1.0, 1.0] => (0.5, 0); "all the same")]
    #[test_case(&[0.0, 1.0], &[0.0, 1.0] => (0.5, 1); "half of them for half")]
    fn caught(members: &[f64], others: &[f64]) -> (f64, u64) {
        let found = membership(members, others, &[0.5]).unwrap();
        (found.auc, found.at[0].members.successes())
    }

    #[test]
    fn a_rate_needs_others_to_be_told_by() {
        let others = vec![1.0; 999];
        let found = membership(&[0.0], &others, &[0.01, 0.001]);
        assert!(
            matches!(found, Err(StatError::TooFew { needed: 1000, .. })),
            "{found:?}"
        );
    }

    #[test_case(&[], &[1.0], 0.5; "no members")]
    #[test_case(&[1.0], &[], 0.5; "no others")]
    #[test_case(&[f64::INFINITY], &[1.0], 0.5; "an infinite loss")]
    #[test_case(&[1.0], &[1.0], 0.0; "no false alarm at all")]
    #[test_case(&[1.0], &[1.0], f64::NAN; "no rate")]
    fn refused(members: &[f64], others: &[f64], rate: f64) {
        assert!(membership(members, others, &[rate]).is_err());
    }
}
