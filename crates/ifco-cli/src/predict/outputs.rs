//! The model's outputs to a file or to stdout.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ifco::Model;
use ifco::arrays::{csv, npy, npz};
use ndarray::{Array2, ArrayD, ArrayViewD};

use crate::failure::Failure;
use crate::interrupt;

/// Where the outputs go.
pub enum Destination {
    Stdout,
    Npy(PathBuf),
    Npz(PathBuf),
    Csv(PathBuf),
}

impl Destination {
    /// What a file's name says; stdout without one.
    pub fn of(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Destination::Stdout);
        };
        let extension = path.extension().map(|ext| ext.to_ascii_lowercase());
        match extension.as_deref().and_then(|ext| ext.to_str()) {
            Some("npy") => Ok(Destination::Npy(path.into())),
            Some("npz") => Ok(Destination::Npz(path.into())),
            Some("csv") => Ok(Destination::Csv(path.into())),
            _ => Err(Failure::usage(format_args!(
                "the name {:?} does not say in which format to save",
                path.display().to_string()
            ))
            .help("end it in .npy, .npz or .csv")),
        }
    }

    /// Whether it can hold the model's outputs, before they are computed.
    pub fn check(&self, model: &Model) -> Result<(), Failure> {
        match self {
            Destination::Npy(_) if model.outputs().len() != 1 => Err(Failure::usage(format_args!(
                "the model has {} outputs, a .npy file holds one array",
                model.outputs().len()
            ))
            .help("save to a .npz file, which holds each output by its name")),
            _ => Ok(()),
        }
    }

    /// Writes one array for each output.
    pub fn write(&self, model: &Model, outputs: &[ArrayD<f32>]) -> Result<(), Failure> {
        // The model gives each output a name of its own.
        let names: Vec<String> = model
            .outputs()
            .iter()
            .map(|port| port.name.clone())
            .collect();
        match self {
            Destination::Stdout => {
                let (table, header) = table(&names, outputs)?;
                let mut stdout = BufWriter::new(io::stdout().lock());
                csv::write_to(&mut stdout, table.view(), header.as_deref())?;
                Ok(stdout.flush()?)
            }
            Destination::Csv(path) => {
                let (table, header) = table(&names, outputs)?;
                Ok(interrupt::write_whole(|| {
                    csv::write(path, table.view(), header.as_deref())
                })?)
            }
            Destination::Npy(path) => {
                // `check` has seen to it that there is one.
                for output in outputs {
                    interrupt::write_whole(|| npy::write(path, output.view()))?;
                }
                Ok(())
            }
            Destination::Npz(path) => {
                let arrays: Vec<(String, ArrayViewD<'_, f32>)> = names
                    .into_iter()
                    .zip(outputs.iter().map(|output| output.view()))
                    .collect();
                Ok(interrupt::write_whole(|| npz::write(path, &arrays))?)
            }
        }
    }
}

/// All outputs side by side, a line for each row of the batch. The header is needed only to
/// tell several outputs apart.
fn table(
    names: &[String],
    outputs: &[ArrayD<f32>],
) -> Result<(Array2<f32>, Option<Vec<String>>), Failure> {
    let not_a_table = |error: ndarray::ShapeError| {
        Failure::new(format_args!("the outputs do not make a table: {error}"))
            .help("save them with -o OUT.npz")
    };
    let mut tables = Vec::with_capacity(outputs.len());
    for output in outputs {
        let rows = output.shape().first().copied().unwrap_or(1);
        let columns = output.len().checked_div(rows).unwrap_or(0);
        let flat = output.view().into_shape_with_order((rows, columns));
        tables.push(flat.map_err(not_a_table)?);
    }
    let header = (tables.len() > 1).then(|| {
        let of_output = |(name, table): (&String, &ndarray::ArrayView2<'_, f32>)| {
            let name = name.clone();
            (0..table.ncols()).map(move |column| format!("{name}[{column}]"))
        };
        names.iter().zip(&tables).flat_map(of_output).collect()
    });
    let joined = ndarray::concatenate(ndarray::Axis(1), &tables).map_err(not_a_table)?;
    Ok((joined, header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{IxDyn, array};

    #[test]
    fn outputs_side_by_side() {
        let one = array![[1.0], [2.0]].into_dyn();
        let other = ArrayD::from_shape_vec(IxDyn(&[2, 2, 1]), vec![3.0, 4.0, 5.0, 6.0]).unwrap();
        let names = ["a".to_string(), "b".to_string()];
        let (joined, header) = table(&names, &[one.clone(), other]).unwrap();
        assert_eq!(joined, array![[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]);
        assert_eq!(header.unwrap(), ["a[0]", "b[0]", "b[1]"]);
        assert_eq!(table(&names[..1], &[one]).unwrap().1, None);
    }
}
