//! What the engine runs and refuses, on the demo's models and on small files made here.

use test_case::test_case;

use super::*;
use crate::{
    evaluation::testing::{digits, heldout, onnx},
    evidence::Class,
};

type Tensors<'a> = &'a [(&'a str, u64, &'a [i64])];

const FLOAT: u64 = 1;
const INT64: u64 = 7;
const X: Tensors<'static> = &[("x", FLOAT, &[-1, 2])];
const Y: Tensors<'static> = &[("y", FLOAT, &[-1, 2])];

fn load(
    inputs: Tensors<'_>,
    nodes: &[(&str, &[&str], &str)],
    outputs: Tensors<'_>,
) -> Result<Onnx, ModelError> {
    Onnx::load("m".into(), onnx(inputs, nodes, outputs), None)
}

fn asked(model: &mut Onnx, values: &[f32]) -> Scores {
    model.scores(Rows::new(&[2], values).unwrap()).unwrap()
}

#[test]
fn the_demo_reads_its_digits() {
    let data = heldout();
    let mut model = Onnx::open(&digits("model/model.onnx"), None).unwrap();
    let inputs: Vec<f32> = (0..data.len())
        .flat_map(|place| data.sample(place).unwrap().0.to_vec())
        .collect();
    let scores = model.scores(Rows::new(data.shape(), &inputs).unwrap()).unwrap();
    assert_eq!((scores.len(), scores.classes()), (364, 10));
    let right =
        (0..data.len()).filter(|&place| scores.margin(place, data.sample(place).unwrap().1).unwrap() > 0.0);
    // What ONNX Runtime gets right of them, says config.json: 98.9 %.
    assert_eq!(right.count(), 360);
    // Logits, not the probabilities that the file has as well.
    let sum: f32 = scores.row(0).unwrap().iter().sum();
    assert!((sum - 1.0).abs() > 0.1, "{sum}");
}

#[test]
fn an_output_can_be_named() {
    let data = heldout();
    let mut model = Onnx::open(&digits("model/model.onnx"), Some("probabilities")).unwrap();
    let scores = model
        .scores(Rows::new(data.shape(), data.sample(0).unwrap().0).unwrap())
        .unwrap();
    assert!((scores.row(0).unwrap().iter().sum::<f32>() - 1.0).abs() < 1e-4);
    let error = Onnx::open(&digits("model/model.onnx"), Some("nothing")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its outputs are logits, probabilities"),
        "{error}"
    );
}

#[test]
fn the_digest_is_that_of_the_file() {
    let file = std::fs::read(digits("model/model.onnx")).unwrap();
    let model = Onnx::open(&digits("model/model.onnx"), None).unwrap();
    assert_eq!(model.digest(), digest_of(&file));
}

