//! What a data file may be, and the sentence for what it may not.

use test_case::test_case;

use super::*;
use crate::evaluation::testing::{floats, integers, npy, npz};

fn x() -> Vec<u8> {
    floats("2, 1, 2", &[0.0, 0.25, 0.5, 1.0])
}

fn y() -> Vec<u8> {
    integers("2,", &[3, 0])
}

fn read(x: Vec<u8>, y: Vec<u8>) -> Result<Dataset, DatasetError> {
    Dataset::read(&npz(&[("x", x), ("y", y)]), &Limits::default())
}

#[test]
fn samples_are_found_by_their_place() {
    let bytes = npz(&[("more", vec![1]), ("x", x()), ("y", y())]);
    let data = Dataset::read(&bytes, &Limits::default()).unwrap();
    assert_eq!((data.len(), data.shape(), data.width()), (2, &[1, 2][..], 2));
    assert_eq!(data.sample(0), Some((&[0.0, 0.25][..], 3)));
    assert_eq!(data.sample(1), Some((&[0.5, 1.0][..], 0)));
    assert_eq!((data.sample(2), data.sample(usize::MAX)), (None, None));
    assert_eq!((data.range(), data.last_label()), ((0.0, 1.0), 3));
    assert_eq!((data.outside(0.0, 1.0), data.outside(0.0, 0.5)), (None, Some(1)));
    assert_eq!(data.digest(), digest_of(&bytes));
}

#[test]
fn a_digest_is_what_sha256sum_says() {
    assert_eq!(
        digest_of(b"test").to_string(),
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    );
}

#[test]
fn images_of_bytes_become_zero_to_one() {
    let data = read(npy("|u1", "2, 1", &[0, 255]), npy("|u1", "2,", &[1, 0])).unwrap();
    assert_eq!(data.sample(1), Some((&[1.0][..], 0)));
}

#[test_case(npy("<i4", "2,", &[1, 0, 0, 0, 2, 0, 0, 0]); "int32")]
#[test_case(npy("<u2", "2,", &[1, 0, 2, 0]); "uint16")]
#[test_case(npy("|i1", "2,", &[1, 2]); "int8")]
#[test_case(npy("<u8", "2,", &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]); "uint64")]
fn labels_may_be_any_integers(y: Vec<u8>) {
    let data = read(x(), y).unwrap();
    assert_eq!((data.sample(0).unwrap().1, data.sample(1).unwrap().1), (1, 2));
}

#[test_case(floats("2, 1", &[0.0, f32::NAN]), y(), "array `x` has NaN in sample 1: leave such samples out"; "not a number")]
#[test_case(floats("2, 1", &[f32::INFINITY, 0.0]), y(), "array `x` has inf in sample 0"; "infinity")]
#[test_case(npy("<f8", "2, 1", &[0; 16]), y(), "array `x` has the type <f8: write x.astype(\"float32\")"; "doubles")]
#[test_case(npy(">f4", "2, 1", &[0; 8]), y(), "array `x` has the type >f4"; "the other byte order")]
#[test_case(npy("|O", "2, 1", &[0; 8]), y(), "array `x` has the type |O"; "pickled objects")]
#[test_case(integers("2, 1", &[0, 1]), y(), "array `x` has the type <i8: write x.astype"; "inputs of integers")]
#[test_case(x(), floats("2,", &[0.0, 1.0]), "array `y` has the type float32: write y.astype(\"int64\")"; "labels of floats")]
#[test_case(x(), npy("<f8", "2,", &[0; 16]), "array `y` has the type <f8: write y.astype(\"int64\")"; "labels of doubles")]
#[test_case(x(), integers("2,", &[0, -1]), "array `y` has the label -1: number the classes"; "a label below nothing")]
#[test_case(x(), npy("<u8", "2,", &[255; 16]), "array `y` has numbers beyond int64"; "a label beyond all classes")]
#[test_case(x(), integers("3,", &[0, 1, 2]), "array `y` has the shape [3] and array `x` has 2 samples"; "more labels than samples")]
#[test_case(x(), integers("2, 1", &[0, 1]), "give `y` the shape [2]"; "labels in a column")]
#[test_case(floats("2,", &[0.0, 1.0]), y(), "array `x` has the shape [2]: give it the shape [n, …]"; "inputs without a shape of their own")]
#[test_case(floats("", &[0.0]), y(), "array `x` is a single number"; "one number")]
#[test_case(floats("0, 3", &[]), integers("0,", &[]), "one sample at least"; "no samples")]
#[test_case(floats("2, 0", &[]), y(), "array `x` has the shape [2, 0]"; "empty samples")]
#[test_case(floats("2, 3", &[0.0; 4]), y(), "array `x` does not have the 6 numbers"; "fewer numbers than the shape says")]
#[test_case(floats("2, 1", &[0.0; 4]), y(), "array `x` does not have the 2 numbers"; "more numbers than the shape says")]
#[test_case(floats("999999999, 999999999, 999999999", &[0.0]), y(), "take fewer samples"; "a shape beyond all sizes")]
#[test_case(floats("999999999", &[0.0]), y(), "at most 134217728 numbers are read: take fewer samples"; "a shape beyond the limit")]
#[test_case(b"\x93NUMPY\x01\x00".to_vec(), y(), "array `x` cannot be read"; "cut in the header")]
#[test_case(b"\x93NUMPY\x01\x00\xff\xff".to_vec(), y(), "array `x` has no header"; "a header that is too long")]
#[test_case(b"\x93NUMPY\x04\x00\x00\x00".to_vec(), y(), "array `x` has no header"; "a version to come")]
#[test_case(b"\x80\x04\x95pickle, perhaps".to_vec(), y(), "array `x` has no header"; "something else")]
fn refuses(x: Vec<u8>, y: Vec<u8>, words: &str) {
    let error = read(x, y).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!((error.class(), error.code()), (Class::Malformed, "DataMalformed"));
}

