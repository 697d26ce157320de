//! `probity evaluate`: how accurate a model is, and how accurate under attack; a file or an endpoint.
//! It parses, shows progress and prints the numbers; they are measured in `evaluation`.

mod progress;
mod report;
mod requested;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args as _, ValueEnum, ValueHint};

use self::{
    progress::Follow,
    report::{Params, Report, Subject},
};
use super::{
    print,
    screen::{Screen, printable, printable_json},
    termination,
};
use crate::{
    evaluation::{
        attack::{
            Attack, AttackError, Bounds, HopSkipJump, Metric, Norm, Plan, Run, SampleResult, Sanity, Square,
            Tally, Threat, median_distance, metrics, run, sanity,
        },
        corruption::{Corrupted, Corruption, corrupted},
        dataset::{Dataset, DatasetError, Limits},
        engine::{Endpoint, EndpointOptions, Onnx},
        model::{Model, ModelError},
    },
    evidence::Class,
};

const EXIT_CODES: &str = "Exit codes:
   0  measured, whatever the numbers are
   2  the command line is wrong
  30  malformed: the data, or what was asked for does not fit it
  40  not a model this version runs, or one that nothing can be measured of
  60  something could not be read or reached; trying again may help
  70  a defect of ours
 143  stopped by a signal (130 for Ctrl-C)";

const EXAMPLES: &str = r#"Examples:
  How a file holds when every pixel may move by a tenth:
    probity evaluate model.onnx --data heldout.npz --epsilon 0.1
  A served model, fewer samples and questions, in a script:
    probity evaluate --endpoint http://localhost:8080 --model digits --data heldout.npz \
      --epsilon 8/255 --samples 50 --budget 500 -o json | jq '.metrics'
  The labelled data, as Python writes it:
    numpy.savez_compressed("heldout.npz", x=images.astype("float32"), y=labels)"#;

/// Measure how accurate a model is, and how accurate it stays under attack.
///
/// Reads labelled data that the model was never trained on, asks the model about it, and then looks for small changes
/// that make it answer wrongly: a change is allowed when no number moves by more than --epsilon and all stay in --range.
/// What is left is an upper bound: another attack may find more.
///
/// The Square Attack needs nothing but scores, HopSkipJump only which of them is the highest. First ε is tried as large
/// as the range: a model that holds even then does not answer its input, and nothing is reported of it. At the end every
/// last input is asked about once more.
///
/// The same model, data, seed and options give the same numbers. Samples that get no answer, or one that is not finite,
/// count against the model. An error share above 5 % is warned of.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXIT_CODES}\n\n{EXAMPLES}"))]
pub struct Args {
    /// The model, as an ONNX file with its weights in it. It is run here, with one thread.
    #[arg(value_name = "MODEL.onnx", required_unless_present = "endpoint", conflicts_with = "endpoint", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Where a served model is asked instead, over the Open Inference Protocol v2: http://host:port, without /v2.
    #[arg(long, value_name = "URL", requires = "model", value_hint = ValueHint::Url)]
    endpoint: Option<String>,
    /// What the served model is called there.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    model: Option<String>,
    /// A file whose only line is sent to the endpoint as a bearer token.
    #[arg(long, value_name = "FILE", requires = "endpoint", value_hint = ValueHint::FilePath)]
    bearer_token_file: Option<PathBuf>,
    /// Requests made to the endpoint at most, repeated ones as well.
    #[arg(long, value_name = "N", requires = "endpoint", default_value_t = EndpointOptions::default().requests)]
    requests: u64,
    /// Labelled data: an .npz file with inputs in `x` (float32, or uint8 images) and their classes in `y` (integers).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    data: PathBuf,
    /// How the model is attacked.
    #[arg(long, value_name = "ATTACK", value_enum, default_value_t = AttackName::Square)]
    attack: AttackName,
    /// How a change is measured. The Square Attack knows linf only.
    #[arg(long, value_name = "NORM", value_enum, default_value_t = NormName::Linf)]
    norm: NormName,
    /// The largest change that is allowed, in the units of the data: a number, or a fraction such as 8/255.
    #[arg(long, value_name = "E", value_parser = number, required_unless_present = "request")]
    epsilon: Option<f32>,
    /// The smallest and the largest number an input can have.
    #[arg(long, value_name = "LOW,HIGH", value_parser = number, value_delimiter = ',', num_args = 1, allow_negative_numbers = true, default_value = "0,1")]
    range: Vec<f32>,
    /// How many samples, taken in an order that the seed decides [default: 200, or all when there are fewer].
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// What is asked about one sample at most.
    #[arg(long, value_name = "QUERIES", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    budget: u32,
    /// Decides everything that is left to chance.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Samples that are attacked at the same time. Changes no result.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = positive)]
    block: usize,
    /// The output that has the scores [default: logits, or else the first with the shape [n, classes]].
    #[arg(long, value_name = "OUTPUT")]
    scores: Option<String>,
    /// Attack as other implementations do, for comparison: their squares never reach the last row and column.
    #[arg(long, value_name = "WITH", value_enum)]
    compat: Option<Compat>,
    /// What to measure, as the operator asks it of its own Jobs. MODEL may be a folder with one .onnx file then.
    #[arg(long, value_name = "JSON", hide = true, conflicts_with_all = ["endpoint", "epsilon", "samples", "compat"])]
    request: Option<String>,
    /// Where the answer, or why there is none, is left as one line of JSON for the kubelet to report.
    #[arg(long, value_name = "FILE", hide = true, requires = "request", default_value = termination::LOG)]
    termination_log: PathBuf,
    /// Measure as well how often the model is wrong under everyday damage, of images or of tables.
    #[arg(long, value_name = "KIND", value_enum)]
    corruptions: Option<Kind>,
    /// How the result is printed.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Attacks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AttackName {
    /// Square Attack, which needs scores and no gradients.
    Square,
    /// HopSkipJump, which needs labels only, and finds how far away the nearest mistake is.
    Hopskipjump,
}

