//! The one way an attack asks a model: counted, in batches, and watched.

use std::ops::ControlFlow;

use super::outcome::SampleResult;
use crate::evaluation::model::{Fault, Model, ModelError, Rows, Scores};

/// Whoever follows a run, and may end it.
pub trait Watch {
    /// So many more rows were asked. [`ControlFlow::Break`] ends the run without a result.
    fn asked(&mut self, rows: u64) -> ControlFlow<()>;

    /// A block is complete; here are all results so far, in the order of the run. [`ControlFlow::Break`] ends the run
    /// with them. Only here may a run be ended for what it has shown: within a block, samples that break early are
    /// ahead of those that hold.
    fn block(&mut self, results: &[SampleResult]) -> ControlFlow<()>;
}

/// Nobody watches.
impl Watch for () {
    fn asked(&mut self, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn block(&mut self, _: &[SampleResult]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A model as an attack may ask it.
pub struct Ask<'a> {
    model: &'a mut dyn Model,
    shape: &'a [usize],
    watch: &'a mut dyn Watch,
    rows: u64,
    classes: usize,
}

impl<'a> Ask<'a> {
    /// Asks `model` about inputs of `shape`.
    pub fn new(model: &'a mut dyn Model, shape: &'a [usize], watch: &'a mut dyn Watch) -> Self {
        Self {
            model,
            shape,
            watch,
            rows: 0,
            classes: 0,
        }
    }

    /// The shape of one input.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Rows asked so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many classes the model scores; 0 before it gave any scores.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The scores of inputs that lie one behind the other, in batches that suit the model.
    ///
    /// # Errors
    /// [`ModelError::Stopped`] when whoever watches wants no more, and what the model itself fails with.
    pub fn scores(&mut self, values: &[f32]) -> Result<Scores, ModelError> {
        let rows = Rows::new(self.shape, values)
            .ok_or_else(|| ModelError::Internal("an attack asked about half an input".to_owned()))?;
        let mut all = Scores::default();
        for part in rows.parts(self.model.batch()) {
            let scores = self.model.scores(part)?;
            all.append(if scores.len() == part.len() {
                scores
            } else {
                Scores::without(part.len(), Fault::Shape)
            });
            self.rows = self.rows.saturating_add(part.len() as u64);
            if self.watch.asked(part.len() as u64).is_break() {
                return Err(ModelError::Stopped);
            }
        }
        if self.classes == 0 {
            self.classes = all.classes();
        }
        Ok(all)
    }

    /// Tells that a block is complete.
    pub(super) fn block(&mut self, results: &[SampleResult]) -> ControlFlow<()> {
        self.watch.block(results)
    }
}
