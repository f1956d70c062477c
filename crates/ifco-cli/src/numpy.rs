//! Arrays printed as NumPy prints them: `repr` of a `float32` array with NumPy 2's defaults
//! (8 digits, 75 columns, more than 1000 numbers are summarized).

use ndarray::{ArrayViewD, Axis, Slice};

const PRECISION: usize = 8;
const LINE_WIDTH: usize = 75;
const THRESHOLD: usize = 1000;
const EDGE_ITEMS: usize = 3;
const PREFIX: &str = "array(";

/// `array([[0.1, ...]], dtype=float32)`
pub fn repr(array: ArrayViewD<'_, f32>) -> String {
    let is_summary = array.len() > THRESHOLD;
    let mut text = String::from(PREFIX);
    if array.is_empty() {
        text.push_str("[]");
    } else {
        let shown = if is_summary {
            edges(array.clone(), 0)
        } else {
            array.iter().copied().collect()
        };
        let writer = Writer {
            format: Format::new(&shown),
            is_summary,
        };
        // NumPy keeps room for the closing parenthesis.
        let width = LINE_WIDTH - 1;
        text.push_str(&writer.nested(array.view(), PREFIX.len() + 1, width));
    }
    let mut extras = Vec::new();
    if is_summary || array.is_empty() && array.shape() != [0] {
        let lengths: Vec<String> = array.shape().iter().map(usize::to_string).collect();
        let comma = if lengths.len() == 1 { "," } else { "" };
        extras.push(format!("shape=({}{comma})", lengths.join(", ")));
    }
    extras.push("dtype=float32)".into());
    let extras = extras.join(", ");
    text.push(',');
    let last_line = text.len() - text.rfind('\n').map_or(0, |at| at + 1);
    if last_line + extras.len() + 1 > LINE_WIDTH {
        text.push('\n');
        text.push_str(&" ".repeat(PREFIX.len()));
    } else {
        text.push(' ');
    }
    text + &extras
}

/// The numbers that a summary shows: those at the ends of every axis.
fn edges(array: ArrayViewD<'_, f32>, axis: usize) -> Vec<f32> {
    if axis == array.ndim() {
        return array.iter().copied().collect();
    }
    let length = array.shape()[axis];
    if length <= 2 * EDGE_ITEMS {
        return edges(array, axis + 1);
    }
    let part = |slice: Slice| edges(array.slice_axis(Axis(axis), slice), axis + 1);
    let mut numbers = part(Slice::from(..EDGE_ITEMS));
    numbers.extend(part(Slice::from(length - EDGE_ITEMS..)));
    numbers
}

struct Writer {
    format: Format,
    is_summary: bool,
}

impl Writer {
    /// The text of an array in brackets, without the indent of its first line.
    fn nested(&self, array: ArrayViewD<'_, f32>, indent: usize, width: usize) -> String {
        let Some(&length) = array.shape().first() else {
            return array.iter().map(|&x| self.format.number(x)).collect();
        };
        let parts: Vec<Option<usize>> = if self.is_summary && length > 2 * EDGE_ITEMS {
            let last = length - EDGE_ITEMS..length;
            let ends = (0..EDGE_ITEMS).map(Some).chain([None]);
            ends.chain(last.map(Some)).collect()
        } else {
            (0..length).map(Some).collect()
        };
        let words = parts.into_iter().map(|index| match index {
            Some(index) => {
                let part = array.index_axis(Axis(0), index);
                self.nested(part, indent + 1, width - 1)
            }
            None => "...".into(),
        });
        let body = if array.ndim() == 1 {
            lines(words, indent, width - 1)
        } else {
            let separator = format!(",{}{}", "\n".repeat(array.ndim() - 1), " ".repeat(indent));
            words.collect::<Vec<_>>().join(&separator)
        };
        format!("[{body}]")
    }
}

/// Words separated by commas, a new line where the next would end beyond `width`.
fn lines(words: impl Iterator<Item = String>, indent: usize, width: usize) -> String {
    let mut text = String::new();
    let mut line = " ".repeat(indent);
    for (index, word) in words.enumerate() {
        if index > 0 {
            line.push_str(", ");
        }
        if line.len() + word.len() > width && line.len() > indent {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(indent);
        }
        line.push_str(&word);
    }
    text.push_str(&line);
    text.split_off(indent)
}

