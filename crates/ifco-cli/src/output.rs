//! Text for stdout: as wide as the terminal, plain when piped.

use std::io::{self, BufWriter, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use serde_json::{Value, json};

pub use ifco::view::words::thousands;

use crate::failure::Failure;

/// Writes text to stdout. A reader that has gone (`| head`) is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// A table without lines. `right` are the columns of numbers. In a terminal it is as wide as
/// the terminal at most; piped, each row is one line, however long.
pub fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    match terminal_width() {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.add_rows(rows);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn terminal_width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| width.0.max(40))
}

/// A number in few digits: `1.234`, `0.01235`, `1.2e-7`.
pub fn short(number: f64) -> String {
    if number == 0.0 {
        return "0".into();
    }
    if !number.is_finite() {
        return if number.is_nan() {
            "NaN".into()
        } else {
            format!("{number}")
        };
    }
    let magnitude = number.abs().log10().floor();
    if !(-4.0..6.0).contains(&magnitude) {
        return format!("{number:.2e}");
    }
    let digits = (3.0 - magnitude).clamp(0.0, 6.0) as usize;
    format!("{number:.digits$}")
}

/// `1 unit`, `2 units`.
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// JSON has no number for what is not finite: then the text that stands for it.
pub fn json_number(value: f64) -> Value {
    if value.is_finite() {
        return json!(value);
    }
    Value::from(match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_few_digits() {
        for (number, text) in [
            (0.0, "0"),
            (1.0, "1.000"),
            (-1234.5678, "-1235"),
            (0.012345, "0.01235"),
            (1.5e-7, "1.50e-7"),
            (1.5e9, "1.50e9"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn a_piped_table_has_one_line_a_row() {
        let rows = vec![
            vec!["a".repeat(200), "1".into()],
            vec!["b".into(), "22".into()],
        ];
        let text = table(&["name", "n"], &[1], rows);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| !line.ends_with(' ')));
    }
}
