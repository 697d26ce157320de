//! Runs on models that do as they are told: what is counted as what, in which order, and when it ends.

use std::ops::ControlFlow;

use test_case::test_case;

use super::{
    super::{Norm, Square, Tally},
    *,
};
use crate::evaluation::testing::{Planted, plain};

fn threat() -> Threat {
    Threat::new(Norm::Linf, 0.1, 0.0, 1.0).unwrap()
}

fn plan(samples: usize) -> Plan {
    Plan {
        samples,
        block: 4,
        seed: 7,
    }
}

fn done(model: &mut dyn Model, data: &Dataset, plan: &Plan) -> Result<Run, AttackError> {
    run(model, data, plan, &threat(), &Square::new(20), &mut ())
}

/// Always sure of the first class.
#[expect(clippy::unnecessary_wraps, reason = "as models are planted")]
fn stubborn(_: &[f32]) -> Result<Vec<f32>, Fault> {
    Ok(vec![1.0, 0.0])
}

/// Right about what was not touched.
#[expect(clippy::unnecessary_wraps, reason = "as models are planted")]
fn brittle(row: &[f32]) -> Result<Vec<f32>, Fault> {
    let touched = row.iter().any(|value| (value - 0.5).abs() > 0.01);
    Ok(if touched { vec![0.0, 1.0] } else { vec![1.0, 0.0] })
}

#[test]
fn what_always_holds_holds_and_what_is_wrong_is_not_attacked() {
    let data = plain(10, &[1, 4, 4], 0.5, &[0, 1]);
    let found = done(&mut Planted(stubborn), &data, &plan(10)).unwrap();
    let tally = Tally::of(&found.results);
    assert_eq!((tally.samples, tally.held, tally.wrong), (10, 5, 5));
    // As they are, five times the budget, and once more.
    assert_eq!(
        (found.rows, found.classes, found.complete),
        (10 + 5 * 20 + 5, 2, true)
    );
    assert!(
        found
            .results
            .iter()
            .all(|r| r.queries == if r.clean == Clean::Correct { 20 } else { 0 })
    );
}

#[test]
fn what_breaks_at_a_touch_is_asked_once() {
    let data = plain(10, &[1, 4, 4], 0.5, &[0]);
    let found = done(&mut Planted(brittle), &data, &plan(10)).unwrap();
    let broken = Some(Attacked::Broken { confirmed: true });
    assert!(
        found
            .results
            .iter()
            .all(|r| r.attacked == broken && r.queries == 1)
    );
    assert_eq!(found.rows, 30);
    assert!(
        found
            .results
            .iter()
            .all(|r| (r.distance.unwrap() - 0.1).abs() < 1e-6)
    );
}

/// Noise, so that samples differ; a model whose boundary is somewhere in it.
#[test]
fn a_result_is_that_of_the_sample_and_the_seed() {
    let data = plain(12, &[1, 6, 6], 0.5, &[0]);
    let model = |row: &[f32]| {
        Ok(vec![
            1.0,
            row.iter()
                .enumerate()
                .map(|(i, v)| if i % 3 == 0 { *v } else { 0.05 })
                .sum(),
        ])
    };
    let model = move |row: &[f32]| {
        model(row).map(|mut scores: Vec<f32>| {
            scores[0] = 7.9;
            scores
        })
    };
    let of = |block, samples, seed| {
        let plan = Plan { samples, block, seed };
        let mut results = run(
            &mut Planted(model),
            &data,
            &plan,
            &threat(),
            &Square::new(50),
            &mut (),
        )
        .unwrap()
        .results;
        results.sort_by_key(|result| result.sample);
        results
    };
    let all = of(12, 12, 7);
    assert!(all.iter().any(|r| r.queries > 1), "{all:?}");
    assert_eq!(all, of(1, 12, 7));
    assert_eq!(all, of(5, 12, 7));
    assert_ne!(all, of(12, 12, 8));
    for result in of(3, 6, 7) {
        assert_eq!(result, all[result.sample]);
    }
}

/// What happens to one sample is nobody else's, and never in the model's favour.
#[test_case(Fault::NotFinite; "no number")]
#[test_case(Fault::Shape; "another shape")]
#[test_case(Fault::Unreadable; "nothing to read")]
fn a_touch_without_an_answer_is_an_error(fault: Fault) {
    let data = plain(6, &[1, 4, 4], 0.5, &[0]);
    let mut model = Planted(|row: &[f32]| {
        if (row[0] - 0.5).abs() > 0.01 {
            Err(fault)
        } else {
            stubborn(row)
        }
    });
    let found = done(&mut model, &data, &plan(6)).unwrap();
    assert!(
        found
            .results
            .iter()
            .all(|r| r.attacked == Some(Attacked::Error(fault)) && r.queries == 1)
    );
}

