//! Quantiles of a sample, without putting all of it in order where only a few of them are wanted.

use super::{real, whole};

/// The `share` quantile of a sorted list that is not empty, between neighbours in proportion.
///
/// # Source
/// Hyndman and Fan 1996, definition 7: what NumPy and R do unless told otherwise.
pub(super) fn quantile_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let (below, above, rest) = between(sorted.len(), share);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * rest,
        _ => 0.0,
    }
}

/// The quantiles of a list that is in no order yet, nor afterwards.
pub(super) fn quantiles(values: &mut [f64], shares: &[f64]) -> Vec<f64> {
    let places = shares.iter().flat_map(|share| {
        let (below, above, _) = between(values.len(), *share);
        [below, above]
    });
    let mut ranks: Vec<usize> = places.collect();
    ranks.sort_unstable();
    ranks.dedup();
    put_in_place(values, 0, &ranks);
    let found = shares.iter().map(|share| quantile_of_sorted(values, *share));
    found.collect()
}

/// Between which two places of a sorted list a quantile lies, and how far from the first.
fn between(length: usize, share: f64) -> (usize, usize, f64) {
    let last = length.saturating_sub(1);
    let place = share * real(last);
    let below = whole(place, last);
    (below, (below + 1).min(last), place - real(below))
}

/// Moves to each rank what would be there if the list were sorted. `first` is the rank of the first entry.
fn put_in_place(values: &mut [f64], first: usize, ranks: &[usize]) {
    let (lower, rest) = ranks.split_at(ranks.len() / 2);
    let Some((rank, higher)) = rest.split_first() else {
        return;
    };
    let place = rank - first;
    if place < values.len() {
        let (below, _, above) = values.select_nth_unstable_by(place, f64::total_cmp);
        put_in_place(below, first, lower);
        put_in_place(above, rank + 1, higher);
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::evaluation::statistics::draws::Draws;

    #[test_case(&[3.0], 0.25 => 3.0; "one")]
    #[test_case(&[1.0, 2.0], 0.25 => 1.25; "in proportion")]
    #[test_case(&[1.0, 2.0, 4.0], 0.5 => 2.0; "the median")]
    #[test_case(&[1.0, 2.0, 4.0], 0.0 => 1.0; "the least")]
    #[test_case(&[1.0, 2.0, 4.0], 1.0 => 4.0; "the most")]
    #[test_case(&[], 0.5 => 0.0; "none")]
    fn between_neighbours(sorted: &[f64], share: f64) -> f64 {
        quantile_of_sorted(sorted, share)
    }

    #[test]
    fn order_does_not_matter() {
        let shares: Vec<f64> = (0..=20).map(|step| f64::from(step) / 20.0).collect();
        for length in [1, 2, 3, 10, 101, 1000] {
            let mut draws = Draws::new(4, length);
            let mut values: Vec<f64> = (0..length).map(|_| real(draws.below(50))).collect();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let expected: Vec<f64> = shares
                .iter()
                .map(|share| quantile_of_sorted(&sorted, *share))
                .collect();
            assert_eq!(quantiles(&mut values, &shares), expected);
        }
    }
}