/// How the numbers of one array are aligned.
struct Format {
    is_scientific: bool,
    /// Characters before the point.
    left: usize,
    /// Characters after it, in all.
    right: usize,
    /// Digits after the point in scientific notation.
    digits: usize,
}

impl Format {
    fn new(numbers: &[f32]) -> Self {
        let finite: Vec<f32> = numbers.iter().copied().filter(|x| x.is_finite()).collect();
        let sizes = || finite.iter().map(|x| x.abs()).filter(|&x| x != 0.0);
        let largest = sizes().fold(0.0, f32::max);
        let smallest = sizes().fold(f32::INFINITY, f32::min);
        let is_scientific =
            largest != 0.0 && (largest >= 1e6 || smallest < 0.0001 || largest / smallest > 1000.0);
        let mut format = Self {
            is_scientific,
            left: 0,
            right: 0,
            digits: 0,
        };
        for &number in &finite {
            let text = if is_scientific {
                let (mantissa, _) = scientific(number);
                mantissa
            } else {
                positional(number)
            };
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            format.left = format.left.max(whole.len());
            format.digits = format.digits.max(fraction.len());
        }
        format.right = if is_scientific {
            // e, the sign, two digits: float32 has no exponent of three
            format.digits + 4
        } else {
            format.digits
        };
        if finite.len() < numbers.len() {
            let longest: usize = if numbers.contains(&f32::NEG_INFINITY) {
                4
            } else {
                3
            };
            format.left = format.left.max(longest.saturating_sub(format.right + 1));
        }
        format
    }

    fn number(&self, number: f32) -> String {
        let (left, right) = (self.left, self.right);
        if !number.is_finite() {
            let text = match number {
                _ if number.is_nan() => "nan",
                _ if number > 0.0 => "inf",
                _ => "-inf",
            };
            return format!("{text:>width$}", width = left + right + 1);
        }
        if self.is_scientific {
            let (mut mantissa, mut exponent) = scientific(number);
            let fraction = mantissa
                .split_once('.')
                .map_or(0, |(_, fraction)| fraction.len());
            if fraction < self.digits {
                // Filled up with the number's own further digits, not with zeros.
                (mantissa, exponent) = split(&format!("{:.*e}", self.digits, f64::from(number)));
            }
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((&mantissa, ""));
            let sign = if exponent < 0 { '-' } else { '+' };
            let exponent = exponent.abs();
            return format!("{whole:>left$}.{fraction}e{sign}{exponent:02}");
        }
        let text = positional(number);
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        format!("{whole:>left$}.{fraction:<right$}")
    }
}

/// The shortest digits that mean this number and no other `f32`, cut to 8 after the point,
/// without zeros at the end: `0.1`, `2.`, `0.12345679`.
fn positional(number: f32) -> String {
    let mut text = format!("{number}");
    let digits = text
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    if digits == 0 {
        text.push('.');
    } else if digits > PRECISION {
        // Rounded from the number itself, not from its shortest digits.
        text = format!("{:.*}", PRECISION, f64::from(number));
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

/// The shortest digits with one before the point, and the exponent.
fn scientific(number: f32) -> (String, i32) {
    split(&format!("{number:e}"))
}

/// `-1.5` and -7 of `-1.5e-7`; the digits have a point.
fn split(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut mantissa = mantissa.to_string();
    if !mantissa.contains('.') {
        mantissa.push('.');
    }
    (mantissa, exponent.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ArrayD, IxDyn};

    #[test]
    fn prints_what_numpy_prints() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../tests/numpy/cases.json")).unwrap();
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 40);
        for case in cases {
            let shape: Vec<usize> = case["shape"]
                .as_array()
                .unwrap()
                .iter()
                .map(|length| length.as_u64().unwrap() as usize)
                .collect();
            let bits = case["bits"].as_str().unwrap();
            let numbers = (0..bits.len() / 8)
                .map(|n| u32::from_str_radix(&bits[8 * n..8 * n + 8], 16).unwrap())
                .map(f32::from_bits)
                .collect();
            let array = ArrayD::from_shape_vec(IxDyn(&shape), numbers).unwrap();
            let (found, expected) = (repr(array.view()), case["repr"].as_str().unwrap());
            assert!(
                found == expected,
                "\nfound:\n{found}\nexpected:\n{expected}"
            );
        }
    }
}
