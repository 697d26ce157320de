//! Whether a model treats groups alike: gaps between groups in who is chosen, and in who is judged rightly.
//! A group whose denominator is too small is not compared and not forgotten: it is listed, and a verdict has to wait.
//!
//! A gap alone says little: a model that chooses nobody has none. Gate it beside accuracy.

use std::collections::BTreeMap;

use super::{
    StatError,
    interval::{Interval, Tally, wilson_at},
    level, same_length,
    special::normal_upper_quantile,
};

/// The least denominator of a group that is compared, unless the policy says more.
pub const LEAST_GROUP: u64 = 200;

/// As many groups as are compared: every one with every other.
pub const MOST_GROUPS: usize = 2000;

/// What a binary classifier did for one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confusion {
    /// Chosen, and rightly.
    pub true_positive: u64,
    /// Chosen, and wrongly.
    pub false_positive: u64,
    /// Not chosen, and rightly.
    pub true_negative: u64,
    /// Not chosen, and wrongly.
    pub false_negative: u64,
}

impl Confusion {
    /// How many of all were chosen.
    pub const fn selection(self) -> Tally {
        Tally::of(
            self.true_positive + self.false_positive,
            self.true_negative + self.false_negative,
        )
    }

    /// How many of those who should have been chosen were.
    pub const fn true_positive_rate(self) -> Tally {
        Tally::of(self.true_positive, self.false_negative)
    }

    /// How many of those who should not have been chosen were.
    pub const fn false_positive_rate(self) -> Tally {
        Tally::of(self.false_positive, self.true_negative)
    }
}

/// Counts, group by group, what was predicted and what was true. Lists of the same length, one entry a row.
///
/// # Errors
/// [`StatError::Empty`] without rows; [`StatError::Shape`] when the lengths differ.
pub fn confusions<G: Ord + Clone>(
    groups: &[G],
    predictions: &[bool],
    truths: &[bool],
) -> Result<BTreeMap<G, Confusion>, StatError> {
    if groups.is_empty() {
        return Err(StatError::Empty { what: "rows" });
    }
    same_length("predictions", predictions.len(), groups.len())?;
    same_length("truths", truths.len(), groups.len())?;
    let mut found: BTreeMap<&G, Confusion> = BTreeMap::new();
    for ((group, prediction), truth) in groups.iter().zip(predictions).zip(truths) {
        let of_group = found.entry(group).or_default();
        let count = match (prediction, truth) {
            (true, true) => &mut of_group.true_positive,
            (true, false) => &mut of_group.false_positive,
            (false, false) => &mut of_group.true_negative,
            (false, true) => &mut of_group.false_negative,
        };
        *count += 1;
    }
    Ok(found
        .into_iter()
        .map(|(group, counts)| (group.clone(), counts))
        .collect())
}

/// A rate, compared over all pairs of groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison<G> {
    /// Highest rate less lowest: 0 is alike. None with fewer than two groups to compare.
    pub difference: Option<Gap<G>>,
    /// Lowest rate over highest: 1 is alike. None as well when the highest is 0.
    pub ratio: Option<Gap<G>>,
    /// The rates of the groups that are compared.
    pub assessed: BTreeMap<G, Tally>,
    /// The groups whose denominator is too small. While there are any, nothing is known about everybody.
    pub unassessed: BTreeMap<G, Tally>,
}

/// How far apart two groups are, with bounds that hold for all pairs at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Gap<G> {
    /// What was observed.
    pub value: f64,
    /// Where the gap of the whole population lies.
    pub interval: Interval,
    /// The group with the lowest rate; the first of several.
    pub lowest: G,
    /// The group with the highest rate; the first of several.
    pub highest: G,
}

