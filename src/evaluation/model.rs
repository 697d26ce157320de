//! What is measured, as an attack sees it: rows of numbers go in, scores of classes come out, or a fault.
//! A fault is never an answer: what cannot be read as finite scores counts against the model, not for it.

use crate::evidence::Class;

/// Inputs of equal shape, one after the other, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    shape: &'a [usize],
    width: usize,
    values: &'a [f32],
}

impl<'a> Rows<'a> {
    /// Rows of `shape` each, the batch not counted. None when the values do not divide into such rows, or a row is empty.
    pub fn new(shape: &'a [usize], values: &'a [f32]) -> Option<Self> {
        let width = shape
            .iter()
            .try_fold(1_usize, |width, side| width.checked_mul(*side))?;
        (width > 0 && values.len().is_multiple_of(width)).then_some(Self { shape, width, values })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The shape of one row.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The shape of all of them: how many, then the shape of one.
    pub fn batch_shape(&self) -> Vec<usize> {
        std::iter::once(self.len())
            .chain(self.shape.iter().copied())
            .collect()
    }

    /// All values, row after row.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The same rows in parts of at most so many; one at least.
    pub fn parts(self, rows: usize) -> impl Iterator<Item = Self> {
        let Self { shape, width, .. } = self;
        self.values
            .chunks(rows.max(1).saturating_mul(width))
            .map(move |values| Self { shape, width, values })
    }

    /// The first half and the rest; the first is empty for a single row.
    pub fn halves(self) -> (Self, Self) {
        let Self { shape, width, .. } = self;
        let (first, rest) = self.values.split_at(self.len() / 2 * width);
        let part = |values| Self { shape, width, values };
        (part(first), part(rest))
    }
}

/// Why there are no scores for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Fault {
    /// A guard refused the input (HTTP 403 or 451).
    #[error("was refused by a guard")]
    Blocked,
    /// A score is no finite number.
    #[error("has scores that are no finite numbers")]
    NotFinite,
    /// The answer has another shape than one row of scores for each input.
    #[error("has an answer of the wrong shape")]
    Shape,
    /// The answer could not be read at all.
    #[error("has an answer that cannot be read")]
    Unreadable,
}

/// The scores of some rows, logits or probabilities, all for the same classes; or why a row has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    classes: usize,
    values: Vec<f32>,
    faults: Vec<Option<Fault>>,
}

impl Scores {
    /// Scores of `rows` inputs, row-major. A row with a number that is not finite has [`Fault::NotFinite`]; all rows
    /// have [`Fault::Shape`] when the values are not `rows` × `classes`, or there are fewer than two classes.
    pub fn new(rows: usize, classes: usize, values: Vec<f32>) -> Self {
        if classes < 2 || rows.checked_mul(classes) != Some(values.len()) {
            return Self::without(rows, Fault::Shape);
        }
        let fault = |row: &[f32]| {
            row.iter()
                .any(|score| !score.is_finite())
                .then_some(Fault::NotFinite)
        };
        let faults = values.chunks(classes).map(fault).collect();
        Self {
            classes,
            values,
            faults,
        }
    }

