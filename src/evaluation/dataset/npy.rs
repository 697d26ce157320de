//! One array in NumPy's own format, version 1 to 3: a header that is a Python dictionary, then the numbers.
//! Only what NumPy itself writes for plain numbers is read; pickled objects are not even looked at.

use std::io::{self, Read};

use super::DatasetError;

/// Longest header that is read. NumPy's are 118 bytes long.
const MAX_HEADER: usize = 4096;
/// Most dimensions of an array.
const MAX_RANK: usize = 8;
/// Bytes that are read at once, so that memory grows with what is there and not with what is claimed.
const CHUNK: usize = 1 << 20;

/// An array, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    /// Its shape.
    pub(super) shape: Vec<usize>,
    /// Its numbers, as many as the shape says.
    pub(super) values: Values,
}

/// The numbers of an array.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// float32.
    Float(Vec<f32>),
    /// uint8.
    Byte(Vec<u8>),
    /// Any other type of integers.
    Integer {
        /// Which, as NumPy writes it.
        dtype: &'static str,
        /// The numbers; those beyond are refused.
        values: Vec<i64>,
    },
}

/// The types that are read: how NumPy writes them, and bytes of one number.
const TYPES: [(&str, usize); 9] = [
    ("<f4", 4),
    ("|u1", 1),
    ("|i1", 1),
    ("<i2", 2),
    ("<u2", 2),
    ("<i4", 4),
    ("<u4", 4),
    ("<i8", 8),
    ("<u8", 8),
];

/// Reads an array of at most `most` numbers.
pub(super) fn read(file: &mut impl Read, name: &'static str, most: usize) -> Result<Array, DatasetError> {
    let broken = |error: io::Error| {
        DatasetError::array(name, format!("cannot be read ({error})"), "write the file again")
    };
    let header = header(file).map_err(broken)?.ok_or_else(|| {
        DatasetError::array(
            name,
            "has no header of NumPy's",
            "write it with numpy.savez_compressed",
        )
    })?;
    let Some(Header {
        dtype,
        fortran,
        shape,
    }) = parse(&header)
    else {
        return Err(DatasetError::array(
            name,
            "has a header that NumPy does not write",
            "write it with numpy.savez_compressed",
        ));
    };
    let Some(&(dtype, size)) = TYPES.iter().find(|(known, _)| *known == dtype) else {
        return Err(DatasetError::array(
            name,
            format!("has the type {dtype}"),
            remedy(name),
        ));
    };
    if fortran && shape.len() > 1 {
        return Err(DatasetError::array(
            name,
            "is stored column by column",
            format!("write numpy.ascontiguousarray({name})"),
        ));
    }
    let count = shape
        .iter()
        .try_fold(1_usize, |count, side| count.checked_mul(*side));
    let Some(count) = count.filter(|count| *count <= most) else {
        let problem = format!("has the shape {shape:?}, and at most {most} numbers are read");
        return Err(DatasetError::array(name, problem, "take fewer samples"));
    };
    let bytes = exactly(file, count.saturating_mul(size)).map_err(broken)?;
    let Some(bytes) = bytes else {
        let problem = format!("does not have the {count} numbers that its shape {shape:?} says");
        return Err(DatasetError::array(name, problem, "write the file again"));
    };
    let values = values(dtype, bytes).ok_or_else(|| {
        DatasetError::array(
            name,
            "has numbers beyond int64",
            format!("write {name}.astype(\"int64\")"),
        )
    })?;
    Ok(Array { shape, values })
}

fn remedy(name: &str) -> &'static str {
    match name {
        "x" => "write x.astype(\"float32\"), or \"uint8\" for images of 0 to 255",
        _ => "write y.astype(\"int64\")",
    }
}

/// The dictionary of the header; none when the magic, the version or the length is not NumPy's.
fn header(file: &mut impl Read) -> io::Result<Option<String>> {
    let mut start = [0; 8];
    file.read_exact(&mut start)?;
    let [0x93, b'N', b'U', b'M', b'P', b'Y', version, 0] = start else {
        return Ok(None);
    };
    let length = match version {
        1 => {
            let mut length = [0; 2];
            file.read_exact(&mut length)?;
            usize::from(u16::from_le_bytes(length))
        }
        2 | 3 => {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX)
        }
        _ => return Ok(None),
    };
    if length > MAX_HEADER {
        return Ok(None);
    }
    let mut text = vec![0; length];
    file.read_exact(&mut text)?;
    Ok(String::from_utf8(text).ok())
}

