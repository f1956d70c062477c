//! A table of epochs, as Keras's `CSVLogger` writes it.

use std::io::{self, Write};

use super::Logs;

/// Keras's `CSVLogger`: a line for each epoch, columns in the alphabet's order.
///
/// Where the first epoch has no validation, there are columns for it all the same, with `NA`.
///
/// ```
/// use ifco_train::callback::CsvLog;
///
/// let mut file = Vec::new();
/// let mut log = CsvLog::new(',');
/// log.epoch(0, &[("val_loss", 0.5), ("loss", 0.25)], &mut file)?;
/// assert_eq!(String::from_utf8_lossy(&file), "epoch,loss,val_loss\r\n0,0.25,0.5\r\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CsvLog {
    separator: char,
    /// The first epoch's.
    columns: Option<Vec<String>>,
    headed: bool,
}

impl CsvLog {
    /// A new table.
    pub fn new(separator: char) -> Self {
        Self {
            separator,
            columns: None,
            headed: false,
        }
    }

    /// Goes on with a table that has its first line.
    pub fn appending(separator: char) -> Self {
        Self {
            headed: true,
            ..Self::new(separator)
        }
    }

    /// Writes one epoch, counted from 0, and what must stand before it.
    ///
    /// # Errors
    /// When `file` cannot be written.
    pub fn epoch(
        &mut self,
        epoch: usize,
        logs: &Logs<'_>,
        file: &mut impl Write,
    ) -> io::Result<()> {
        let columns = self.columns.get_or_insert_with(|| {
            let mut columns: Vec<String> = logs.iter().map(|(name, _)| (*name).into()).collect();
            columns.sort();
            if !columns.iter().any(|name| name.starts_with("val_")) {
                let validation: Vec<String> =
                    columns.iter().map(|name| format!("val_{name}")).collect();
                columns.extend(validation);
            }
            columns
        });
        let mut lines = String::new();
        let mut line = |first: &str, rest: &mut dyn Iterator<Item = String>| {
            lines.push_str(first);
            for field in rest {
                lines.push(self.separator);
                lines.push_str(&field);
            }
            lines.push_str("\r\n");
        };
        if !self.headed {
            line("epoch", &mut columns.iter().cloned());
            self.headed = true;
        }
        let value = |name: &String| match super::logged(logs, name) {
            Some(value) => python(value),
            None => "NA".into(),
        };
        line(&epoch.to_string(), &mut columns.iter().map(value));
        file.write_all(lines.as_bytes())?;
        file.flush()
    }
}

/// A number as Python prints it.
pub(super) fn python(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "nan".into()
        } else {
            format!("{value}")
        };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ if value.fract() == 0.0 => format!("{value:.1}"),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_python_prints_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (f64::from(0.1_f32), "0.10000000149011612"),
            (1e-5, "1e-05"),
            (1.25e-4, "0.000125"),
            (-2.5e-7, "-2.5e-07"),
            (1e16, "1e+16"),
            (123456789012345.0, "123456789012345.0"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(python(value), text);
        }
    }
}