/// Norms there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NormName {
    /// By the number that moves furthest.
    Linf,
    /// By the root of the sum of squares of what every number moves.
    L2,
}

/// Whose numbers are to be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// The authors' code, AutoAttack, torchattacks and ART.
    Reference,
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Normal, Poisson and impulse noise, brightness, contrast, coarse pixels, at five severities each.
    Image,
    /// Noise on every number, and missing numbers, at five severities each.
    Tabular,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs: one object on standard output, what failed also in words on standard error.
    Json,
}

/// Samples that are taken when nobody says how many.
const SAMPLES: usize = 200;
/// The share of samples without an answer from which on a run says little.
const TOLERATED_ERRORS: f64 = 0.05;

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Data(#[from] DatasetError),
    #[error(transparent)]
    Attack(#[from] AttackError),
    #[error("{0}")]
    Plan(String),
    #[error("cannot read {path}: {source}")]
    Token { path: String, source: std::io::Error },
    #[error("stopped by a signal before it was done; run it again to begin anew")]
    Signal(u8),
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        Self::Attack(AttackError::Model(error))
    }
}

impl Problem {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Data(error) => error.class().exit_code(),
            Self::Attack(error) => error.class().exit_code(),
            Self::Plan(_) => Class::Malformed.exit_code(),
            Self::Token { .. } => Class::Transient.exit_code(),
            Self::Signal(number) => 128 + number,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Data(error) => error.code(),
            Self::Attack(error) => error.code(),
            Self::Plan(_) => "PlanInvalid",
            Self::Token { .. } => "Io",
            Self::Signal(_) => "Stopped",
        }
    }
}

