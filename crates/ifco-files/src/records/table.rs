//! A CSV whose columns have names, and may hold text.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use crate::arrays::csv::{delimiter, number};
use crate::arrays::{ArrayFileError, ArrayProblem};

/// A table of texts, by rows and named columns.
///
/// - Columns are separated by commas; by semicolons or tabs when the first line has no comma.
/// - The first line names the columns, unless there is a number in it: then they are `1`, `2`, ….
/// - Memory: the file's bytes, and 8 for each field.
///
/// ```
/// use ifco_files::records::Table;
///
/// let table = Table::from_bytes(b"when,load\nmonday,1.5\ntuesday,2\n")?;
/// assert_eq!((table.rows(), table.header().join(" ")), (2, "when load".into()));
/// assert_eq!(table.text(1, 0), "tuesday");
/// assert_eq!(table.numbers(1)?, [1.5, 2.0]);
/// let error = table.numbers(0).unwrap_err();
/// assert_eq!(error.to_string(), "line 2, column 1: \"monday\" is not a number");
/// # Ok::<(), ifco_files::arrays::ArrayFileError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    header: Vec<String>,
    /// All fields, one behind the other.
    text: String,
    /// Where each field ends.
    ends: Vec<usize>,
    /// The line of each row, from 1.
    lines: Vec<u64>,
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is no text in UTF-8, has no rows, or lines differ in their number of
    /// columns.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ArrayFileError> {
        let path = path.as_ref();
        std::fs::read(path)
            .map_err(ArrayFileError::from)
            .and_then(|bytes| Self::from_bytes(&bytes))
            .map_err(|error| error.at(path))
    }

    /// The table in the bytes of a CSV file.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ArrayFileError> {
        let wrong = |what: String| ArrayFileError::from(ArrayProblem::Csv(what));
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.contains(&0) {
            return Err(wrong("this is not text: it holds zero bytes".into()));
        }
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter(bytes))
            .from_reader(bytes);
        let mut table = Self {
            header: Vec::new(),
            text: String::new(),
            ends: Vec::new(),
            lines: Vec::new(),
        };
        let mut record = StringRecord::new();
        while reader
            .read_record(&mut record)
            .map_err(|error| wrong(error.to_string()))?
        {
            let line = record.position().map_or(0, csv::Position::line);
            if table.header.is_empty() {
                let has_number = record.iter().any(is_number);
                let names = record.iter().zip(1..);
                let names = names.map(|(field, number): (&str, usize)| match has_number {
                    true => number.to_string(),
                    false => field.trim().to_owned(),
                });
                table.header = names.collect();
                if !has_number {
                    continue;
                }
            }
            if record.len() != table.header.len() {
                let problem = ArrayProblem::Ragged {
                    line,
                    found: record.len(),
                    expected: table.header.len(),
                };
                return Err(problem.into());
            }
            for field in &record {
                table.text.push_str(field);
                table.ends.push(table.text.len());
            }
            table.lines.push(line);
        }
        match table.lines.is_empty() {
            true => Err(wrong("there is no row of data".into())),
            false => Ok(table),
        }
    }

    /// The columns' names.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// How many rows there are, without the header.
    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// The number of the column with this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|own| own == name)
    }

    /// A field; nothing where there is none.
    pub fn text(&self, row: usize, column: usize) -> &str {
        if column >= self.header.len() || row >= self.rows() {
            return "";
        }
        let index = row * self.header.len() + column;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }

    /// Whether every field of a column is a number.
    pub fn is_numeric(&self, column: usize) -> bool {
        (0..self.rows()).all(|row| is_number(self.text(row, column)))
    }

    /// A column as numbers.
    ///
    /// # Errors
    /// When a field is none, with its line.
    pub fn numbers(&self, column: usize) -> Result<Vec<f32>, ArrayFileError> {
        let rows = 0..self.rows();
        let numbers = rows.map(|row| {
            let field = self.text(row, column).trim().as_bytes();
            number(field, &|| self.lines[row], column + 1)
        });
        Ok(numbers.collect::<Result<_, ArrayProblem>>()?)
    }
}

fn is_number(field: &str) -> bool {
    field.trim().parse::<f32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_numbers_and_quotes() {
        let bytes = b"\xef\xbb\xbfmood ; text\nglad;\"a; \"\"b\"\"\nc\"\n sad;#x\n";
        let table = Table::from_bytes(bytes).unwrap();
        assert_eq!(table.header(), ["mood", "text"]);
        assert_eq!(table.text(0, 1), "a; \"b\"\nc");
        assert_eq!((table.text(1, 0), table.text(1, 1)), (" sad", "#x"));
        assert_eq!((table.text(2, 0), table.text(0, 2)), ("", ""));
        assert!(!table.is_numeric(0));
        let table = Table::from_bytes(b"1,a\n2,b\n").unwrap();
        assert_eq!((table.header().join(","), table.rows()), ("1,2".into(), 2));
        assert_eq!(table.numbers(0).unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn what_is_no_table_is_an_error_with_its_line() {
        let text = |bytes: &[u8]| Table::from_bytes(bytes).unwrap_err().to_string();
        assert_eq!(text(b""), "there is no row of data");
        assert_eq!(text(b"a,b\n"), "there is no row of data");
        assert!(text(b"a,b\n1,2\n3\n").starts_with("line 3 has 1 columns"));
        assert!(
            text(b"a\n\xff\n").contains("UTF-8"),
            "{}",
            text(b"a\n\xff\n")
        );
        assert!(text(b"a\0b").contains("zero bytes"));
        let table = Table::from_bytes(b"a\n1\n1e99\n").unwrap();
        let error = table.numbers(0).unwrap_err().to_string();
        assert_eq!(
            error,
            "line 3, column 1: 1e99 is beyond the range of float32"
        );
    }
}