#[test]
fn samples_without_an_answer_are_counted() {
    let data = plain(6, &[1, 4, 4], 0.5, &[0, 1]);
    let mut asked = 0;
    let mut model = Planted(|row: &[f32]| {
        asked += 1;
        if asked == 1 {
            Err(Fault::NotFinite)
        } else {
            stubborn(row)
        }
    });
    let found = done(&mut model, &data, &plan(6)).unwrap();
    let tally = Tally::of(&found.results);
    assert_eq!((tally.samples, tally.errors), (6, 1));
    assert_eq!(found.results[0].clean, Clean::Error(Fault::NotFinite));
}

/// A guard in front that lets samples through and no changes: it refuses to classify, which is not classifying rightly.
#[test]
fn a_guard_that_refuses_every_change_leaves_the_sample_as_it_is() {
    let data = plain(3, &[1, 4, 4], 0.5, &[0]);
    let mut model = Planted(|row: &[f32]| {
        if (row[0] - 0.5).abs() > 0.01 {
            Err(Fault::Blocked)
        } else {
            stubborn(row)
        }
    });
    let found = done(&mut model, &data, &plan(3)).unwrap();
    assert!(
        found
            .results
            .iter()
            .all(|r| r.attacked == Some(Attacked::Held) && r.queries == 20),
        "{found:?}"
    );
    let mut refused = Planted(|_: &[f32]| Err(Fault::Blocked));
    let found = done(&mut refused, &data, &plan(3)).unwrap();
    assert!(
        found
            .results
            .iter()
            .all(|r| r.clean == Clean::Blocked && r.attacked.is_none())
    );
}

#[test]
fn a_model_that_changes_its_mind_is_broken_all_the_same() {
    let data = plain(1, &[1, 4, 4], 0.5, &[0]);
    let mut asked = 0;
    let mut model = Planted(|_: &[f32]| {
        asked += 1;
        Ok(if asked == 2 {
            vec![0.0, 1.0]
        } else {
            vec![1.0, 0.0]
        })
    });
    let found = done(&mut model, &data, &plan(1)).unwrap();
    assert_eq!(
        found.results[0].attacked,
        Some(Attacked::Broken { confirmed: false })
    );
}

#[test]
fn a_model_that_gives_no_scores_is_not_measured() {
    let data = plain(8, &[1, 4, 4], 0.5, &[0]);
    let error = done(&mut Planted(|_: &[f32]| Ok(vec![1.0])), &data, &plan(8)).unwrap_err();
    assert_eq!((error.code(), error.class()), ("NoScores", Class::Unsupported));
    assert!(
        error
            .to_string()
            .contains("the first 4 samples has an answer of the wrong shape"),
        "{error}"
    );
}

#[test_case(0, 0.5, &[0], "no samples were asked for"; "nothing")]
#[test_case(7, 0.5, &[0], "7 samples were asked for and the data has 6: take fewer"; "more than there are")]
#[test_case(6, 1.5, &[0], "sample 0 has numbers outside 0 to 1; those of the data go from 1.5 to 1.5"; "data in other units")]
#[test_case(6, 0.5, &[0, 2], "array `y` has the label 2 and the model scores 2 classes"; "a class the model has not")]
fn plans_that_make_no_sense(samples: usize, number: f32, labels: &[i64], words: &str) {
    let data = plain(6, &[1, 4, 4], number, labels);
    let error = done(&mut Planted(stubborn), &data, &plan(samples)).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!((error.code(), error.class()), ("PlanInvalid", Class::Malformed));
}

/// Ends after so many blocks or rows.
#[derive(Default)]
struct Impatient {
    blocks: usize,
    rows: u64,
    seen: Vec<usize>,
}

impl Watch for Impatient {
    fn asked(&mut self, rows: u64) -> ControlFlow<()> {
        self.rows = self.rows.saturating_sub(rows);
        if self.rows == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn block(&mut self, results: &[SampleResult]) -> ControlFlow<()> {
        self.seen.push(results.len());
        if self.seen.len() == self.blocks {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

#[test]
fn whoever_watches_may_end_a_run_between_blocks() {
    let data = plain(10, &[1, 4, 4], 0.5, &[0]);
    let mut watch = Impatient {
        blocks: 2,
        rows: u64::MAX,
        ..Impatient::default()
    };
    let found = run(
        &mut Planted(stubborn),
        &data,
        &plan(10),
        &threat(),
        &Square::new(20),
        &mut watch,
    )
    .unwrap();
    assert_eq!(
        (watch.seen, found.results.len(), found.complete),
        (vec![4, 8], 8, false)
    );
    let order: Vec<usize> = found.results.iter().map(|result| result.sample).collect();
    assert_eq!(order, order_of(7, 10)[..8]);
}

fn order_of(seed: u64, count: usize) -> Vec<usize> {
    crate::evaluation::random::order(seed, count)
}

#[test]
fn whoever_watches_may_stop_it_at_once() {
    let data = plain(10, &[1, 4, 4], 0.5, &[0]);
    let mut watch = Impatient {
        blocks: 99,
        rows: 30,
        ..Impatient::default()
    };
    let error = run(
        &mut Planted(stubborn),
        &data,
        &plan(10),
        &threat(),
        &Square::new(20),
        &mut watch,
    )
    .unwrap_err();
    assert!(matches!(error, AttackError::Model(ModelError::Stopped)));
}
