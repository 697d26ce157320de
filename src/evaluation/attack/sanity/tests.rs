//! Which models an attack works against at all.

use test_case::test_case;

use super::*;
use crate::evaluation::{
    attack::Norm,
    model::Fault,
    testing::{Planted, plain},
};

fn sane(labels: &[i64], model: impl FnMut(&[f32]) -> Result<Vec<f32>, Fault>) -> Result<Sanity, AttackError> {
    let data = plain(60, &[1, 4, 4], 0.5, labels);
    let plan = Plan {
        samples: 60,
        block: 4,
        seed: 7,
    };
    let threat = Threat::new(Norm::Linf, 0.1, 0.0, 1.0).unwrap();
    sanity(&mut Planted(model), &data, &plan, &threat, &mut ())
}

#[test]
fn a_model_that_looks_at_its_input_breaks() {
    let dark = |row: &[f32]| Ok(vec![0.6, row.iter().sum::<f32>() / 16.0]);
    let found = sane(&[0], dark).unwrap();
    assert_eq!((found.held, found.samples), (0, 50));
}

#[test]
fn a_model_that_says_always_the_same_is_chance() {
    let found = sane(&[0, 1], |_| Ok(vec![1.0, 0.0])).unwrap();
    assert!(found.held > 15 && found.held <= found.most, "{found:?}");
}

/// It knows the answers by heart, whatever it is shown.
#[test]
fn a_model_that_knows_the_labels_is_refused() {
    // Labels go with the place in the data, so the model is told the truth by a number that no attack may change.
    let data = plain(60, &[1, 4, 4], 0.5, &[0, 1, 2, 3]);
    let plan = Plan {
        samples: 40,
        block: 4,
        seed: 7,
    };
    let threat = Threat::new(Norm::Linf, 0.1, 0.0, 1.0).unwrap();
    let labels: Vec<usize> = order(7, 60).into_iter().take(40).map(|place| place % 4).collect();
    let mut asked = 0;
    let mut knowing = Planted(|_: &[f32]| {
        let mut scores = vec![0.0; 4];
        scores[labels[asked % 40]] = 1.0;
        asked += 1;
        Ok(scores)
    });
    let error = sanity(&mut knowing, &data, &plan, &threat, &mut ()).unwrap_err();
    assert_eq!(error.code(), "SanityFailed");
    assert!(
        error
            .to_string()
            .contains("still leaves 40 of 40 samples read rightly"),
        "{error}"
    );
}

#[test_case(&[0, 1], 2 => 33; "two classes, equally many")]
#[test_case(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10 => 11; "ten classes")]
#[test_case(&[0], 10 => 50; "one class only, of which nothing can be learned")]
fn chance(labels: &[i64], classes: usize) -> usize {
    let data = plain(500, &[2], 0.5, labels);
    let plan = Plan {
        samples: 50,
        block: 4,
        seed: 7,
    };
    by_chance(&data, &plan, classes)
}
