//! Values against fairlearn's, bounds against what they promise, and groups too small to say anything about.

use test_case::test_case;

use super::*;
use crate::evaluation::statistics::{
    draws::Draws,
    testing::{Fixture, assert_within},
};

fn tally(some: u64, others: u64) -> Tally {
    Tally::of(some, others)
}

fn of(list: &[u64]) -> Confusion {
    let [true_positive, false_positive, true_negative, false_negative] = list[..] else {
        panic!("{list:?}")
    };
    Confusion {
        true_positive,
        false_positive,
        true_negative,
        false_negative,
    }
}

/// Census of 70,131 people by sex, by race, and a synthetic set: fairlearn saw the rows, we their counts.
#[test]
fn values_are_those_of_fairlearn() {
    for case in Fixture::fairness().at("counts").list() {
        let groups: BTreeMap<usize, Confusion> = case
            .at("groups")
            .list()
            .iter()
            .map(|group| of(&group.counts("counts")))
            .enumerate()
            .collect();
        let found = assess(&groups, case.count("least"), 0.05).unwrap();
        assert_within(
            found.selection.difference.unwrap().value,
            case.number("dpd"),
            1e-12,
        );
        assert_within(found.selection.ratio.unwrap().value, case.number("dpr"), 1e-12);
        assert_within(found.equalized_odds.unwrap().value, case.number("eod"), 1e-12);
        assert_within(
            found.opportunity.difference.unwrap().value,
            case.number("eqopp"),
            1e-12,
        );
        assert_eq!(found.unassessed.len() as u64, case.count("unassessed"));
    }
}

#[test]
fn rows_are_counted_as_fairlearn_counts_them() {
    let rows = Fixture::fairness().at("rows");
    let counts = confusions(
        &rows.counts("groups"),
        &rows.flags("predictions"),
        &rows.flags("truths"),
    )
    .unwrap();
    let found = assess(&counts, 1, 0.05).unwrap();
    assert_within(
        found.selection.difference.unwrap().value,
        rows.number("dpd"),
        1e-12,
    );
    assert_within(found.selection.ratio.unwrap().value, rows.number("dpr"), 1e-12);
    assert_within(found.equalized_odds.unwrap().value, rows.number("eod"), 1e-12);
    assert_within(
        found.opportunity.difference.unwrap().value,
        rows.number("eqopp"),
        1e-12,
    );
}

#[test]
fn a_pair_has_newcombes_interval() {
    for case in Fixture::fairness().at("newcombe").list() {
        let (one, other) = (case.counts("one"), case.counts("other"));
        let rates = BTreeMap::from([(0, tally(one[0], one[1])), (1, tally(other[0], other[1]))]);
        let found = compare(&rates, 1, 0.05).unwrap().difference.unwrap();
        assert_within(found.interval.lower, case.number("lower"), 1e-9);
        assert_within(found.interval.upper, case.number("upper"), 1e-9);
    }
}

#[test]
fn the_smallest_groups_are_listed_by_their_denominators() {
    // Enough people in "few positives", but only 150 whom the model should have chosen.
    let groups = BTreeMap::from([
        ("a", of(&[300, 100, 400, 200])),
        ("b", of(&[250, 120, 410, 220])),
        ("few positives", of(&[149, 100, 800, 1])),
        ("one", of(&[1, 0, 0, 0])),
    ]);
    let found = assess(&groups, LEAST_GROUP, 0.05).unwrap();
    assert_eq!(found.unassessed, ["few positives", "one"]);
    assert_eq!(found.selection.unassessed.keys().collect::<Vec<_>>(), [&"one"]);
    assert_eq!(
        found.opportunity.unassessed.keys().collect::<Vec<_>>(),
        [&"few positives", &"one"]
    );
    let gap = found.selection.difference.unwrap();
    assert_eq!((gap.lowest, gap.highest), ("few positives", "a"));
    let gap = found.opportunity.difference.unwrap();
    assert_eq!((gap.lowest, gap.highest), ("b", "a"));
}

#[test_case(&[("a", 10, 300)] ; "one group")]
#[test_case(&[("a", 10, 300), ("b", 5, 190)] ; "one that is large enough")]
#[test_case(&[("a", 1, 0), ("b", 0, 1)] ; "none that is")]
fn there_is_nothing_to_compare(groups: &[(&str, u64, u64)]) {
    let rates = groups
        .iter()
        .map(|(name, some, others)| (*name, tally(*some, *others)));
    let found = compare(&rates.collect(), LEAST_GROUP, 0.05).unwrap();
    assert_eq!((found.difference, found.ratio), (None, None));
    assert_eq!(found.assessed.len() + found.unassessed.len(), groups.len());
}

