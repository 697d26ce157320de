//! `probity evaluate` on the demo's models: the numbers, and the exit code for what cannot be measured.
//! What makes a model hold or break is tested with the library; here it is what the command makes of it.

use serde_json::Value;
use test_case::test_case;

use super::models::{Place, Said};

const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/digits");

fn evaluate(place: &Place, arguments: &str) -> Said {
    place.probity(&format!("evaluate {}", arguments.replace("DIGITS", DIGITS)))
}

fn metric(shown: &Value, id: &str) -> f64 {
    let metrics = shown["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|metric| metric["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {shown}"))["value"]
        .as_f64()
        .unwrap()
}

#[test]
fn the_model_that_was_trained_under_attack_holds_where_the_other_breaks() {
    let place = Place::new();
    let robust = |model: &str| {
        let said = evaluate(
            &place,
            &format!(
                "DIGITS/{model}/model.onnx --data DIGITS/heldout.npz --epsilon 0.1 --samples 60 --budget 200 --seed 7 -o json"
            ),
        );
        said.expect(0, &[]);
        let shown = said.json();
        assert!(metric(&shown, "clean_accuracy") > 0.9, "{shown}");
        assert_eq!(
            (&shown["version"], &shown["outcomes"]["samples"]),
            (&1.into(), &60.into())
        );
        metric(&shown, "robust_accuracy")
    };
    let (standard, adversarial) = (robust("model"), robust("robust"));
    assert!(standard < 0.6 && adversarial > 0.7, "{standard} {adversarial}");
}

#[test_case("DIGITS/model/model.onnx --data none.npz --epsilon 0.1", 60, "Io"; "no data")]
#[test_case("DIGITS/model/model.onnx --data DIGITS/samples.json --epsilon 0.1", 30, "DataMalformed"; "data of another form")]
#[test_case("DIGITS/samples.json --data DIGITS/heldout.npz --epsilon 0.1", 40, "ModelUnusable"; "no model")]
#[test_case("DIGITS/model/model.onnx --data DIGITS/heldout.npz --epsilon 9", 30, "PlanInvalid"; "in units of bytes")]
#[test_case("DIGITS/model/model.onnx --data DIGITS/heldout.npz --epsilon 0.1 --samples 999", 30, "PlanInvalid"; "more than there are")]
#[test_case("--endpoint http://127.0.0.1:1 --model m --data DIGITS/heldout.npz --epsilon 0.1", 60, "EndpointUnavailable"; "nobody there")]
fn what_cannot_be_measured(arguments: &str, code: i32, reason: &str) {
    let said = evaluate(&Place::new(), &format!("{arguments} -o json"));
    said.expect(code, &[]);
    let shown = said.json();
    assert_eq!(shown["reason"], reason);
    assert!(
        said.stderr.contains(shown["message"].as_str().unwrap()),
        "{}",
        said.all()
    );
}

#[test_case("DIGITS/model/model.onnx --data x --epsilon 0.1 --norm l2", "take --attack hopskipjump"; "a norm the attack has not")]
#[test_case("DIGITS/model/model.onnx --data x --epsilon 0.1 --range 1", "two numbers"; "half a range")]
#[test_case("--data x --epsilon 0.1", "MODEL.onnx"; "nothing to measure")]
#[test_case("DIGITS/model/model.onnx --data x --epsilon ten", "8/255"; "no number")]
fn misuse(arguments: &str, words: &str) {
    let said = evaluate(&Place::new(), arguments);
    said.expect(2, &[words]);
    assert!(said.stdout.is_empty(), "{}", said.all());
}

#[test]
fn help_says_every_exit_code() {
    let help = Place::new().probity("evaluate --help");
    for code in ["0 ", "2 ", "30 ", "40 ", "60 ", "70 ", "143 "] {
        let is_there = help
            .stdout
            .lines()
            .any(|line| line.trim_start().starts_with(code));
        assert!(is_there, "{code}: {}", help.stdout);
    }
}
