//! What an evaluation's Job is asked, as one argument, and what it answers, as its pod's termination message.
//! Plain data, with one way to write each and one to read it; whether an answer is believed is the reader's business.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::v1alpha1::{Measurement, Suite};
use crate::evidence::{Decimal, Digest, Failure, Reason};

/// Longest answer, in bytes. The kubelet keeps 4096 of a container.
pub const MAX_ANSWER: usize = 3072;
/// Longest question, in bytes: far more than a policy can ask for.
const MAX_QUESTION: usize = 64 << 10;

/// What is to be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRequest {
    /// The uid of the `Evaluation`: an answer names it again.
    pub evaluation: String,
    /// The content that is measured.
    pub subject: Digest,
    /// The data set that it is measured on.
    pub dataset: Digest,
    /// The least that an input's numbers can be.
    pub minimum: Decimal,
    /// The most.
    pub maximum: Decimal,
    /// What decides which samples are drawn and what the attacks try.
    pub seed: i64,
    /// How many samples are measured.
    pub samples: u32,
    /// How sure each interval is to be.
    pub confidence: Decimal,
    /// What is measured.
    pub suites: Vec<Suite>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunAnswer {
    /// As it was asked.
    pub evaluation: String,
    /// As it was asked.
    pub subject: Digest,
    /// As it was asked.
    pub dataset: Digest,
    /// As it was asked.
    pub seed: i64,
    /// Inputs that the model was given, in all.
    pub rows: u64,
    /// Samples without an answer that can be read, in the suite that has most of them. They count against the model.
    pub errors: u32,
    /// The numbers.
    pub numbers: Vec<Measurement>,
}

impl RunRequest {
    /// Reads a question, strictly.
    ///
    /// # Errors
    /// [`Reason::SpecInvalid`] for everything that [`Self::line`] does not write.
    pub fn read(text: &str) -> Result<Self, Failure> {
        read(text, MAX_QUESTION)
            .map_err(|problem| Failure::new(Reason::SpecInvalid, format!("what is to be measured {problem}")))
    }

    /// The question as one line of JSON.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl RunAnswer {
    /// Reads an answer, strictly: it comes out of a pod.
    ///
    /// # Errors
    /// [`Reason::Internal`] for everything that [`Self::line`] does not write: more than [`MAX_ANSWER`] bytes, anything behind
    /// the object, a field that is missing, unknown, repeated or of another type.
    pub fn read(text: &str) -> Result<Self, Failure> {
        read(text, MAX_ANSWER)
            .map_err(|problem| Failure::new(Reason::Internal, format!("the answer of the run {problem}")))
    }

    /// The answer as one line of JSON.
    ///
    /// # Errors
    /// [`Reason::LimitExceeded`] when it would be longer than [`MAX_ANSWER`].
    pub fn line(&self) -> Result<String, Failure> {
        match serde_json::to_string(self) {
            Ok(line) if line.len() <= MAX_ANSWER => Ok(line),
            _ => Err(Failure::new(
                Reason::LimitExceeded,
                format!(
                    "the answer is longer than {MAX_ANSWER} bytes: measure fewer suites in one run, or give them shorter names"
                ),
            )),
        }
    }

    /// Whether it is the answer to this question, and names nothing that was not asked.
    pub fn answers(&self, asked: &RunRequest) -> bool {
        let names: Vec<_> = asked.suites.iter().map(|suite| suite.name.as_str()).collect();
        let fits = |number: &Measurement| {
            names.contains(&number.suite.as_str()) && number.n <= asked.samples && number.n > 0
        };
        self.evaluation == asked.evaluation
            && self.subject == asked.subject
            && self.dataset == asked.dataset
            && self.seed == asked.seed
            && self.numbers.iter().all(fits)
    }
}