    /// The same fault for so many rows.
    pub fn without(rows: usize, fault: Fault) -> Self {
        Self {
            classes: 0,
            values: Vec::new(),
            faults: vec![Some(fault); rows],
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// How many classes; 0 while no row has scores.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The scores of a row, one a class.
    ///
    /// # Errors
    /// The fault of the row; [`Fault::Shape`] for a row that is not there.
    pub fn row(&self, row: usize) -> Result<&[f32], Fault> {
        match self.faults.get(row) {
            Some(None) => {
                let start = row.saturating_mul(self.classes);
                self.values
                    .get(start..start.saturating_add(self.classes))
                    .ok_or(Fault::Shape)
            }
            Some(Some(fault)) => Err(*fault),
            None => Err(Fault::Shape),
        }
    }

    /// By how much the score of `label` is above the best of the others: positive when the label is the answer.
    ///
    /// A tie is no answer, so it counts as wrong: a model that cannot tell is not robust.
    ///
    /// # Errors
    /// As [`Self::row`]; [`Fault::Shape`] when there is no such class.
    pub fn margin(&self, row: usize, label: usize) -> Result<f32, Fault> {
        let scores = self.row(row)?;
        let own = *scores.get(label).ok_or(Fault::Shape)?;
        let others = scores.iter().enumerate().filter(|(class, _)| *class != label);
        let best = others.map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max);
        // Two finite numbers may be further apart than the largest one.
        Ok((own - best).clamp(f32::MIN, f32::MAX))
    }

    /// The scores of the first so many rows, the others left out.
    #[must_use]
    pub fn first(mut self, rows: usize) -> Self {
        self.faults.truncate(rows);
        self.values.truncate(rows.saturating_mul(self.classes));
        self
    }

    /// Adds the scores of further rows behind these. Rows for another number of classes have [`Fault::Shape`].
    pub fn append(&mut self, more: Self) {
        if self.classes == 0 && more.classes > 0 {
            self.classes = more.classes;
            // Rows without scores keep their place.
            self.values = vec![0.0; self.faults.len().saturating_mul(more.classes)];
        }
        if more.classes == self.classes {
            self.values.extend(more.values);
            self.faults.extend(more.faults);
        } else {
            let room = more.faults.len().saturating_mul(self.classes);
            self.values.extend(std::iter::repeat_n(0.0, room));
            let fault = |fault: Option<Fault>| Some(fault.unwrap_or(Fault::Shape));
            self.faults.extend(more.faults.into_iter().map(fault));
        }
    }
}

/// Why a model cannot be asked, or not any more. What is wrong with single answers is a [`Fault`].
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file is no model that this engine runs.
    #[error("{model} cannot be run: {problem}")]
    Unusable {
        /// Which model, as it was given.
        model: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The model takes other inputs than the data has.
    #[error("the model takes inputs of shape {takes}, and those of the data are {given}: convert the data")]
    Inputs {
        /// What it takes, without the batch.
        takes: String,
        /// What the data has.
        given: String,
    },
    /// The model's own file or an answer could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The engine broke off.
    #[error("the model broke off: {0}")]
    Run(String),
    /// The endpoint could not be reached, or kept answering that it cannot answer.
    #[error("{endpoint} {problem}: it was tried {attempts} times; look at the endpoint and the network")]
    Unavailable {
        /// Whom we asked.
        endpoint: String,
        /// What it did.
        problem: String,
        /// How often it was asked.
        attempts: u32,
    },
    /// The endpoint wants credentials.
    #[error("{endpoint} answered 401: it wants credentials; give them with --bearer-token-file")]
    Denied {
        /// Whom we asked.
        endpoint: String,
    },
    /// The endpoint does not know the model, or the path.
    #[error("{endpoint} answered {status} for {what}: {remedy}")]
    Refused {
        /// Whom we asked.
        endpoint: String,
        /// The status of HTTP.
        status: u16,
        /// What was asked for.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// As many requests as were allowed have been made.
    #[error("the budget of {0} requests is used up: raise it, or take fewer samples or queries")]
    Requests(u64),
    /// Whoever watches asked to stop.
    #[error("stopped before it was done")]
    Stopped,
    /// A defect of ours.
    #[error("{0}: please report this")]
    Internal(String),
}

impl ModelError {
    /// The class of the error, which decides the exit code.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unusable { .. } | Self::Run(_) => Class::Unsupported,
            Self::Inputs { .. } | Self::Requests(_) => Class::Malformed,
            Self::Read { .. }
            | Self::Unavailable { .. }
            | Self::Denied { .. }
            | Self::Refused { .. }
            | Self::Stopped => Class::Transient,
            Self::Internal(_) => Class::Internal,
        }
    }

    /// The stable code, in `PascalCase`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unusable { .. } => "ModelUnusable",
            Self::Inputs { .. } => "InputsMismatch",
            Self::Read { .. } => "Io",
            Self::Run(_) => "ModelBrokeOff",
            Self::Unavailable { .. } => "EndpointUnavailable",
            Self::Denied { .. } => "EndpointDenied",
            Self::Refused { .. } => "EndpointRefused",
            Self::Requests(_) => "RequestsUsedUp",
            Self::Stopped => "Stopped",
            Self::Internal(_) => "Internal",
        }
    }
}

