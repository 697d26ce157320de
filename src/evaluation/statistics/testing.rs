//! What the tests of this folder share: numbers that other tools calculated, and how near to them is near enough.
//! The numbers are written by `tests/fixtures/statistics/generate.py`, and only by it.

use serde_json::Value;

/// One file of `tests/fixtures/statistics`.
pub struct Fixture(Value);

macro_rules! fixtures {
    ($($name:ident),*) => {
        impl Fixture {
            $(pub fn $name() -> Self {
                Self::read(include_str!(concat!("../../../tests/fixtures/statistics/", stringify!($name), ".json")))
            })*
        }
    };
}

fixtures!(
    special,
    interval,
    drift,
    mmd,
    outlier,
    fairness,
    calibration,
    importance,
    membership
);

impl Fixture {
    fn read(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    pub fn at(&self, name: &str) -> Self {
        Self(self.0[name].clone())
    }

    pub fn list(&self) -> Vec<Self> {
        self.0.as_array().unwrap().iter().cloned().map(Self).collect()
    }

    pub fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("{name}"))
    }

    pub fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("{name}"))
    }

    pub fn numbers(&self, name: &str) -> Vec<f64> {
        let list = self.0[name].as_array().unwrap_or_else(|| panic!("{name}"));
        list.iter().map(|value| value.as_f64().unwrap()).collect()
    }

    pub fn counts(&self, name: &str) -> Vec<u64> {
        let list = self.0[name].as_array().unwrap_or_else(|| panic!("{name}"));
        list.iter().map(|value| value.as_u64().unwrap()).collect()
    }

    pub fn places(&self, name: &str) -> Vec<usize> {
        let counts = self.counts(name).into_iter();
        counts.map(|count| usize::try_from(count).unwrap()).collect()
    }

    pub fn flags(&self, name: &str) -> Vec<bool> {
        self.counts(name).into_iter().map(|flag| flag == 1).collect()
    }

    pub fn table(&self, name: &str) -> Vec<Vec<f64>> {
        let rows = self.0[name].as_array().unwrap_or_else(|| panic!("{name}"));
        let row = |row: &Value| {
            let cells = row.as_array().unwrap().iter();
            cells.map(|value| value.as_f64().unwrap()).collect()
        };
        rows.iter().map(row).collect()
    }
}

/// Within `tolerance` of each other as a part of the expected number: a small p-value is compared by its digits as
/// well.
#[track_caller]
pub fn assert_close(found: f64, expected: f64, tolerance: f64) {
    let off = (found - expected).abs();
    assert!(
        off <= tolerance * expected.abs() || off <= f64::MIN_POSITIVE,
        "{found:e} is {off:e} from {expected:e}"
    );
}

/// Within `tolerance` of each other, whatever their size.
#[track_caller]
pub fn assert_within(found: f64, expected: f64, tolerance: f64) {
    let off = (found - expected).abs();
    assert!(off <= tolerance, "{found:e} is {off:e} from {expected:e}");
}
