//! Which part of the data trains, which validates, which tests.

use std::ops::Range;
use std::str::FromStr;

use ifco_train::Random;

use crate::DataError;

/// How data are parted: shares of it, or numbers of rows.
///
/// ```
/// use ifco_tasks::Split;
///
/// let split: Split = "0.8,0.1,0.1".parse()?;
/// assert_eq!(split.parts(50)?, [0..40, 40..45, 45..50]);
/// let split: Split = "20,5,5".parse()?; // rows; those behind are left alone
/// assert_eq!(split.parts(50)?, [0..20, 20..25, 25..30]);
/// # Ok::<(), ifco_tasks::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split([f64; 3]);

impl Split {
    /// These shares of the data, or numbers of rows, train, validate and test.
    ///
    /// # Errors
    /// When they are no shares and no numbers of rows.
    pub fn new(parts: [f64; 3]) -> Result<Self, DataError> {
        let [train, validation, test] = parts;
        let sum = train + validation + test;
        let is_share = sum <= 1.0 + 1e-9;
        let is_rows = parts.iter().all(|part| part.fract() == 0.0 && *part < 1e15);
        let is_some = train > 0.0 && validation > 0.0 && test >= 0.0;
        if is_some && sum.is_finite() && (is_share || is_rows) {
            return Ok(Self(parts));
        }
        let what = format!("the split {train},{validation},{test} parts nothing");
        let help =
            "give the shares that train, validate and test, as 0.7,0.1,0.2, or numbers of rows";
        Err(DataError::new(what).help(help))
    }

    /// The rows that train, validate and test, one part behind the other.
    ///
    /// # Errors
    /// When there are too few rows to train and validate.
    pub fn parts(&self, rows: usize) -> Result<[Range<usize>; 3], DataError> {
        let [train, validation, test] = self.0;
        let (one, two, three) = match train + validation + test <= 1.0 + 1e-9 {
            true => {
                let at = |share: f64| ((rows as f64 * share).round() as usize).min(rows);
                (
                    at(train),
                    at(train + validation),
                    at(train + validation + test),
                )
            }
            false => {
                let end = |count: f64| count as usize;
                let (one, two) = (end(train), end(train + validation));
                (one, two, end(train + validation + test))
            }
        };
        if one == 0 || two <= one || three > rows {
            let what = format!("{rows} rows are too few to train, validate and test on");
            return Err(DataError::new(what).help("give more data, or another --split"));
        }
        Ok([0..one, one..two, two..three])
    }
}

impl FromStr for Split {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
        let wrong = || {
            DataError::new(format!("{text:?} is no split"))
                .help("give the shares that train, validate and test, as 0.7,0.1,0.2")
        };
        let parts = numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
        Self::new(parts.ok_or_else(wrong)?)
    }
}

/// The numbers below `count` in a random order, drawn from the seed.
///
/// ```
/// let order = ifco_tasks::shuffled(100, 7);
/// assert_eq!(order, ifco_tasks::shuffled(100, 7));
/// assert_ne!(order, ifco_tasks::shuffled(100, 8));
/// ```
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    // Another stream than the weights' and the shuffling's.
    Random::new(seed ^ 0x73_70_6C_69_74).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parts_nothing_is_an_error() {
        for text in [
            "",
            "1",
            "0.5,0.5",
            "0,0.5,0.5",
            "0.9,0.9,0.9",
            "a,b,c",
            "inf,1,1",
            "NaN,1,1",
        ] {
            assert!(text.parse::<Split>().is_err(), "{text}");
        }
        let split = Split::new([0.7, 0.1, 0.2]).unwrap();
        assert!(split.parts(1).is_err());
        assert!(Split::new([20.0, 5.0, 5.0]).unwrap().parts(29).is_err());
    }
}
