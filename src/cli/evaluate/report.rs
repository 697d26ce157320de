//! What `probity evaluate` prints: a table for people, JSON for programs.
//! It shows what was measured; nothing is judged here.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    cli::screen::{Screen, printable_json},
    evaluation::attack::{Metric, Sanity, Tally},
    evidence::Digest,
};

/// Of the JSON. Fields may be added within a version.
pub(super) const VERSION: u32 = 1;

/// What is printed. The fields are API, described in docs/cli.md; new ones may be added.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) subject: Subject,
    pub(super) dataset: Data,
    pub(super) seed: u64,
    pub(super) params: Params,
    pub(super) sanity: Checked,
    /// Rows the model was asked about, in all.
    pub(super) rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<u64>,
    pub(super) outcomes: Outcomes,
    pub(super) metrics: Vec<Metric>,
    pub(super) warnings: Vec<String>,
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Subject {
    /// A file that was run here.
    File { file: String, digest: Digest },
    /// A served model.
    Endpoint { endpoint: String, model: String },
}

/// What it was measured with.
#[derive(Debug, Serialize)]
pub(super) struct Data {
    pub(super) file: String,
    pub(super) digest: Digest,
    pub(super) samples: usize,
    pub(super) shape: Vec<usize>,
}

/// How.
#[derive(Debug, Serialize)]
pub(super) struct Params {
    pub(super) attack: &'static str,
    pub(super) norm: &'static str,
    pub(super) epsilon: f32,
    pub(super) range: [f32; 2],
    pub(super) samples: usize,
    pub(super) budget: u32,
    /// Of the Square Attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bounds: Option<&'static str>,
}

/// The run at the largest ε.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    held: usize,
    samples: usize,
    most: usize,
}

impl From<Sanity> for Checked {
    fn from(sanity: Sanity) -> Self {
        Self {
            held: sanity.held,
            samples: sanity.samples,
            most: sanity.most,
        }
    }
}

/// What became of the samples.
#[derive(Debug, Serialize)]
pub(super) struct Outcomes {
    samples: usize,
    correct: usize,
    wrong: usize,
    blocked: usize,
    errors: usize,
    broken: usize,
    unconfirmed: usize,
    held: usize,
}

impl From<Tally> for Outcomes {
    fn from(tally: Tally) -> Self {
        Self {
            samples: tally.samples,
            correct: tally.correct,
            wrong: tally.wrong,
            blocked: tally.blocked,
            errors: tally.errors,
            broken: tally.broken,
            unconfirmed: tally.unconfirmed,
            held: tally.held,
        }
    }
}

impl Report {
    /// What was measured and how, then the numbers in columns.
    pub(super) fn table(&self, screen: Screen) -> String {
        let mut rows = match &self.subject {
            Subject::File { file, digest } => {
                vec![("Model", file.clone()), ("Digest", digest.to_string())]
            }
            Subject::Endpoint { endpoint, model } => vec![("Model", format!("{model} at {endpoint}"))],
        };
        let Data {
            file,
            digest,
            samples,
            shape,
        } = &self.dataset;
        rows.push(("Data", format!("{file}: {samples} samples of {shape:?}")));
        rows.push(("", digest.to_string()));
        let Params {
            attack,
            norm,
            epsilon,
            budget,
            bounds,
            ..
        } = &self.params;
        let compat = match bounds {
            Some("reference") => ", squares as others have them",
            _ => "",
        };
        rows.push((
            "Attack",
            format!(
                "{attack}, {norm} {epsilon}, {budget} queries a sample, seed {}{compat}",
                self.seed
            ),
        ));
        let Checked { held, samples, most } = &self.sanity;
        rows.push((
            "Sanity",
            format!("at the largest ε {held} of {samples} hold, where {most} may by chance"),
        ));
        let requests = self
            .requests
            .map_or(String::new(), |requests| format!(" in {requests} requests"));
        rows.push(("Asked", format!("{} rows{requests}", self.rows)));
        rows.push(("Samples", self.outcomes.words()));
        rows.extend(self.warnings.iter().map(|warning| ("Warning", warning.clone())));
        let mut text = screen.rows(&rows);
        let _ = writeln!(
            text,
            "\n{:<32} {:>8} {:>6} {:>6}",
            "METRIC", "VALUE", "COUNT", "N"
        );
        for Metric { id, value, n, count } in &self.metrics {
            let value = if id.starts_with("queries_") {
                format!("{value:.1}")
            } else {
                format!("{value:.4}")
            };
            let count = count.map_or("-".to_owned(), |count| count.to_string());
            let _ = writeln!(text, "{id:<32} {value:>8} {count:>6} {n:>6}");
        }
        text
    }
}

