//! An ONNX file, run here with one thread (rten).
//! The file is somebody else's: it may be slow or large or make the engine break off, and is never more than an error.

use std::{
    fs::File,
    io::Read as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use rten::{DataType, Dimension, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueType, ValueView};
use rten_tensor::Layout as _;

use super::SCORES;
use crate::{
    evaluation::{
        dataset::digest_of,
        model::{Fault, Model, ModelError, Rows, Scores},
    },
    evidence::Digest,
};

/// Largest file that is read. ONNX files are Protocol Buffers, which cannot be larger.
const MAX_FILE: u64 = 2 << 30;
/// Rows that are run at once: more hardly helps, and the largest layer's memory grows with them.
const BATCH: usize = 128;

/// A loaded ONNX file.
pub struct Onnx {
    name: String,
    digest: Digest,
    model: rten::Model,
    input: NodeId,
    /// Sides of the input with the batch first; an open one is absent. None when the file does not say.
    sides: Option<Vec<Option<usize>>>,
    output: NodeId,
    threads: Arc<ThreadPool>,
}

impl std::fmt::Debug for Onnx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onnx")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Onnx {
    /// Reads and loads a file. Weights must be in it: other files are not looked for.
    ///
    /// `output` names the output that has the scores; without it, it is `logits`, or else the first output of floats
    /// that has two dimensions.
    ///
    /// # Errors
    /// [`ModelError::Read`]; [`ModelError::Unusable`] when the engine does not run it, it has no single input of floats,
    /// or no such output.
    pub fn open(path: &Path, output: Option<&str>) -> Result<Self, ModelError> {
        let read = |source| ModelError::Read {
            path: path.display().to_string(),
            source,
        };
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(read)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_FILE {
            let problem = "it has more than 2 GiB, which no ONNX file has".to_owned();
            return Err(ModelError::Unusable { model: name, problem });
        }
        Self::load(name, bytes, output)
    }

    /// The same for bytes that have been read, under a name for messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn load(name: String, bytes: Vec<u8>, output: Option<&str>) -> Result<Self, ModelError> {
        let unusable = |problem: String| ModelError::Unusable {
            model: name.clone(),
            problem,
        };
        let digest = digest_of(&bytes);
        let loaded = caught(|| ModelOptions::with_all_ops().prepack_weights(true).load(bytes));
        let model = loaded
            .map_err(|()| unusable("the engine broke off while loading it; export it again".to_owned()))?
            .map_err(|error| {
                unusable(format!(
                    "{error}; give a file in ONNX format with its weights in it and operators that rten knows"
                ))
            })?;
        let input = input(&model).map_err(unusable)?;
        let sides = model.node_info(input).and_then(|info| info.shape());
        let side = |side: Dimension| match side {
            Dimension::Fixed(size) => Some(size),
            Dimension::Symbolic(_) => None,
        };
        let output = match output {
            Some(name) => named(&model, name).map_err(unusable)?,
            None => scores(&model).map_err(unusable)?,
        };
        Ok(Self {
            digest,
            input,
            sides: sides.map(|sides| sides.into_iter().map(side).collect()),
            output,
            threads: Arc::new(ThreadPool::with_num_threads(1)),
            model,
            name,
        })
    }

    /// The SHA-256 of the file: which model it is.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The batch that the file insists on, if it does.
    fn fixed(&self) -> Option<usize> {
        self.sides
            .as_ref()?
            .first()
            .copied()
            .flatten()
            .filter(|rows| *rows > 0)
    }

    /// Refuses rows that the file says it does not take, in words about the data.
    fn check(&self, rows: Rows<'_>) -> Result<(), ModelError> {
        let Some(sides) = self.sides.as_deref().and_then(|sides| sides.get(1..)) else {
            return Ok(());
        };
        let fits = sides.len() == rows.shape().len()
            && sides
                .iter()
                .zip(rows.shape())
                .all(|(takes, given)| takes.is_none_or(|takes| takes == *given));
        if fits {
            return Ok(());
        }
        let side = |side: &Option<usize>| side.map_or_else(|| "any".to_owned(), |side| side.to_string());
        Err(ModelError::Inputs {
            takes: format!("[{}]", sides.iter().map(side).collect::<Vec<_>>().join(", ")),
            given: format!("{:?}", rows.shape()),
        })
    }

    /// Runs rows whose number the file takes.
    fn run(&self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        let given = ValueView::from_shape(rows.batch_shape(), rows.values())
            .map_err(|error| ModelError::Internal(error.to_string()))?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.threads)));
        let ran = caught(|| {
            self.model
                .run(vec![(self.input, given.into())], &[self.output], Some(options))
        });
        let outputs = ran
            .map_err(|()| ModelError::Run(format!("{} made the engine panic; export it again", self.name)))?
            .map_err(|error| ModelError::Run(format!("{}: {error}", self.name)))?;
        let Some(Value::FloatTensor(scores)) = outputs.into_iter().next() else {
            return Ok(Scores::without(rows.len(), Fault::Shape));
        };
        Ok(match *scores.shape() {
            [count, classes] if count == rows.len() => Scores::new(count, classes, scores.into_data()),
            _ => Scores::without(rows.len(), Fault::Shape),
        })
    }
}