#[test]
fn columns_first_is_refused() {
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }\n";
    let mut x = b"\x93NUMPY\x01\x00".to_vec();
    x.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    x.extend(header.as_bytes());
    x.extend([0; 16]);
    let words = read(x, y()).unwrap_err().to_string();
    assert!(
        words.contains("column by column: write numpy.ascontiguousarray(x)"),
        "{words}"
    );
}

#[test_case(&[("x", x())], "no array `y`"; "without labels")]
#[test_case(&[("y", y())], "no array `x`"; "without inputs")]
#[test_case(&[], "no array `x`"; "empty")]
fn arrays_must_be_there(arrays: &[(&str, Vec<u8>)], words: &str) {
    let error = Dataset::read(&npz(arrays), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in [&b""[..], b"PK", b"\x93NUMPY\x01\x00", &[0; 4096]] {
        let error = Dataset::read(bytes, &Limits::default()).unwrap_err();
        assert!(error.to_string().contains("is no .npz file"), "{error}");
    }
}

/// Ten thousand times smaller than what it unpacks to: only what the header says is unpacked, and that is limited.
#[test]
fn a_bomb_is_not_unpacked() {
    let zeros = vec![0; 64 << 20];
    let mut small = floats("2, 1", &[]);
    small.extend(&zeros);
    let bomb = npz(&[("x", small), ("y", y())]);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let error = Dataset::read(&bomb, &Limits::default()).unwrap_err();
    assert!(
        error.to_string().contains("does not have the 2 numbers"),
        "{error}"
    );

    let mut large = floats("16777216, 1", &[]);
    large.extend(&zeros);
    let limits = Limits {
        values: 1 << 20,
        ..Limits::default()
    };
    let error = Dataset::read(&npz(&[("x", large), ("y", y())]), &limits).unwrap_err();
    assert!(error.to_string().contains("at most 1048576 numbers"), "{error}");
}

#[test]
fn a_large_file_is_refused_before_it_is_read() {
    let bytes = npz(&[("x", x()), ("y", y())]);
    let limits = Limits {
        file: bytes.len() as u64 - 1,
        ..Limits::default()
    };
    let error = Dataset::read(&bytes, &limits).unwrap_err();
    assert_eq!(error.code(), "LimitExceeded");
}

/// Every byte of a file changed, one by one: an answer or an error, never a panic.
#[test]
fn damaged_files_are_survived() {
    let bytes = npz(&[("x", x()), ("y", y())]);
    for place in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] ^= change;
            let _ = Dataset::read(&damaged, &Limits::default());
            let _ = Dataset::read(&damaged[..place], &Limits::default());
        }
    }
}

#[test]
fn a_missing_file_is_told_by_its_name() {
    let error = Dataset::open(Path::new("no-such.npz"), &Limits::default()).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read no-such.npz: "),
        "{error}"
    );
    assert_eq!(error.class(), Class::Transient);
}