/// What is asked, whichever it is.
enum Subjected {
    File(Box<Onnx>),
    Endpoint(Box<Endpoint>),
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        if let Some(request) = &self.request {
            return requested::run(&self, request);
        }
        if self.range.len() != 2 {
            return misused("--range takes two numbers with a comma, as 0,1");
        }
        if self.attack == AttackName::Square && self.norm == NormName::L2 {
            return misused("--attack square knows --norm linf only: take --attack hopskipjump for l2");
        }
        if self.attack != AttackName::Square && self.compat.is_some() {
            return misused("--compat is for --attack square");
        }
        let output = self.output;
        let text = match (self.evaluate(), output) {
            (Ok(report), Output::Table) => report.table(Screen::stdout()),
            (Ok(report), Output::Json) => report::json(&report),
            (Err(problem), output) => {
                say(&format!("{problem} ({})", problem.code()));
                if output == Output::Json {
                    let failure = serde_json::json!({
                        "version": report::VERSION, "reason": problem.code(), "message": problem.to_string(),
                    });
                    let _ = print(&(printable_json(&failure.to_string()) + "\n"));
                }
                return ExitCode::from(problem.exit_code());
            }
        };
        match print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                say(&failure.message);
                ExitCode::from(failure.reason.class().exit_code())
            }
        }
    }

    fn evaluate(&self) -> Result<Report, Problem> {
        let [low, high] = *self.range.as_slice() else {
            return Err(Problem::Plan("--range takes two numbers".to_owned()));
        };
        let norm = match self.norm {
            NormName::Linf => Norm::Linf,
            NormName::L2 => Norm::L2,
        };
        let epsilon = self
            .epsilon
            .ok_or_else(|| Problem::Plan("--epsilon is needed".to_owned()))?;
        let threat = Threat::new(norm, epsilon, low, high).map_err(Problem::Plan)?;
        let data = Dataset::open(&self.data, &Limits::default())?;
        let plan = Plan {
            samples: self.samples.unwrap_or(SAMPLES.min(data.len())),
            block: self.block,
            seed: self.seed,
        };
        let mut subject = self.subject()?;
        let attack: Box<dyn Attack> = match self.attack {
            AttackName::Square => Box::new(Square {
                bounds: self.bounds(),
                ..Square::new(self.budget)
            }),
            AttackName::Hopskipjump => Box::new(HopSkipJump {
                nearest: true,
                ..HopSkipJump::new(self.budget)
            }),
        };
        let mut follow = Follow::new(plan.samples);
        let model: &mut dyn Model = match &mut subject {
            Subjected::File(model) => &mut **model,
            Subjected::Endpoint(model) => &mut **model,
        };
        let measured = self.measure(model, &data, &plan, &threat, &*attack, &mut follow);
        let signal = follow.finish();
        let (sane, found, damage) = match (measured, signal) {
            (Err(AttackError::Model(ModelError::Stopped)), Some(signal)) => {
                return Err(Problem::Signal(signal));
            }
            (measured, _) => measured?,
        };
        let tally = Tally::of(&found.results);
        Ok(Report {
            version: report::VERSION,
            subject: self.described(&subject),
            dataset: report::Data {
                file: self.data.display().to_string(),
                digest: data.digest(),
                samples: data.len(),
                shape: data.shape().to_vec(),
            },
            seed: self.seed,
            params: Params {
                attack: match self.attack {
                    AttackName::Square => "square",
                    AttackName::Hopskipjump => "hopskipjump",
                },
                norm: norm.as_str(),
                epsilon,
                range: [low, high],
                samples: plan.samples,
                budget: self.budget,
                bounds: (self.attack == AttackName::Square).then(|| self.bounds().as_str()),
            },
            sanity: sane.into(),
            rows: sane.rows + found.rows + damage.as_ref().map_or(0, |damage| damage.rows),
            requests: match &subject {
                Subjected::File(_) => None,
                Subjected::Endpoint(endpoint) => Some(endpoint.requests()),
            },
            outcomes: tally.into(),
            metrics: self.metrics(&found.results, damage.as_ref()),
            warnings: warnings(&tally),
        })
    }

    fn bounds(&self) -> Bounds {
        match self.compat {
            None => Bounds::Inclusive,
            Some(Compat::Reference) => Bounds::Reference,
        }
    }

    /// Sanity first, the attack, then damage, if it is wanted.
    fn measure(
        &self,
        model: &mut dyn Model,
        data: &Dataset,
        plan: &Plan,
        threat: &Threat,
        attack: &dyn Attack,
        follow: &mut Follow,
    ) -> Result<(Sanity, Run, Option<Corrupted>), AttackError> {
        let sane = sanity(model, data, plan, threat, follow)?;
        let found = run(model, data, plan, threat, attack, follow)?;
        let kinds = match self.corruptions {
            None => return Ok((sane, found, None)),
            Some(Kind::Image) => &Corruption::IMAGE[..],
            Some(Kind::Tabular) => &Corruption::TABULAR[..],
        };
        let damage = corrupted(model, data, plan, threat.range(), kinds, follow)?;
        Ok((sane, found, Some(damage)))
    }

    fn metrics(&self, results: &[SampleResult], damage: Option<&Corrupted>) -> Vec<Metric> {
        let mut found = metrics(results);
        found.extend(damage.into_iter().flat_map(Corrupted::metrics));
        if self.attack == AttackName::Hopskipjump {
            found.extend(median_distance(results));
        }
        found
    }

    fn subject(&self) -> Result<Subjected, Problem> {
        match (&self.file, &self.endpoint, &self.model) {
            (Some(file), ..) => Ok(Subjected::File(Box::new(Onnx::open(
                file,
                self.scores.as_deref(),
            )?))),
            (None, Some(url), Some(name)) => {
                let options = EndpointOptions {
                    output: self.scores.clone(),
                    token: self.token()?,
                    requests: self.requests,
                    ..EndpointOptions::default()
                };
                Ok(Subjected::Endpoint(Box::new(Endpoint::connect(
                    url, name, options,
                )?)))
            }
            _ => Err(Problem::Plan("give a file, or --endpoint and --model".to_owned())),
        }
    }

    fn token(&self) -> Result<Option<String>, Problem> {
        let Some(path) = &self.bearer_token_file else {
            return Ok(None);
        };
        let token = std::fs::read_to_string(path).map_err(|source| Problem::Token {
            path: path.display().to_string(),
            source,
        })?;
        let token = token.trim();
        if token.is_empty() || token.contains(|c: char| !c.is_ascii_graphic()) {
            return Err(Problem::Plan(format!(
                "{} does not hold one token alone",
                path.display()
            )));
        }
        Ok(Some(token.to_owned()))
    }

    fn described(&self, subject: &Subjected) -> Subject {
        match subject {
            Subjected::File(model) => Subject::File {
                file: self
                    .file
                    .as_ref()
                    .map(|file| file.display().to_string())
                    .unwrap_or_default(),
                digest: model.digest(),
            },
            Subjected::Endpoint(_) => Subject::Endpoint {
                endpoint: self.endpoint.clone().unwrap_or_default(),
                model: self.model.clone().unwrap_or_default(),
            },
        }
    }
}