#[test_case(200 => 2; "as many as asked for are enough")]
#[test_case(201 => 1; "one fewer is not")]
fn a_group_is_large_enough_from_the_least_on(least: u64) -> usize {
    let rates = BTreeMap::from([("a", tally(50, 150)), ("b", tally(50, 400))]);
    compare(&rates, least, 0.05).unwrap().assessed.len()
}

/// Two rates are looked at for one number, so each gets half of what may go wrong.
#[test_case([300, 100, 400, 200], [250, 120, 410, 220]; "the right ones are farther apart")]
#[test_case([300, 50, 400, 200], [310, 250, 410, 220]; "the wrong ones are")]
fn equalized_odds_is_the_larger_gap_within_the_larger_bounds(one: [u64; 4], other: [u64; 4]) {
    let groups = BTreeMap::from([("a", of(&one)), ("b", of(&other))]);
    let found = assess(&groups, LEAST_GROUP, 0.05)
        .unwrap()
        .equalized_odds
        .unwrap();
    let gap = |rate: fn(Confusion) -> Tally| {
        let rates = groups.iter().map(|(group, counts)| (*group, rate(*counts)));
        compare(&rates.collect(), LEAST_GROUP, 0.025)
            .unwrap()
            .difference
            .unwrap()
    };
    let (right, wrong) = (
        gap(Confusion::true_positive_rate),
        gap(Confusion::false_positive_rate),
    );
    assert_within(found.value, right.value.max(wrong.value), 0.0);
    assert_within(
        found.interval.lower,
        right.interval.lower.max(wrong.interval.lower),
        0.0,
    );
    assert_within(
        found.interval.upper,
        right.interval.upper.max(wrong.interval.upper),
        0.0,
    );
}

#[test]
fn an_empty_denominator_is_never_assessed() {
    let rates = BTreeMap::from([("a", tally(0, 0)), ("b", tally(1, 1)), ("c", tally(2, 0))]);
    let found = compare(&rates, 0, 0.05).unwrap();
    assert_eq!(found.unassessed.keys().collect::<Vec<_>>(), [&"a"]);
    assert_within(found.difference.unwrap().value, 0.5, 0.0);
}

#[test]
fn a_model_that_chooses_nobody_has_no_gap_and_no_ratio() {
    let rates = BTreeMap::from([("a", tally(0, 500)), ("b", tally(0, 900))]);
    let found = compare(&rates, LEAST_GROUP, 0.05).unwrap();
    assert_within(found.difference.unwrap().value, 0.0, 0.0);
    assert_eq!(found.ratio, None);
}

/// Five groups, all alike or not: in how many of 1000 samples is the true gap outside of the bounds?
#[test_case(&[0.5; 5], 200)]
#[test_case(&[0.2, 0.25, 0.3, 0.35, 0.4], 400)]
#[test_case(&[0.05, 0.9], 200)]
fn bounds_hold_for_all_pairs_at_once(shares: &[f64], size: u64) {
    let most = shares.iter().copied().fold(0.0, f64::max);
    let least = shares.iter().copied().fold(1.0, f64::min);
    let (mut outside, mut outside_ratio) = (0, 0);
    for run in 0..1000 {
        let mut draws = Draws::new(3, run);
        let rates = shares.iter().enumerate().map(|(group, share)| {
            let tally = (0..size).fold(Tally::default(), |tally, _| tally.and(draws.unit() < *share));
            (group, tally)
        });
        let found = compare(&rates.collect(), LEAST_GROUP, 0.05).unwrap();
        let holds = |gap: Gap<usize>, truth: f64| {
            assert!(gap.interval.lower <= gap.value && gap.value <= gap.interval.upper);
            gap.interval.lower <= truth && truth <= gap.interval.upper
        };
        outside += u32::from(!holds(found.difference.unwrap(), most - least));
        outside_ratio += u32::from(!holds(found.ratio.unwrap(), least / most));
    }
    // 50 are expected of bounds that are exact; these are Wilson's, which are not quite (69 were seen with these seeds). Five
    // standard deviations.
    assert!(outside <= 84, "{outside} of 1000");
    assert!(outside_ratio <= 84, "{outside_ratio} of 1000");
}

#[test]
fn lists_are_as_long_as_each_other() {
    assert!(confusions::<u8>(&[], &[], &[]).is_err());
    assert!(confusions(&["a"], &[true, false], &[true]).is_err());
    assert!(confusions(&["a"], &[true], &[]).is_err());
    assert!(compare::<u8>(&BTreeMap::new(), 1, 0.05).is_err());
    assert!(compare(&BTreeMap::from([(1, tally(1, 1))]), 1, 0.0).is_err());
    let everybody_alone = (0..=MOST_GROUPS).map(|person| (person, tally(1, 0)));
    assert!(matches!(
        compare(&everybody_alone.collect(), 1, 0.05),
        Err(StatError::TooMany { .. })
    ));
}
