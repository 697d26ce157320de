//! Damage that is known beforehand, and what it does to the demo's model.

use test_case::test_case;

use super::*;
use crate::evaluation::{
    engine::Onnx,
    model::Fault,
    testing::{Planted, digits, floats, heldout, integers, npz, plain},
};

fn plan(samples: usize) -> Plan {
    Plan {
        samples,
        block: 40,
        seed: 7,
    }
}

/// One sample under one kind of damage.
fn damaged(kind: Corruption, severity: usize, shape: &[usize], input: &[f32], range: (f32, f32)) -> Vec<f32> {
    let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let x = floats(&format!("2, {}", sides.join(", ")), &[input, input].concat());
    let data = npz(&[("x", x), ("y", integers("2,", &[0, 0]))]);
    let data = Dataset::read(&data, &crate::evaluation::dataset::Limits::default()).unwrap();
    let mut random = Random::new(7, Purpose::Corruption(0), 0);
    kind.applied(severity, input, shape, range, &Columns::of(&data), &mut random)
}

fn near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let close = found
        .iter()
        .zip(expected)
        .all(|(found, expected)| (found - expected).abs() < 1e-6);
    assert!(close, "{found:?} is not {expected:?}");
}

#[test]
fn damage_that_is_known() {
    let unit = (0.0, 1.0);
    near(
        &damaged(Corruption::Brightness, 1, &[1, 1, 3], &[0.0, 0.5, 0.95], unit),
        &[0.1, 0.6, 1.0],
    );
    // The hue stays: every channel grows as the largest does.
    near(
        &damaged(Corruption::Brightness, 3, &[3, 1, 1], &[0.2, 0.4, 0.0], unit),
        &[0.35, 0.7, 0.0],
    );
    near(
        &damaged(Corruption::Contrast, 1, &[1, 1, 2], &[0.0, 1.0], unit),
        &[0.3, 0.7],
    );
    near(
        &damaged(
            Corruption::Pixelate,
            2,
            &[1, 2, 4],
            &[0.0, 1.0, 0.5, 0.5, 0.0, 1.0, 0.5, 0.5],
            unit,
        ),
        &[0.5; 8],
    );
    // The same in bytes.
    near(
        &damaged(Corruption::Contrast, 1, &[1, 1, 2], &[0.0, 255.0], (0.0, 255.0)),
        &[76.5, 178.5],
    );
    // Nothing varies in these columns, and their mean is what is there.
    near(
        &damaged(Corruption::FeatureNoise, 5, &[3], &[0.1, 0.5, 0.9], unit),
        &[0.1, 0.5, 0.9],
    );
    near(
        &damaged(Corruption::Missing, 5, &[3], &[0.1, 0.5, 0.9], unit),
        &[0.1, 0.5, 0.9],
    );
}

#[test_case(Corruption::GaussianNoise, 3, 0.18; "normal noise")]
#[test_case(Corruption::ShotNoise, 2, 0.1414; "the root of the mean by the light")]
fn noise_is_as_large_as_it_should_be(kind: Corruption, severity: usize, deviation: f64) {
    let found = damaged(kind, severity, &[1, 100, 100], &vec![0.5; 10_000], (0.0, 1.0));
    let mean = found.iter().map(|value| f64::from(*value)).sum::<f64>() / 1e4;
    let square = found
        .iter()
        .map(|value| (f64::from(*value) - mean).powi(2))
        .sum::<f64>()
        / 1e4;
    assert!(
        (mean - 0.5).abs() < 0.01 && (square.sqrt() - deviation).abs() < 0.01,
        "{mean} {}",
        square.sqrt()
    );
}

#[test]
fn impulses_are_as_many_as_they_should_be() {
    let found = damaged(
        Corruption::ImpulseNoise,
        5,
        &[1, 100, 100],
        &vec![0.5; 10_000],
        (0.0, 1.0),
    );
    let (black, white) = (
        found.iter().filter(|v| **v < 0.1).count(),
        found.iter().filter(|v| **v > 0.9).count(),
    );
    assert!(
        black.abs_diff(1350) < 175 && white.abs_diff(1350) < 175,
        "{black} {white}"
    );
}

#[test_case(&[1, 8, 8]; "grey")]
#[test_case(&[5, 12, 3]; "channels last")]
#[test_case(&[3, 5, 12]; "wide")]
#[test_case(&[7]; "a table")]
#[test_case(&[1]; "one number")]
fn every_kind_takes_every_shape_and_stays_in_range(shape: &[usize]) {
    let data = plain(3, shape, 0.9, &[0]);
    let mut model = Planted(|row: &[f32]| {
        assert!(row.iter().all(|value| (0.0..=1.0).contains(value)), "{row:?}");
        Ok(vec![1.0, 0.0])
    });
    let kinds: Vec<Corruption> = Corruption::IMAGE.into_iter().chain(Corruption::TABULAR).collect();
    let found = corrupted(&mut model, &data, &plan(3), (0.0, 1.0), &kinds, &mut ()).unwrap();
    assert_eq!((found.rows, found.cells.len()), (8 * 5 * 3, 40));
    assert!(found.metrics().iter().all(|metric| metric.value == 0.0));
}

#[test]
fn what_is_not_answered_is_wrong() {
    let data = plain(4, &[1, 4, 4], 0.5, &[0]);
    let mut model = Planted(|_: &[f32]| Err(Fault::NotFinite));
    let found = corrupted(
        &mut model,
        &data,
        &plan(4),
        (0.0, 1.0),
        &[Corruption::Contrast],
        &mut (),
    )
    .unwrap();
    let metrics = found.metrics();
    let shown: Vec<_> = metrics.iter().map(|m| (m.id, m.n, m.count)).collect();
    assert_eq!(
        shown,
        [
            ("corruption_error_mean", 20, Some(20)),
            ("corruption_error_contrast", 20, Some(20))
        ]
    );
}

#[test]
fn the_demo_suffers_more_from_more() {
    let mut model = Onnx::open(&digits("model/model.onnx"), None).unwrap();
    let kinds = [Corruption::GaussianNoise, Corruption::ImpulseNoise];
    let found = corrupted(&mut model, &heldout(), &plan(200), (0.0, 1.0), &kinds, &mut ()).unwrap();
    let again = corrupted(&mut model, &heldout(), &plan(200), (0.0, 1.0), &kinds, &mut ()).unwrap();
    assert_eq!(found, again);
    for cells in found.cells.chunks(5) {
        assert!(
            cells[0].wrong < 20 && cells[4].wrong > cells[0].wrong + 20,
            "{cells:?}"
        );
    }
}