impl Outcomes {
    fn words(&self) -> String {
        let counts = [
            (self.held, "hold"),
            (self.broken, "broken"),
            (self.wrong, "wrong as they are"),
            (self.blocked, "blocked"),
            (self.errors, "without an answer"),
        ];
        let words: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!("{}: {}", self.samples, words.join(", "))
    }
}

/// The same for programs.
pub(super) fn json(report: &Report) -> String {
    let text = serde_json::to_string_pretty(report);
    printable_json(&text.unwrap_or_else(|error| {
        format!(
            "{{\"reason\": \"Internal\", \"message\": {:?}}}",
            error.to_string()
        )
    })) + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(subject: Subject) -> Report {
        Report {
            version: VERSION,
            subject,
            dataset: Data {
                file: "heldout.npz".into(),
                digest: Digest::from_bytes([2; 32]),
                samples: 364,
                shape: vec![1, 8, 8],
            },
            seed: 7,
            params: Params {
                attack: "square",
                norm: "linf",
                epsilon: 0.1,
                range: [0.0, 1.0],
                samples: 200,
                budget: 1000,
                bounds: Some("inclusive"),
            },
            sanity: Checked {
                held: 0,
                samples: 50,
                most: 12,
            },
            rows: 131_072,
            requests: None,
            outcomes: Tally {
                samples: 200,
                correct: 198,
                wrong: 2,
                broken: 77,
                held: 121,
                ..Tally::default()
            }
            .into(),
            metrics: vec![
                Metric {
                    id: "robust_accuracy",
                    value: 0.605,
                    n: 200,
                    count: Some(121),
                },
                Metric {
                    id: "queries_mean",
                    value: 215.25,
                    n: 77,
                    count: None,
                },
            ],
            warnings: Vec::new(),
        }
    }

    fn file() -> Report {
        report(Subject::File {
            file: "model.onnx".into(),
            digest: Digest::from_bytes([1; 32]),
        })
    }

    #[test]
    fn a_table_lines_up() {
        let table = file().table(Screen::default());
        let expected = "\
Model    model.onnx
Digest   sha256:0101010101010101010101010101010101010101010101010101010101010101
Data     heldout.npz: 364 samples of [1, 8, 8]
         sha256:0202020202020202020202020202020202020202020202020202020202020202
Attack   square, linf 0.1, 1000 queries a sample, seed 7
Sanity   at the largest ε 0 of 50 hold, where 12 may by chance
Asked    131072 rows
Samples  200: 121 hold, 77 broken, 2 wrong as they are

METRIC                              VALUE  COUNT      N
robust_accuracy                    0.6050    121    200
queries_mean                        215.2      -     77
";
        assert_eq!(table, expected);
    }

    #[test]
    fn json_is_as_the_documentation_says() {
        let shown: serde_json::Value = serde_json::from_str(&json(&file())).unwrap();
        let expected = json!({
            "version": 1,
            "subject": {"file": "model.onnx", "digest": Digest::from_bytes([1; 32])},
            "dataset": {"file": "heldout.npz", "digest": Digest::from_bytes([2; 32]), "samples": 364, "shape": [1, 8, 8]},
            "seed": 7,
            "params": {"attack": "square", "norm": "linf", "epsilon": 0.1, "range": [0.0, 1.0], "samples": 200, "budget": 1000, "bounds": "inclusive"},
            "sanity": {"held": 0, "samples": 50, "most": 12},
            "rows": 131_072,
            "outcomes": {"samples": 200, "correct": 198, "wrong": 2, "blocked": 0, "errors": 0, "broken": 77, "unconfirmed": 0, "held": 121},
            "metrics": [
                {"id": "robust_accuracy", "value": 0.605, "n": 200, "count": 121},
                {"id": "queries_mean", "value": 215.25, "n": 77},
            ],
            "warnings": [],
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_not_ours_cannot_steer_a_terminal() {
        let mut report = report(Subject::Endpoint {
            endpoint: "http://x".into(),
            model: "a\u{1b}[2Jb".into(),
        });
        report.requests = Some(12);
        report.warnings = vec!["a sentence".into()];
        let table = report.table(Screen::default());
        assert!(!table.contains('\u{1b}') && !json(&report).contains('\u{1b}'));
        assert!(
            table.contains("131072 rows in 12 requests\n") && table.contains("Warning  a sentence\n"),
            "{table}"
        );
    }
}
