//! What tests of evaluation share: data as NumPy writes it, models that do as they are told, and small ONNX files.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use std::io::{Cursor, Write as _};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{
    dataset::{Dataset, Limits},
    model::{Fault, Model, ModelError, Rows, Scores},
};

/// An array as NumPy writes it.
pub(super) fn npy(dtype: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(numbers);
    bytes
}

pub(super) fn floats(shape: &str, numbers: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    npy("<f4", shape, &bytes)
}

pub(super) fn integers(shape: &str, numbers: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    npy("<i8", shape, &bytes)
}

pub(super) fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let packed = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in arrays {
        writer.start_file(format!("{name}.npy"), packed).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// So many samples of this shape, every number the same, with these labels in turn.
pub(super) fn plain(samples: usize, shape: &[usize], number: f32, labels: &[i64]) -> Dataset {
    let sides: Vec<String> = std::iter::once(samples)
        .chain(shape.iter().copied())
        .map(|side| side.to_string())
        .collect();
    let width: usize = shape.iter().product();
    let x = floats(&sides.join(", "), &vec![number; samples * width]);
    let labels: Vec<i64> = labels.iter().copied().cycle().take(samples).collect();
    let y = integers(&format!("{samples},"), &labels);
    Dataset::read(&npz(&[("x", x), ("y", y)]), &Limits::default()).unwrap()
}

/// A model made of a function from a row to its scores or a fault.
pub(super) struct Planted<F>(pub(super) F);

impl<F: FnMut(&[f32]) -> Result<Vec<f32>, Fault>> Model for Planted<F> {
    fn scores(&mut self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        let width: usize = rows.shape().iter().product();
        let mut all = Scores::default();
        for row in rows.values().chunks(width) {
            all.append(match (self.0)(row) {
                Ok(scores) => Scores::new(1, scores.len(), scores),
                Err(fault) => Scores::without(1, fault),
            });
        }
        Ok(all)
    }

    fn batch(&self) -> usize {
        7
    }
}

/// The demo's models and its held-out images.
pub(super) fn digits(model: &str) -> std::path::PathBuf {
    format!("{}/examples/digits/{model}", env!("CARGO_MANIFEST_DIR")).into()
}

pub(super) fn heldout() -> Dataset {
    Dataset::open(&digits("heldout.npz"), &Limits::default()).unwrap()
}

/// Protocol Buffers, as far as ONNX needs them.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A tensor of floats (1) or another type, its sides; -1 for an open one.
fn tensor(name: &str, kind: u64, sides: &[i64]) -> Vec<u8> {
    let side = |side: &i64| {
        let side = u64::try_from(*side).map_or_else(|_| bytes(2, b"n"), |side| number(1, side));
        bytes(1, &side)
    };
    let shape: Vec<u8> = sides.iter().flat_map(side).collect();
    let of = [number(1, kind), bytes(2, &shape)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &of))].concat()
}

/// An ONNX file with these inputs, operators and outputs: `(name, type, sides)` and `(operator, inputs, output)`.
pub(super) fn onnx(
    inputs: &[(&str, u64, &[i64])],
    nodes: &[(&str, &[&str], &str)],
    outputs: &[(&str, u64, &[i64])],
) -> Vec<u8> {
    let node = |(operator, takes, gives): &(&str, &[&str], &str)| {
        let takes: Vec<u8> = takes.iter().flat_map(|name| bytes(1, name.as_bytes())).collect();
        bytes(
            1,
            &[takes, bytes(2, gives.as_bytes()), bytes(4, operator.as_bytes())].concat(),
        )
    };
    let graph = [
        nodes.iter().flat_map(node).collect::<Vec<u8>>(),
        bytes(2, b"g"),
        inputs
            .iter()
            .flat_map(|(name, kind, sides)| bytes(11, &tensor(name, *kind, sides)))
            .collect(),
        outputs
            .iter()
            .flat_map(|(name, kind, sides)| bytes(12, &tensor(name, *kind, sides)))
            .collect(),
    ]
    .concat();
    [
        number(1, 8),
        bytes(7, &graph),
        bytes(8, &[bytes(1, b""), number(2, 13)].concat()),
    ]
    .concat()
}