/// Something that gives scores: a file in an engine, or an endpoint.
pub trait Model {
    /// The scores of every row, in their order. What is wrong with single rows is in the [`Scores`].
    ///
    /// # Errors
    /// What makes asking further pointless.
    fn scores(&mut self, rows: Rows<'_>) -> Result<Scores, ModelError>;

    /// How many rows it is best asked at once.
    fn batch(&self) -> usize {
        256
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case(&[2], 6 => Some(3))]
    #[test_case(&[1, 2, 3], 6 => Some(1))]
    #[test_case(&[], 2 => Some(2); "rows of one number")]
    #[test_case(&[4], 6 => None; "half a row")]
    #[test_case(&[0], 0 => None; "rows of nothing")]
    #[test_case(&[usize::MAX, 2], 6 => None; "rows beyond all sizes")]
    #[test_case(&[2], 0 => Some(0); "no rows")]
    fn rows(shape: &[usize], values: usize) -> Option<usize> {
        Rows::new(shape, &vec![0.0; values]).map(|rows| rows.len())
    }

    #[test]
    fn parts_and_halves_are_the_same_rows() {
        let values: Vec<f32> = (0..10_u8).map(f32::from).collect();
        let rows = Rows::new(&[2], &values).unwrap();
        let lengths: Vec<usize> = rows.parts(2).map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 2, 1]);
        assert_eq!(rows.parts(0).count(), 5);
        let (first, rest) = rows.halves();
        assert_eq!((first.values(), rest.values()), (&values[..4], &values[4..]));
        assert_eq!(first.batch_shape(), [2, 2]);
        assert!(rest.halves().1.halves().0.halves().0.is_empty());
    }

    #[test_case(&[2.0, 1.0], 0 => Ok(1.0); "right")]
    #[test_case(&[2.0, 1.0], 1 => Ok(-1.0); "wrong")]
    #[test_case(&[2.0, 2.0], 0 => Ok(0.0); "a tie is not right")]
    #[test_case(&[2.0, 1.0], 2 => Err(Fault::Shape); "no such class")]
    #[test_case(&[f32::NAN, 1.0], 1 => Err(Fault::NotFinite); "not a number")]
    #[test_case(&[f32::INFINITY, 1.0], 0 => Err(Fault::NotFinite); "infinitely sure")]
    #[test_case(&[f32::MAX, f32::MIN], 0 => Ok(f32::MAX); "further apart than numbers go")]
    fn margins(scores: &[f32], label: usize) -> Result<f32, Fault> {
        Scores::new(1, scores.len(), scores.to_vec()).margin(0, label)
    }

    #[test_case(2, 2, 3; "too few")]
    #[test_case(1, 2, 4; "too many")]
    #[test_case(3, 1, 3; "one class")]
    #[test_case(3, 0, 0; "no class")]
    #[test_case(usize::MAX, 2, 2; "beyond all sizes is not tried")]
    fn other_shapes_are_faults(rows: usize, classes: usize, values: usize) {
        let rows = rows.min(100);
        let scores = Scores::new(rows, classes, vec![0.0; values]);
        assert_eq!(scores.len(), rows);
        assert!((0..rows).all(|row| scores.row(row) == Err(Fault::Shape)));
    }

    #[test]
    fn rows_keep_their_place_when_answers_are_put_together() {
        let mut all = Scores::without(1, Fault::Blocked);
        all.append(Scores::new(1, 2, vec![1.0, 0.0]));
        all.append(Scores::without(1, Fault::Unreadable));
        all.append(Scores::new(1, 3, vec![1.0, 0.0, 0.0]));
        all.append(Scores::new(2, 2, vec![3.0, 4.0, f32::NAN, 0.0]));
        let found: Vec<_> = (0..7).map(|row| all.row(row).map(<[f32]>::to_vec)).collect();
        let expected = [
            Err(Fault::Blocked),
            Ok(vec![1.0, 0.0]),
            Err(Fault::Unreadable),
            Err(Fault::Shape),
            Ok(vec![3.0, 4.0]),
            Err(Fault::NotFinite),
            Err(Fault::Shape),
        ];
        assert_eq!(found, expected);
        assert_eq!((all.len(), all.classes()), (6, 2));
    }
}
