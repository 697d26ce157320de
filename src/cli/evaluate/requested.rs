//! Answers the operator's question: what an evaluation's Job runs. The answer goes where the kubelet reports it from.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Args, Problem, progress::Follow};
use crate::{
    api::run::RunRequest,
    cli::termination,
    evaluation::{
        attack::AttackError,
        dataset::{Dataset, Limits},
        engine::Onnx,
        measure::{MeasureError, measure},
        model::ModelError,
    },
    evidence::{Class, Failure, Reason},
};

/// Folders within folders that are looked into for the model.
const DEPTH: usize = 8;

/// Measures what is asked, and leaves the answer or why there is none.
pub(super) fn run(args: &Args, request: &str) -> ExitCode {
    let (line, code) = match answer(args, request) {
        Ok(line) => (line, ExitCode::SUCCESS),
        Err(End::Failed(failure)) => {
            super::say(&format!("{} ({})", failure.message, failure.reason));
            let code = ExitCode::from(failure.reason.class().exit_code());
            (termination::line(&failure), code)
        }
        Err(End::Stopped(number)) => {
            super::say("stopped by a signal before it was done");
            return ExitCode::from(128 + number);
        }
    };
    let _ = writeln!(std::io::stdout(), "{line}");
    match termination::leave(&args.termination_log, &line) {
        Ok(()) => code,
        Err(unwritten) => {
            super::say(&unwritten.to_string());
            ExitCode::from(Class::Transient.exit_code())
        }
    }
}

enum End {
    Failed(Failure),
    Stopped(u8),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn answer(args: &Args, request: &str) -> Result<String, End> {
    let request = RunRequest::read(request)?;
    let failed = |problem: Problem| failure(&problem);
    let data = Dataset::open(&args.data, &Limits::default()).map_err(|error| failed(error.into()))?;
    let path = args
        .file
        .as_deref()
        .ok_or_else(|| failed(Problem::Plan("a model is needed".to_owned())))?;
    let path = the_model(path)?;
    let mut model = Onnx::open(&path, args.scores.as_deref()).map_err(|error| failed(error.into()))?;
    let samples = usize::try_from(request.samples).unwrap_or(usize::MAX);
    let mut follow = Follow::new(samples.saturating_mul(request.suites.len()));
    let measured = measure(&request, &mut model, &data, &mut follow);
    let signal = follow.finish();
    match (measured, signal) {
        (Ok(answer), _) => Ok(answer.line()?),
        (
            Err(MeasureError::Suite {
                source: AttackError::Model(ModelError::Stopped),
                ..
            }),
            Some(signal),
        ) => Err(End::Stopped(signal)),
        (Err(error), _) => {
            let class = match &error {
                MeasureError::Suite { source, .. } => source.class(),
                MeasureError::Interval { .. } => Class::Internal,
            };
            let message = match std::error::Error::source(&error) {
                Some(source) if matches!(error, MeasureError::Interval { .. }) => {
                    format!("{error}: {source} ({})", error.code())
                }
                _ => format!("{error} ({})", error.code()),
            };
            Err(Failure::new(reason(class), message).into())
        }
    }
}

fn failure(problem: &Problem) -> Failure {
    let class = match problem {
        Problem::Data(error) => error.class(),
        Problem::Attack(error) => error.class(),
        Problem::Plan(_) => Class::Malformed,
        Problem::Token { .. } | Problem::Signal(_) => Class::Transient,
    };
    Failure::new(reason(class), format!("{problem} ({})", problem.code()))
}

/// The code that conditions and exit codes know.
const fn reason(class: Class) -> Reason {
    match class {
        Class::Malformed | Class::Policy | Class::Integrity | Class::Trust => Reason::SpecInvalid,
        Class::Unsupported => Reason::NotAModel,
        Class::Transient => Reason::Io,
        Class::Internal => Reason::Internal,
    }
}

/// The file itself, or the one model in a folder.
fn the_model(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let mut found = Vec::new();
    collect(path, DEPTH, &mut found)
        .map_err(|error| Failure::new(Reason::Io, format!("cannot read {}: {error}", path.display())))?;
    found.sort();
    match &found[..] {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new(
            Reason::NotAModel,
            "the model has no file that ends in .onnx: models of other kinds are not measured by this version",
        )),
        [first, second, ..] => Err(Failure::new(
            Reason::NotAModel,
            format!(
                "the model has {} files that end in .onnx ({} and {} among them): which one serves is not known",
                found.len(),
                first.display(),
                second.display()
            ),
        )),
    }
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_model_of_a_folder_is_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = PathBuf::from(format!("{}/{name}", folder.path().display()));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            path
        };
        put("config.json");
        assert_eq!(the_model(folder.path()).unwrap_err().reason, Reason::NotAModel);
        let only = put("weights/model.onnx");
        assert_eq!(the_model(folder.path()).unwrap(), only);
        assert_eq!(the_model(&only).unwrap(), only);
        let other = put("other.onnx");
        let message = the_model(folder.path()).unwrap_err().message;
        assert!(message.contains(&other.display().to_string()), "{message}");
    }
}