/// What a header says.
#[derive(Debug, PartialEq)]
struct Header<'a> {
    dtype: &'a str,
    fortran: bool,
    shape: Vec<usize>,
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (10, 8), }`, which is the order NumPy sorts the keys in.
fn parse(text: &str) -> Option<Header<'_>> {
    let inner = text.trim_end().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (dtype, rest) = inner.strip_prefix("'descr': '")?.split_once("', ")?;
    let (fortran, rest) = rest.strip_prefix("'fortran_order': ")?.split_once(", ")?;
    let (shape, rest) = rest.strip_prefix("'shape': (")?.split_once(')')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "<>|=".contains(c);
    if !matches!(rest.trim(), "" | ",") || !dtype.chars().all(plain) || dtype.len() > 16 {
        return None;
    }
    let fortran = match fortran {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    let sides = shape.strip_suffix(',').unwrap_or(shape);
    let sides = if sides.is_empty() {
        None
    } else {
        Some(sides.split(','))
    };
    let shape = sides
        .into_iter()
        .flatten()
        .map(|side| {
            let side = side.trim();
            side.bytes()
                .all(|digit| digit.is_ascii_digit())
                .then(|| side.parse().ok())?
        })
        .collect::<Option<Vec<usize>>>()?;
    (shape.len() <= MAX_RANK).then_some(Header {
        dtype,
        fortran,
        shape,
    })
}

/// So many bytes and no more; none when there are fewer or more. Reading to the end checks the archive's checksum.
fn exactly(file: &mut impl Read, count: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let next = (count - bytes.len()).min(CHUNK) as u64;
        if file.take(next).read_to_end(&mut bytes)? == 0 {
            return Ok(None);
        }
    }
    Ok((file.read(&mut [0])? == 0).then_some(bytes))
}

/// The numbers; none when one of them is beyond int64.
fn values(dtype: &'static str, bytes: Vec<u8>) -> Option<Values> {
    /// Numbers of `N` bytes each.
    fn each<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks().0.iter().map(|chunk| number(*chunk)).collect()
    }
    let values = match dtype {
        "<f4" => return Some(Values::Float(each(&bytes, f32::from_le_bytes))),
        "|u1" => return Some(Values::Byte(bytes)),
        "|i1" => each(&bytes, |b| i64::from(i8::from_le_bytes(b))),
        "<i2" => each(&bytes, |b| i64::from(i16::from_le_bytes(b))),
        "<u2" => each(&bytes, |b| i64::from(u16::from_le_bytes(b))),
        "<i4" => each(&bytes, |b| i64::from(i32::from_le_bytes(b))),
        "<u4" => each(&bytes, |b| i64::from(u32::from_le_bytes(b))),
        "<i8" => each(&bytes, i64::from_le_bytes),
        _ => each(&bytes, |b| i64::try_from(u64::from_le_bytes(b)).ok())
            .into_iter()
            .collect::<Option<_>>()?,
    };
    Some(Values::Integer { dtype, values })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("{'descr': '<f4', 'fortran_order': False, 'shape': (10, 1, 8, 8), }   \n" => Some(("<f4", false, vec![10, 1, 8, 8])); "as it is written")]
    #[test_case("{'descr': '<i8', 'fortran_order': True, 'shape': (10,), }" => Some(("<i8", true, vec![10])); "a list")]
    #[test_case("{'descr': '<i8', 'fortran_order': False, 'shape': (), }" => Some(("<i8", false, vec![])); "a number")]
    #[test_case("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" => Some(("|O", false, vec![1])); "pickled objects, to be named")]
    #[test_case("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }" => None; "records")]
    #[test_case("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }" => None; "less than nothing")]
    #[test_case("{'descr': '<f4', 'fortran_order': False, 'shape': (+1,), }" => None; "a sign")]
    #[test_case("{'descr': '<f4', 'fortran_order': False, 'shape': (1,,2), }" => None; "a hole")]
    #[test_case("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }" => None; "beyond all sizes")]
    #[test_case("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }" => None; "too deep")]
    #[test_case("{'descr': '<f4', 'fortran_order': maybe, 'shape': (1,), }" => None; "neither true nor false")]
    #[test_case("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}" => None; "something more")]
    #[test_case("" => None; "nothing")]
    #[test_case("{}" => None; "an empty dictionary")]
    fn headers(text: &str) -> Option<(&str, bool, Vec<usize>)> {
        parse(text).map(|header| (header.dtype, header.fortran, header.shape))
    }
}
