//! Labelled data: a `.npz` file with the inputs in `x` and what they are in `y`, read strictly and within bounds.
//! Nothing is guessed or mended: what does not fit is refused with the line of NumPy that makes it fit.

mod npy;

use std::{
    fs::File,
    io::{Cursor, Read as _},
    path::Path,
};

use aws_lc_rs::digest::{SHA256, digest};
use zip::{ZipArchive, result::ZipError};

use self::npy::{Array, Values};
use crate::evidence::{Class, Digest};

/// What is read at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub file: u64,
    /// Numbers in one array, whatever the file claims to unpack to.
    pub values: usize,
}

impl Default for Limits {
    /// 512 MiB, and as much again of unpacked numbers.
    fn default() -> Self {
        Self {
            file: 512 << 20,
            values: 128 << 20,
        }
    }
}

/// Why data is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than is read.
    #[error("the data has more than {0} bytes: take fewer samples")]
    TooLarge(u64),
    /// The file is no archive as NumPy writes it.
    #[error("the data is no .npz file ({0}): write it with numpy.savez_compressed(file, x=…, y=…)")]
    Archive(String),
    /// An array is missing.
    #[error("the data has no array `{0}`: write it with numpy.savez_compressed(file, x=…, y=…)")]
    Missing(&'static str),
    /// An array has a form that is not read.
    #[error("array `{array}` {problem}: {remedy}")]
    Array {
        /// Which.
        array: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The arrays do not belong together.
    #[error("{0}")]
    Together(String),
}

impl DatasetError {
    /// The class of the error, which decides the exit code.
    pub const fn class(&self) -> Class {
        match self {
            Self::Read { .. } => Class::Transient,
            _ => Class::Malformed,
        }
    }

    /// The stable code, in `PascalCase`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "Io",
            Self::TooLarge(_) => "LimitExceeded",
            _ => "DataMalformed",
        }
    }

    fn array(array: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Array {
            array,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// Samples with labels. Every number is finite, every label belongs to one sample, and there is one at least.
#[derive(Clone, PartialEq)]
pub struct Dataset {
    digest: Digest,
    shape: Vec<usize>,
    width: usize,
    inputs: Vec<f32>,
    labels: Vec<usize>,
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset")
            .field("digest", &self.digest)
            .field("samples", &self.labels.len())
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Dataset {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DatasetError`]: the file cannot be read, is too large, or is not as [`Self::read`] wants it.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, DatasetError> {
        let read = |source| DatasetError::Read {
            path: path.display().to_string(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        // One more than allowed tells that there is more; a size from the file system may be out of date.
        file.take(limits.file.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(read)?;
        Self::read(&bytes, limits)
    }

    /// Reads the bytes of an archive with `x` of shape [n, …], as float32 or as uint8 images (which become 0 to 1), and
    /// `y` of shape [n], as integers from 0 on. Further arrays are left alone. The bytes that are hashed are those that
    /// are read.
    ///
    /// # Errors
    /// [`DatasetError`], with what is wrong and what to write instead.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self, DatasetError> {
        if bytes.len() as u64 > limits.file {
            return Err(DatasetError::TooLarge(limits.file));
        }
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(unreadable)?;
        let x = array(&mut archive, "x", limits)?;
        let y = array(&mut archive, "y", limits)?;
        let digest = digest_of(bytes);
        Self::of(digest, x, y)
    }

    fn of(digest: Digest, x: Array, y: Array) -> Result<Self, DatasetError> {
        let Some((&samples, shape)) = x.shape.split_first() else {
            return Err(DatasetError::array(
                "x",
                "is a single number",
                "give it the shape [n, …]",
            ));
        };
        let width = shape.iter().product::<usize>();
        if samples == 0 || width == 0 || shape.is_empty() {
            let problem = format!("has the shape {:?}", x.shape);
            return Err(DatasetError::array(
                "x",
                problem,
                "give it the shape [n, …] with one sample at least",
            ));
        }
        let inputs = inputs(x.values)?;
        if let Some(place) = inputs.iter().position(|value| !value.is_finite()) {
            let problem = format!(
                "has {} in sample {}",
                inputs.get(place).unwrap_or(&f32::NAN),
                place / width
            );
            return Err(DatasetError::array(
                "x",
                problem,
                "leave such samples out, or mend them before",
            ));
        }
        if y.shape != [samples] {
            return Err(DatasetError::Together(format!(
                "array `y` has the shape {:?} and array `x` has {samples} samples: give `y` the shape [{samples}], one integer a sample",
                y.shape
            )));
        }
        Ok(Self {
            digest,
            shape: shape.to_vec(),
            width,
            inputs,
            labels: labels(y.values)?,
        })
    }

    /// The SHA-256 of the file: which data it is.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never: data without samples is refused.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The shape of one input.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Numbers of one input.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The input and label of a sample, by its place in the file.
    pub fn sample(&self, place: usize) -> Option<(&[f32], usize)> {
        let start = place.checked_mul(self.width)?;
        let input = self.inputs.get(start..start.checked_add(self.width)?)?;
        Some((input, *self.labels.get(place)?))
    }

    /// The smallest and the largest number in the inputs.
    pub fn range(&self) -> (f32, f32) {
        let extend = |(low, high): (f32, f32), value: &f32| (low.min(*value), high.max(*value));
        self.inputs
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), extend)
    }

    /// The largest label.
    pub fn last_label(&self) -> usize {
        self.labels.iter().copied().max().unwrap_or(0)
    }

    /// The first sample whose numbers are not all in [low, high].
    pub fn outside(&self, low: f32, high: f32) -> Option<usize> {
        let out = |value: &f32| !(low..=high).contains(value);
        self.inputs.iter().position(out).map(|place| place / self.width)
    }
}

/// The SHA-256 of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut hash = [0; 32];
    for (byte, value) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *byte = *value;
    }
    Digest::from_bytes(hash)
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn unreadable(error: ZipError) -> DatasetError {
    DatasetError::Archive(error.to_string())
}

/// An array of the archive, unpacked only as far as its header and the limits allow.
fn array(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &'static str,
    limits: &Limits,
) -> Result<Array, DatasetError> {
    let mut file = match archive.by_name(&format!("{name}.npy")) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Err(DatasetError::Missing(name)),
        Err(error) => return Err(unreadable(error)),
    };
    npy::read(&mut file, name, limits.values)
}

/// Inputs as they are given to models.
fn inputs(values: Values) -> Result<Vec<f32>, DatasetError> {
    match values {
        Values::Float(values) => Ok(values),
        Values::Byte(bytes) => Ok(bytes.into_iter().map(|byte| f32::from(byte) / 255.0).collect()),
        Values::Integer { dtype, .. } => Err(DatasetError::array(
            "x",
            format!("has the type {dtype}"),
            "write x.astype(\"float32\"), or \"uint8\" for images of 0 to 255",
        )),
    }
}

/// Labels as places in a model's scores.
fn labels(values: Values) -> Result<Vec<usize>, DatasetError> {
    let values = match values {
        Values::Byte(bytes) => return Ok(bytes.into_iter().map(usize::from).collect()),
        Values::Integer { values, .. } => values,
        Values::Float(_) => {
            return Err(DatasetError::array(
                "y",
                "has the type float32",
                "write y.astype(\"int64\")",
            ));
        }
    };
    let label = |value: i64| {
        usize::try_from(value).map_err(|_| {
            DatasetError::array(
                "y",
                format!("has the label {value}"),
                "number the classes as the model does, from 0 on",
            )
        })
    };
    values.into_iter().map(label).collect()
}

#[cfg(test)]
mod tests;