/// Reads one line of JSON that says exactly what its type writes.
fn read<T: Serialize + DeserializeOwned>(text: &str, most: usize) -> Result<T, String> {
    if text.len() > most {
        return Err(format!("has {} bytes, and at most {most} are read", text.len()));
    }
    let value: T = serde_json::from_str(text).map_err(|error| format!("cannot be read: {error}"))?;
    // A derived struct also takes an array of its fields, and shared ones fields that they do not know.
    let whole: Option<serde_json::Value> = serde_json::from_str(text).ok();
    if whole != serde_json::to_value(&value).ok() {
        return Err("says more than it should, or in another form".to_owned());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;

    fn asked() -> RunRequest {
        serde_json::from_value(json!({
            "evaluation": "0d7c…", "subject": Digest::from_bytes([1; 32]), "dataset": Digest::from_bytes([2; 32]),
            "minimum": "0", "maximum": "1", "seed": -7, "samples": 200, "confidence": "0.975",
            "suites": [{"name": "square", "square": {"norm": "Linf", "epsilon": "0.1", "queries": 1000}}]
        }))
        .unwrap()
    }

    fn number(suite: &str, n: u32) -> Measurement {
        serde_json::from_value(json!({
            "suite": suite, "metric": "robust_accuracy", "value": "0.605", "lower": "0.53", "upper": "0.67", "n": n
        }))
        .unwrap()
    }

    fn answer() -> RunAnswer {
        let RunRequest {
            evaluation,
            subject,
            dataset,
            seed,
            ..
        } = asked();
        RunAnswer {
            evaluation,
            subject,
            dataset,
            seed,
            rows: 128_000,
            errors: 0,
            numbers: vec![number("square", 200)],
        }
    }

    #[test]
    fn both_are_read_as_they_were_written() {
        assert_eq!(RunRequest::read(&asked().line()).unwrap(), asked());
        assert_eq!(RunAnswer::read(&answer().line().unwrap()).unwrap(), answer());
        assert!(answer().answers(&asked()));
    }

    #[test_case(|answer| answer.evaluation = "another".into(); "of another evaluation")]
    #[test_case(|answer| answer.subject = Digest::from_bytes([3; 32]); "about another model")]
    #[test_case(|answer| answer.dataset = Digest::from_bytes([3; 32]); "on other data")]
    #[test_case(|answer| answer.seed = 7; "with another seed")]
    #[test_case(|answer| answer.numbers[0].suite = "other".into(); "a suite nobody asked for")]
    #[test_case(|answer| answer.numbers[0].n = 201; "more samples than were asked for")]
    #[test_case(|answer| answer.numbers[0].n = 0; "no sample at all")]
    fn an_answer_to_something_else_is_none(change: fn(&mut RunAnswer)) {
        let mut answer = answer();
        change(&mut answer);
        assert!(!answer.answers(&asked()));
    }

    #[test_case(|_| String::new(); "nothing")]
    #[test_case(|line| line[..line.len() - 2].into(); "cut")]
    #[test_case(|line| line + "{}"; "something behind it")]
    #[test_case(|line| line.replace("\"rows\"", "\"lines\""); "another field")]
    #[test_case(|line| line.replace("\"0.605\"", "0.605"); "a number that is no text")]
    #[test_case(|line| line.replace("\"0.605\"", "\"NaN\""); "no number")]
    #[test_case(|line| line.replace("\"n\":200", "\"n\":200,\"lucky\":true"); "a field more within")]
    #[test_case(|line| line + &" ".repeat(MAX_ANSWER); "too long")]
    fn what_is_not_one_is_not_read(change: fn(String) -> String) {
        RunAnswer::read(&change(answer().line().unwrap())).unwrap_err();
    }

    #[test]
    fn all_that_a_policy_may_ask_for_fits() {
        let long = "n".repeat(20);
        let mut all = answer();
        all.numbers = (0..18).map(|_| number(&long, 1_000_000)).collect();
        all.line().unwrap();
        all.numbers = (0..48).map(|_| number(&long, 1_000_000)).collect();
        assert_eq!(all.line().unwrap_err().reason, Reason::LimitExceeded);
    }
}