#[test]
fn numbers_come_back_in_their_rows() {
    let mut model = load(X, &[("Neg", &["x"], "y")], Y).unwrap();
    let scores = asked(&mut model, &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(
        (scores.row(0), scores.row(1)),
        (Ok(&[-1.0, -2.0][..]), Ok(&[-3.0, -4.0][..]))
    );
}

#[test]
fn the_output_called_logits_is_preferred() {
    let outputs: Tensors<'_> = &[("y", FLOAT, &[-1, 2]), ("logits", FLOAT, &[-1, 2])];
    let mut model = load(X, &[("Neg", &["x"], "y"), ("Abs", &["x"], "logits")], outputs).unwrap();
    assert_eq!(asked(&mut model, &[-1.0, 2.0]).row(0), Ok(&[1.0, 2.0][..]));
}

#[test]
fn a_file_for_one_row_is_asked_row_by_row() {
    let mut model = load(
        &[("x", FLOAT, &[1, 2])],
        &[("Neg", &["x"], "y")],
        &[("y", FLOAT, &[1, 2])],
    )
    .unwrap();
    let scores = asked(&mut model, &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!((scores.len(), scores.row(1)), (2, Ok(&[-3.0, -4.0][..])));
}

#[test]
fn a_file_for_three_rows_is_filled_up() {
    let mut model = load(
        &[("x", FLOAT, &[3, 2])],
        &[("Neg", &["x"], "y")],
        &[("y", FLOAT, &[3, 2])],
    )
    .unwrap();
    assert_eq!(model.batch() % 3, 0);
    let values: Vec<f32> = (0..8_u8).map(f32::from).collect();
    let scores = asked(&mut model, &values);
    assert_eq!((scores.len(), scores.row(3)), (4, Ok(&[-6.0, -7.0][..])));
}

/// Never read as right, whatever the label.
#[test_case("Log", &[1.0, -1.0], Fault::NotFinite; "the logarithm of what has none")]
#[test_case("Reciprocal", &[1.0, 0.0], Fault::NotFinite; "one by nothing")]
#[test_case("ReduceSum", &[1.0, 1.0], Fault::Shape; "one number for all")]
#[test_case("Transpose", &[1.0, 1.0], Fault::Shape; "turned")]
fn answers_that_are_none(operator: &str, values: &[f32], fault: Fault) {
    let mut model = load(X, &[(operator, &["x"], "y")], Y).unwrap();
    let scores = asked(&mut model, values);
    assert_eq!(scores.row(0), Err(fault));
}

#[test]
fn data_of_another_shape_is_refused_in_words() {
    let mut model = load(X, &[("Neg", &["x"], "y")], Y).unwrap();
    for shape in [&[3][..], &[1, 2], &[2, 1]] {
        let values = vec![0.0; shape.iter().product()];
        let error = model.scores(Rows::new(shape, &values).unwrap()).unwrap_err();
        let words = format!("the model takes inputs of shape [2], and those of the data are {shape:?}");
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(error.class(), Class::Malformed);
    }
}

#[test_case(&[("x", FLOAT, &[-1, 2]), ("z", FLOAT, &[-1, 2])], &[("Add", &["x", "z"], "y")], Y, "it has 2 inputs"; "two inputs")]
#[test_case(&[("x", INT64, &[-1, 2])], &[("Neg", &["x"], "y")], &[("y", INT64, &[-1, 2])], "not of floats"; "integers")]
#[test_case(X, &[("Neg", &["x"], "y")], &[], "its outputs are none"; "no output")]
#[test_case(X, &[("Shape", &["x"], "y")], &[("y", INT64, &[2])], "no output of floats"; "an output of integers")]
#[test_case(X, &[("Launder", &["x"], "y")], Y, "Launder"; "an operator nobody knows")]
fn refuses(inputs: Tensors<'_>, nodes: &[(&str, &[&str], &str)], outputs: Tensors<'_>, words: &str) {
    let error = load(inputs, nodes, outputs).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(
        (error.class(), error.code()),
        (Class::Unsupported, "ModelUnusable")
    );
}

/// An answer or an error, never the end of the program.
#[test]
fn damaged_files_are_survived() {
    let good = onnx(X, &[("Neg", &["x"], "y")], Y);
    let mut loaded = 0;
    for place in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = good.clone();
            damaged[place] ^= change;
            if let Ok(mut model) = Onnx::load("m".into(), damaged, None) {
                loaded += 1;
                let _ = model.scores(Rows::new(&[2], &[1.0, 2.0]).unwrap());
            }
        }
        let _ = Onnx::load("m".into(), good[..place].to_vec(), None);
    }
    assert!(loaded > 0, "some damage is harmless");
}

#[test]
fn what_is_no_model_is_told_by_its_name() {
    let error = Onnx::open(std::path::Path::new("Cargo.toml"), None).unwrap_err();
    assert!(
        error.to_string().starts_with("Cargo.toml cannot be run: "),
        "{error}"
    );
    let error = Onnx::open(std::path::Path::new("no-such.onnx"), None).unwrap_err();
    assert_eq!(error.class(), Class::Transient);
}