/// Compares one rate over all pairs of those groups that have at least `least` in the denominator.
///
/// The bounds of the difference are the largest lower and the largest upper bound over all pairs, each pair at
/// `alpha` / pairs (Bonferroni): with a chance of at least 1 − `alpha`, up to the approximation of Wilson's interval,
/// the gap between any two groups is within. The bounds of the ratio are made from the groups' own intervals at
/// `alpha` / groups, and a little wider than they need to be.
///
/// # Errors
/// [`StatError::Empty`] without groups; [`StatError::TooMany`] above [`MOST_GROUPS`]; [`StatError::Range`] unless
/// 0 < `alpha` ≤ 0.5.
/// # Source
/// Rates and gaps as in fairlearn; Newcombe 1998, method 10, for a pair's difference.
pub fn compare<G: Ord + Clone>(
    rates: &BTreeMap<G, Tally>,
    least: u64,
    alpha: f64,
) -> Result<Comparison<G>, StatError> {
    level(alpha)?;
    if rates.is_empty() {
        return Err(StatError::Empty { what: "groups" });
    }
    // Without anybody there is no rate, however little is asked for.
    let enough = |tally: &Tally| tally.trials() >= least.max(1);
    let (assessed, unassessed): (BTreeMap<G, Tally>, _) = rates
        .iter()
        .map(|(group, tally)| (group.clone(), *tally))
        .partition(|(_, tally)| enough(tally));
    if assessed.len() > MOST_GROUPS {
        return Err(StatError::TooMany {
            what: "groups",
            found: assessed.len(),
            most: MOST_GROUPS,
        });
    }
    let groups: Vec<(&G, Rate)> = assessed
        .iter()
        .map(|(group, tally)| Ok((group, Rate::of(*tally)?)))
        .collect::<Result<_, StatError>>()?;
    let (difference, ratio) = if groups.len() < 2 {
        (None, None)
    } else {
        (difference(&groups, alpha), ratio(&groups, alpha))
    };
    Ok(Comparison {
        difference,
        ratio,
        assessed,
        unassessed,
    })
}

/// A tally that has trials, and its share.
#[derive(Clone, Copy)]
struct Rate {
    tally: Tally,
    share: f64,
}

impl Rate {
    fn of(tally: Tally) -> Result<Self, StatError> {
        Ok(Self {
            tally,
            share: tally.share()?,
        })
    }
}

/// A group and its share.
type Share<'a, G> = (&'a G, f64);

/// The groups with the lowest and the highest rate.
fn extremes<'a, G>(groups: &[(&'a G, Rate)]) -> Option<(Share<'a, G>, Share<'a, G>)> {
    let mut shares = groups.iter().map(|(group, rate)| (*group, rate.share));
    let first = shares.next()?;
    Some(shares.fold((first, first), |(lowest, highest), next| {
        (
            if next.1 < lowest.1 { next } else { lowest },
            if next.1 > highest.1 { next } else { highest },
        )
    }))
}

fn difference<G: Clone>(groups: &[(&G, Rate)], alpha: f64) -> Option<Gap<G>> {
    let (lowest, highest) = extremes(groups)?;
    let pairs = super::real(groups.len() * (groups.len() - 1) / 2);
    let z = normal_upper_quantile(alpha / pairs / 2.0);
    let rates: Vec<(f64, Interval)> = groups
        .iter()
        .map(|(_, rate)| (rate.share, wilson_at(rate.tally, z)))
        .collect();
    let mut interval = Interval {
        lower: 0.0,
        upper: 0.0,
    };
    for (place, one) in rates.iter().enumerate() {
        for other in rates.iter().skip(place + 1) {
            // Of the two directions the one that was observed decides; the other may still be the true one.
            let (below, above) = if one.0 <= other.0 {
                (one, other)
            } else {
                (other, one)
            };
            let gap = above.0 - below.0;
            let down = (above.0 - above.1.lower).hypot(below.1.upper - below.0);
            let up = (above.1.upper - above.0).hypot(below.0 - below.1.lower);
            interval.lower = interval.lower.max(gap - down);
            interval.upper = interval.upper.max((gap + up).max(down - gap).min(1.0));
        }
    }
    Some(Gap {
        value: highest.1 - lowest.1,
        interval,
        lowest: lowest.0.clone(),
        highest: highest.0.clone(),
    })
}