impl Model for Onnx {
    fn scores(&mut self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        self.check(rows)?;
        let Some(fixed) = self.fixed() else {
            return self.run(rows);
        };
        let mut all = Scores::default();
        for part in rows.parts(fixed) {
            if part.len() == fixed {
                all.append(self.run(part)?);
                continue;
            }
            // The file takes so many rows or none: the last one is repeated, and its answers are left out.
            let width = part.values().len() / part.len().max(1);
            let last = part
                .values()
                .get(part.values().len() - width..)
                .unwrap_or_default();
            let mut values = part.values().to_vec();
            for _ in part.len()..fixed {
                values.extend_from_slice(last);
            }
            let padded = Rows::new(part.shape(), &values)
                .ok_or_else(|| ModelError::Internal("a batch was padded wrongly".to_owned()))?;
            all.append(self.run(padded)?.first(part.len()));
        }
        Ok(all)
    }

    fn batch(&self) -> usize {
        self.fixed()
            .map_or(BATCH, |fixed| fixed.max(BATCH / fixed * fixed))
    }
}

/// What a foreign file makes of the engine's code ends here; the panic's own words went to standard error.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, ()> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| ())
}

/// The one input, of floats.
fn input(model: &rten::Model) -> Result<NodeId, String> {
    let [input] = *model.input_ids() else {
        return Err(format!(
            "it has {} inputs, and one is filled; export it with one",
            model.input_ids().len()
        ));
    };
    match model.node_info(input).and_then(|info| info.dtype()) {
        None | Some(ValueType::Tensor(DataType::Float)) => Ok(input),
        Some(_) => Err("its input is not of floats; export it with float32 inputs".to_owned()),
    }
}

/// The output of this name.
fn named(model: &rten::Model, name: &str) -> Result<NodeId, String> {
    let outputs = model.output_ids().iter();
    outputs
        .copied()
        .find(|id| called(model, *id) == name)
        .ok_or_else(|| format!("it has no output `{name}`; its outputs are {}", outputs_of(model)))
}

/// The output that should have the scores.
fn scores(model: &rten::Model) -> Result<NodeId, String> {
    let fits = |id: &NodeId| {
        model.node_info(*id).is_some_and(|info| {
            matches!(info.dtype(), None | Some(ValueType::Tensor(DataType::Float)))
                && info.shape().is_none_or(|shape| shape.len() == 2)
        })
    };
    let outputs: Vec<NodeId> = model.output_ids().iter().copied().filter(fits).collect();
    let preferred = outputs.iter().find(|id| called(model, **id) == SCORES);
    preferred.or(outputs.first()).copied().ok_or_else(|| {
        format!(
            "it has no output of floats with the shape [n, classes]; its outputs are {}",
            outputs_of(model)
        )
    })
}

fn called(model: &rten::Model, id: NodeId) -> String {
    let info = model.node_info(id);
    info.and_then(|info| info.name().map(ToOwned::to_owned))
        .unwrap_or_default()
}

fn outputs_of(model: &rten::Model) -> String {
    let names: Vec<String> = model.output_ids().iter().map(|id| called(model, *id)).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
