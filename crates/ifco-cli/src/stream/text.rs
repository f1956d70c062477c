//! A line of numbers for each step.

use std::io::{BufRead, BufReader, Read, Write};

use ifco::Session;
use ifco::arrays::{ArrayProblem, csv};
use ndarray::ArrayView2;
use serde_json::{Value, json};

use super::{STDIN, unreadable};
use crate::failure::Failure;

/// Input without a line's end must not fill the memory.
const LONGEST_LINE: u64 = 1 << 24;

/// Answers each line with a line. Where no further line is waiting, what was answered is
/// handed on: a reader at the other end of a pipe sees it at once, and a file is written in
/// large pieces.
pub fn run<R: Read>(
    session: &mut Session,
    input: &mut BufReader<R>,
    output: &mut impl Write,
    as_json: bool,
) -> Result<(), Failure> {
    let mut lines = Lines::default();
    let mut x = Vec::with_capacity(session.input_len());
    let mut step = 0_u64;
    while lines.next(input, &mut x)? {
        session.check(&x).map_err(|error| {
            Failure::from(error).at(format_args!("{STDIN}, line {}", lines.line))
        })?;
        let y = session.step(&x);
        match as_json {
            true => writeln!(output, "{}", json_of(step, y))?,
            false => {
                let row = ArrayView2::from_shape((1, y.len()), y)
                    .map_err(|error| Failure::new(format_args!("the output is no row: {error}")))?;
                csv::write_to(output, row, None)?;
            }
        }
        step += 1;
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    Ok(output.flush()?)
}

/// `{"step":0,"output":[0.5]}`; what JSON has no number for is null.
fn json_of(step: u64, y: &[f32]) -> Value {
    let number = |y: &f32| match y.is_finite() {
        // The shortest digits that give the same f32 again.
        true => y
            .to_string()
            .parse::<f64>()
            .map_or(Value::Null, Value::from),
        false => Value::Null,
    };
    json!({ "step": step, "output": y.iter().map(number).collect::<Vec<_>>() })
}

/// Lines of numbers, one after the other, as `ifco::arrays::csv` reads whole files.
#[derive(Default)]
pub struct Lines {
    /// The line read last, from 1.
    line: u64,
    bytes: Vec<u8>,
    /// What the first line that is not skipped separates its numbers with.
    separator: Option<u8>,
}

impl Lines {
    /// Reads the numbers of the next line that has any; false at the end.
    pub fn next(&mut self, input: &mut impl BufRead, x: &mut Vec<f32>) -> Result<bool, Failure> {
        loop {
            self.bytes.clear();
            let mut limited = input.by_ref().take(LONGEST_LINE);
            let read = limited
                .read_until(b'\n', &mut self.bytes)
                .map_err(unreadable)?;
            if read == 0 {
                return Ok(false);
            }
            self.line += 1;
            if self.bytes.len() as u64 == LONGEST_LINE && !self.bytes.ends_with(b"\n") {
                let what = format!("line {} is longer than {LONGEST_LINE} bytes", self.line);
                return Err(Failure::new(what)
                    .at(STDIN)
                    .help("a step is a line of text; for float32 numbers use --raw"));
            }
            let line = match self.line {
                // Excel writes a byte order mark before the first field.
                1 => self
                    .bytes
                    .strip_prefix(b"\xef\xbb\xbf")
                    .unwrap_or(&self.bytes),
                _ => &self.bytes,
            };
            if line.trim_ascii().is_empty() || line.starts_with(b"#") {
                continue;
            }
            let is_first = self.separator.is_none();
            let separator = *self.separator.get_or_insert_with(|| {
                let known = [b',', b';', b'\t'].into_iter();
                known
                    .clone()
                    .find(|byte| line.contains(byte))
                    .unwrap_or(b',')
            });
            let fields = || {
                line.split(|byte| *byte == separator)
                    .map(<[u8]>::trim_ascii)
            };
            if is_first && fields().all(|field| parse(field).is_none()) {
                continue; // a header
            }
            x.clear();
            for (index, field) in fields().enumerate() {
                let number = number(field, self.line, index + 1).map_err(|problem| {
                    let failure = Failure::new(&problem).at(STDIN);
                    match problem.help() {
                        Some(help) => failure.help(help),
                        None => failure,
                    }
                })?;
                x.push(number);
            }
            return Ok(true);
        }
    }
}

fn parse(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn number(field: &[u8], line: u64, column: usize) -> Result<f32, ArrayProblem> {
    let found = || -> String {
        let text = String::from_utf8_lossy(field);
        let short: String = text.chars().take(40).collect();
        match short.len() < text.len() {
            true => short + "…",
            false => short,
        }
    };
    match parse(field) {
        None => Err(ArrayProblem::NotANumber {
            line,
            column,
            found: found(),
        }),
        // "inf" means infinity, but 1e300 does not.
        Some(number) if number.is_infinite() && field.iter().any(u8::is_ascii_digit) => {
            Err(ArrayProblem::OutOfRange {
                line,
                column,
                found: found(),
            })
        }
        Some(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Vec<f32>>, String> {
        let mut input = text.as_bytes();
        let (mut lines, mut x, mut all) = (Lines::default(), Vec::new(), Vec::new());
        while lines
            .next(&mut input, &mut x)
            .map_err(|error| error.to_string())?
        {
            all.push(x.clone());
        }
        Ok(all)
    }

    #[test]
    fn lines_are_read_as_csv_files_are() {
        let rows = [vec![1.0, 2.0], vec![-3.5, 4.0]];
        for text in [
            "1,2\n-3.5,4\n",
            "\u{feff}a,b\r\n1, 2\r\n\r\n# no step\r\n-3.5 ,4",
            "1;2\n-3.5;4\n",
            "1\t2\n-3.5\t4\n",
        ] {
            assert_eq!(read(text).unwrap(), rows, "{text:?}");
        }
        assert_eq!(read("x\n1\nnan\n-inf\n").unwrap().len(), 3);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_has_a_line_and_a_column() {
        for (text, what) in [
            (
                "1,2\n3,many\n",
                "line 2, column 2: \"many\" is not a number",
            ),
            ("1,2\n\n,4\n", "line 3, column 1: \"\" is not a number"),
            ("a,b\nc,d\n", "line 2, column 1: \"c\" is not a number"),
            (
                "1\n1e300\n",
                "line 2, column 1: 1e300 is beyond the range of float32",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(what), "{error}");
            assert!(error.contains("help: "), "{error}");
        }
        let error = read(&"1".repeat(LONGEST_LINE as usize + 1)).unwrap_err();
        assert!(error.contains("line 1 is longer than"), "{error}");
    }

    #[test]
    fn json_has_no_nan() {
        let line = json_of(7, &[0.1, f32::NAN]).to_string();
        assert_eq!(line, r#"{"step":7,"output":[0.1,null]}"#);
    }
}