/// What somebody who reads the numbers must know.
fn warnings(tally: &Tally) -> Vec<String> {
    let mut warnings = Vec::new();
    let errors = u32::try_from(tally.errors).unwrap_or(u32::MAX);
    let samples = u32::try_from(tally.samples).unwrap_or(u32::MAX);
    if f64::from(errors) > TOLERATED_ERRORS * f64::from(samples) {
        warnings.push(format!(
            "{errors} of {samples} samples got no answer that can be read; above 5 %, the numbers say little about the model"
        ));
    }
    if tally.unconfirmed > 0 {
        warnings.push(format!(
            "{} samples were broken, and read rightly when asked again: the model does not answer the same each time",
            tally.unconfirmed
        ));
    }
    warnings
}

/// A finite number, or a fraction of two.
fn number(text: &str) -> Result<f32, String> {
    let part = |text: &str| text.trim().parse::<f32>().ok();
    let value = match text.split_once('/') {
        Some((above, below)) => part(above).zip(part(below)).map(|(above, below)| above / below),
        None => part(text),
    };
    value
        .filter(|value| value.is_finite())
        .ok_or_else(|| "write a number, or a fraction such as 8/255".to_owned())
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "write a number above 0".to_owned())
}

/// One line on standard error.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "probity evaluate: {}", printable(text));
}

/// A command line that clap takes and we do not, refused in clap's words and with its exit code.
fn misused(problem: &str) -> ExitCode {
    let mut command = Args::augment_args(clap::Command::new("probity evaluate"));
    let error = command.error(clap::error::ErrorKind::ValueValidation, problem);
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("0.1" => Some(0.1))]
    #[test_case("8/255" => Some(8.0 / 255.0); "a fraction")]
    #[test_case("-1" => Some(-1.0); "below nothing, for ranges")]
    #[test_case("1/0" => None; "no number")]
    #[test_case("NaN" => None; "not a number")]
    #[test_case("inf" => None; "infinity")]
    #[test_case("ten" => None; "a word")]
    fn numbers(text: &str) -> Option<f32> {
        number(text).ok()
    }

    #[test_case(5, 0, 0; "as many errors as are tolerated")]
    #[test_case(6, 0, 1; "too many")]
    #[test_case(6, 1, 2; "and answers that change")]
    fn warned(errors: usize, unconfirmed: usize, count: usize) {
        let tally = Tally {
            samples: 100,
            errors,
            unconfirmed,
            ..Tally::default()
        };
        assert_eq!(warnings(&tally).len(), count);
    }
}
