//! The walk on a model whose border is a plane, so that the nearest point of it is known.

use test_case::test_case;

use super::*;
use crate::evaluation::{
    attack::{Attacked, Norm, Plan, Run, Tally, median_distance, run},
    model::Model,
    testing::{Planted, plain},
};

/// Twelve numbers of 0.5, read wrongly from a plane on: where the weighted sum of what moved is above an offset.
const WEIGHTS: [f32; 12] = [1.0, -2.0, 0.5, 0.0, 3.0, -1.0, 1.5, -0.5, 2.0, 0.25, -1.25, 1.0];

fn plane(offset: f32) -> Planted<impl FnMut(&[f32]) -> Result<Vec<f32>, Fault>> {
    Planted(move |row: &[f32]| {
        let sum: f32 = row
            .iter()
            .zip(WEIGHTS)
            .map(|(value, weight)| (value - 0.5) * weight)
            .sum();
        // Labels only: how near it is must not help.
        Ok(if sum > offset {
            vec![0.0, 1.0]
        } else {
            vec![1.0, 0.0]
        })
    })
}

fn attacked(model: &mut dyn Model, norm: Norm, epsilon: f32, attack: HopSkipJump) -> Run {
    let data = plain(9, &[3, 4], 0.5, &[0]);
    let plan = Plan {
        samples: 9,
        block: 9,
        seed: 7,
    };
    let threat = Threat::new(norm, epsilon, 0.0, 1.0).unwrap();
    run(model, &data, &plan, &threat, &attack, &mut ()).unwrap()
}

fn nearest(budget: u32) -> HopSkipJump {
    HopSkipJump {
        nearest: true,
        ..HopSkipJump::new(budget)
    }
}

/// The distance of a point from a plane: its offset by the norm of the weights that belongs to the norm of inputs.
fn true_distance(norm: Norm, offset: f64) -> f64 {
    let weights = WEIGHTS.map(|weight| f64::from(weight).abs());
    offset
        / match norm {
            Norm::L2 => weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt(),
            Norm::Linf => weights.iter().sum(),
        }
}

#[test_case(Norm::L2; "the length of the way")]
#[test_case(Norm::Linf; "the number that moves furthest")]
fn the_nearest_point_of_a_plane_is_found(norm: Norm) {
    let found = attacked(&mut plane(1.0), norm, 0.01, nearest(5000));
    let truth = true_distance(norm, 1.0);
    for result in &found.results {
        let distance = result.distance.unwrap();
        assert!(
            distance >= truth * 0.999 && distance < truth * 1.1,
            "{distance} and {truth}"
        );
        assert_eq!(result.attacked, Some(Attacked::Held), "too far to be allowed");
    }
    let median = median_distance(&found.results).unwrap();
    assert!(
        (median.value / truth - 1.0).abs() < 0.08,
        "{median:?} and {truth}"
    );
}

#[test_case(0.9, 9, 0; "just out of reach")]
#[test_case(1.15, 0, 9; "in reach")]
fn what_is_in_reach_is_broken(share: f64, held: usize, broken: usize) {
    let truth = true_distance(Norm::L2, 1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a test")]
    let epsilon = (truth * share) as f32;
    for attack in [HopSkipJump::new(3000), nearest(3000)] {
        let found = attacked(&mut plane(1.0), Norm::L2, epsilon, attack);
        let tally = Tally::of(&found.results);
        assert_eq!((tally.held, tally.broken), (held, broken), "{attack:?}");
        assert!(found.results.iter().all(|result| result.queries <= 3000));
    }
}

#[test]
fn it_stops_when_it_may() {
    let rows = |attack| attacked(&mut plane(1.0), Norm::L2, 0.5, attack).rows;
    assert!(rows(HopSkipJump::new(3000)) * 2 < rows(nearest(3000)));
}

#[test]
fn what_cannot_be_attacked_has_no_distance() {
    let found = attacked(
        &mut Planted(|_: &[f32]| Ok(vec![1.0, 0.0])),
        Norm::L2,
        0.5,
        nearest(1000),
    );
    assert_eq!(Tally::of(&found.results).held, 9);
    assert!(found.results.iter().all(|result| result.distance.is_none()));
    assert_eq!(median_distance(&found.results), None);
    // As they are, a hundred starts, and once more.
    assert_eq!(found.rows, 9 * 102);
}

#[test_case(1)]
#[test_case(7)]
#[test_case(150)]
fn the_budget_is_kept(budget: u32) {
    let found = attacked(&mut plane(1.0), Norm::Linf, 0.01, nearest(budget));
    assert!(
        found.results.iter().all(|result| result.queries <= budget),
        "{found:?}"
    );
    assert!(found.rows <= 9 * u64::from(budget + 2));
}

#[test]
fn a_touch_without_an_answer_is_an_error() {
    let mut model = Planted(|row: &[f32]| {
        if (row[0] - 0.5).abs() > 1e-6 {
            Err(Fault::NotFinite)
        } else {
            Ok(vec![1.0, 0.0])
        }
    });
    let found = attacked(&mut model, Norm::L2, 0.5, nearest(100));
    assert!(
        found
            .results
            .iter()
            .all(|r| r.attacked == Some(Attacked::Error(Fault::NotFinite)) && r.queries == 1)
    );
}

#[test]
fn a_result_is_that_of_the_sample_and_the_seed() {
    let data = plain(9, &[3, 4], 0.5, &[0]);
    let threat = Threat::new(Norm::L2, 0.01, 0.0, 1.0).unwrap();
    let of = |block| {
        let plan = Plan {
            samples: 9,
            block,
            seed: 7,
        };
        run(&mut plane(1.0), &data, &plan, &threat, &nearest(800), &mut ())
            .unwrap()
            .results
    };
    assert_eq!(of(9), of(2));
}

#[test]
fn noise_grows_with_the_root_of_the_steps() {
    assert_eq!([1, 2, 4, 64].map(walk::noise_at), [100, 141, 200, 800]);
}