fn ratio<G: Clone>(groups: &[(&G, Rate)], alpha: f64) -> Option<Gap<G>> {
    let (lowest, highest) = extremes(groups)?;
    if highest.1 <= 0.0 {
        return None;
    }
    let z = normal_upper_quantile(alpha / super::real(groups.len()) / 2.0);
    let intervals: Vec<Interval> = groups.iter().map(|(_, rate)| wilson_at(rate.tally, z)).collect();
    let over = |bound: fn(&Interval) -> f64| {
        let bounds = intervals.iter().map(bound);
        bounds.fold((f64::INFINITY, 0.0_f64), |(least, most), next| {
            (least.min(next), most.max(next))
        })
    };
    let ((least_lower, most_lower), (least_upper, most_upper)) =
        (over(|interval| interval.lower), over(|interval| interval.upper));
    Some(Gap {
        value: lowest.1 / highest.1,
        interval: Interval {
            lower: least_lower / most_upper,
            // Two bounds of nothing are no bound of their ratio.
            upper: if least_upper < most_lower {
                least_upper / most_lower
            } else {
                1.0
            },
        },
        lowest: lowest.0.clone(),
        highest: highest.0.clone(),
    })
}

/// The usual four numbers, and what they were made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Fairness<G> {
    /// Who is chosen: its difference is the demographic parity difference, its ratio the demographic parity ratio.
    pub selection: Comparison<G>,
    /// Who is chosen of those who should be: its difference is the equal opportunity difference.
    pub opportunity: Comparison<G>,
    /// The larger of the gaps in true and in false positive rates. None unless both are known.
    pub equalized_odds: Option<Gap<G>>,
    /// The groups that some comparison leaves out.
    pub unassessed: Vec<G>,
}

/// Assesses a binary classifier over groups, with at least `least` in every denominator (see [`LEAST_GROUP`]).
///
/// Each of the numbers has its own `alpha`; equalized odds, which looks at two rates, halves it for either.
///
/// # Errors
/// As [`compare`].
/// # Source
/// Hardt, Price and Srebro 2016; values equal `demographic_parity_difference`, `demographic_parity_ratio`,
/// `equalized_odds_difference` and `equal_opportunity_difference` of fairlearn over the groups assessed.
pub fn assess<G: Ord + Clone>(
    groups: &BTreeMap<G, Confusion>,
    least: u64,
    alpha: f64,
) -> Result<Fairness<G>, StatError> {
    let rates = |rate: fn(Confusion) -> Tally| -> BTreeMap<G, Tally> {
        groups
            .iter()
            .map(|(group, counts)| (group.clone(), rate(*counts)))
            .collect()
    };
    let selection = compare(&rates(Confusion::selection), least, alpha)?;
    let opportunity = compare(&rates(Confusion::true_positive_rate), least, alpha)?;
    let right = compare(&rates(Confusion::true_positive_rate), least, alpha / 2.0)?;
    let wrong = compare(&rates(Confusion::false_positive_rate), least, alpha / 2.0)?;
    let left_out = |group: &&G| {
        [&selection, &opportunity, &wrong]
            .iter()
            .any(|comparison| comparison.unassessed.contains_key(*group))
    };
    let unassessed = groups.keys().filter(left_out).cloned().collect();
    Ok(Fairness {
        equalized_odds: right.difference.zip(wrong.difference).map(larger),
        selection,
        opportunity,
        unassessed,
    })
}

/// The larger of two gaps, within the larger of both bounds.
fn larger<G>((one, other): (Gap<G>, Gap<G>)) -> Gap<G> {
    let interval = Interval {
        lower: one.interval.lower.max(other.interval.lower),
        upper: one.interval.upper.max(other.interval.upper),
    };
    let larger = if one.value >= other.value { one } else { other };
    Gap { interval, ..larger }
}

#[cfg(test)]
mod tests;
