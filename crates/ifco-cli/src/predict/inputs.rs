//! The model's inputs from files.

use std::path::{Path, PathBuf};

use ifco::arrays::{csv, npy, npz};
use ifco::{Port, Shape, display_shape};
use ndarray::{Array2, ArrayD, Axis, IxDyn};

use crate::failure::Failure;
use crate::output::count;

/// INPUT of every command that runs a model. Which ones need it they say with
/// `#[command(mut_arg("inputs", ...))]`.
#[derive(clap::Args)]
pub struct InputArgs {
    /// The model's inputs: .npy, .npz or .csv
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
}

impl InputArgs {
    /// One array for each input of the model, in the model's order.
    pub fn read(&self, ports: &[Port]) -> Result<Vec<ArrayD<f32>>, Failure> {
        read(&self.inputs, ports)
    }

    /// The files' names, for errors.
    pub fn names(&self) -> String {
        names(&self.inputs)
    }
}

/// Reads one array for each input of the model, in the model's order.
pub fn read(paths: &[PathBuf], ports: &[Port]) -> Result<Vec<ArrayD<f32>>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        found.extend(read_file(path)?);
    }
    let files = names(paths);
    let arrays = assign(found, ports).map_err(|failure| failure.at(&files))?;
    arrays
        .into_iter()
        .zip(ports)
        .map(|(array, port)| match array {
            Found::Array(array) => Ok(array),
            Found::Table(table) => {
                table_to_batch(table, port).map_err(|failure| failure.at(&files))
            }
        })
        .collect()
}

pub fn names(paths: &[PathBuf]) -> String {
    let names = paths.iter().map(|path| path.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// An array, or lines and columns that become one once the input's shape is known.
#[derive(Debug, PartialEq)]
enum Found {
    Array(ArrayD<f32>),
    Table(Array2<f32>),
}

type Named = (Option<String>, Found);

fn read_file(path: &Path) -> Result<Vec<Named>, Failure> {
    let extension = path.extension().map(|ext| ext.to_ascii_lowercase());
    match extension.as_deref().and_then(|ext| ext.to_str()) {
        Some("npy") => Ok(vec![(None, Found::Array(npy::read(path)?))]),
        Some("csv") => Ok(vec![(None, Found::Table(csv::read(path)?))]),
        Some("npz") => Ok(npz::read(path)?
            .into_iter()
            .map(|(name, array)| (Some(name), Found::Array(array)))
            .collect()),
        _ => Err(
            Failure::usage("the input's name does not say in which format it is")
                .at_file(path)
                .help("ifco reads .npy, .npz and .csv"),
        ),
    }
}

/// By name when the names are those of the inputs, otherwise in order.
fn assign(mut found: Vec<Named>, ports: &[Port]) -> Result<Vec<Found>, Failure> {
    let has_name = |found: &Named, port: &Port| found.0.as_deref() == Some(port.name.as_str());
    let named = ports
        .iter()
        .filter(|port| found.iter().any(|found| has_name(found, port)))
        .count();
    if named == ports.len() && named == found.len() {
        let mut arrays = Vec::with_capacity(ports.len());
        for port in ports {
            // Each name is there, and there are as many arrays as names.
            if let Some(index) = found.iter().position(|found| has_name(found, port)) {
                arrays.push(found.swap_remove(index).1);
            }
        }
        return Ok(arrays);
    }
    if found.len() == ports.len() && named == 0 {
        return Ok(found.into_iter().map(|(_, array)| array).collect());
    }
    let given: Vec<String> = found.iter().filter_map(|(name, _)| name.clone()).collect();
    let names = if given.is_empty() {
        String::new()
    } else {
        format!(": {}", given.join(", "))
    };
    let inputs: Vec<String> = ports
        .iter()
        .map(|port| match &port.shape {
            Some(shape) => format!("{} {}", port.name, display_shape(shape)),
            None => port.name.clone(),
        })
        .collect();
    let what = if found.len() == ports.len() {
        format!("some arrays have the names of inputs, but not all{names}")
    } else {
        format!(
            "{} given, but the model has {}{names}",
            count(found.len(), "array"),
            count(ports.len(), "input"),
        )
    };
    Err(Failure::new(what).help(format_args!("the inputs are {}", inputs.join(", "))))
}

/// Lines and columns for an input whose batch may be another axis than the first.
fn table_to_batch(table: Array2<f32>, port: &Port) -> Result<ArrayD<f32>, Failure> {
    match (port.batch_axis, &port.shape) {
        (Some(_), _) => {
            let array = rows_to_batch(table, port.batch_first().as_ref())?;
            Ok(port.from_batch_first(array))
        }
        // Without a batch that can be told, a table is a table.
        (None, Some(shape)) if shape.len() != 2 => Err(Failure::new(format_args!(
            "the input {:?} has the shape {}, and the model's file does not let ifco tell which \
             axis is the batch",
            port.name,
            display_shape(shape)
        ))
        .help("give it as .npy")),
        (None, _) => Ok(table.into_dyn()),
    }
}

/// Lines and columns in the shape of an input; the rules stand in the command's help.
fn rows_to_batch(table: Array2<f32>, shape: Option<&Shape>) -> Result<ArrayD<f32>, Failure> {
    let Some(shape) = shape else {
        return Ok(table.into_dyn());
    };
    let (rows, columns) = table.dim();
    let sizes = shape.get(1..).unwrap_or_default();
    let unfit = || {
        let wanted = match sizes {
            [Some(features)] => format!("{features} columns, one for each feature"),
            [Some(time), Some(features)] => format!(
                "{} columns, a sequence of {time} steps of {features} features on each line, or \
                 one sequence of {time} lines and {features} columns",
                time.saturating_mul(*features)
            ),
            [None, Some(features)] => {
                format!("{features} columns, one for each feature, and a line for each step")
            }
            _ => "an array of another rank: give it as .npy".into(),
        };
        Failure::new(format_args!(
            "the table has {rows} lines and {columns} columns, which do not make an input of \
             shape {}",
            display_shape(shape)
        ))
        .help(format_args!("the model wants {wanted}"))
    };
    let flat: Option<usize> = sizes
        .iter()
        .copied()
        .try_fold(1_usize, |product, size| product.checked_mul(size?));
    let array = table.into_dyn();
    match (sizes, flat) {
        (_, Some(flat)) if flat == columns => {
            let mut full = vec![rows];
            full.extend(sizes.iter().flatten());
            array
                .into_shape_with_order(IxDyn(&full))
                .map_err(|_| unfit())
        }
        ([Some(time), Some(features)], _) if (rows, columns) == (*time, *features) => {
            Ok(array.insert_axis(Axis(0)))
        }
        // A series in one column, or steps of several features: one sequence.
        ([None, Some(features)], _) if columns == *features => Ok(array.insert_axis(Axis(0))),
        ([None, Some(1)], _) => Ok(array.insert_axis(Axis(2))),
        ([None], _) => Ok(array),
        _ => Err(unfit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str) -> Port {
        Port {
            name: name.into(),
            shape: Some(vec![None, Some(2)]),
            batch_axis: Some(0),
        }
    }

    fn named(name: &str, value: f32) -> Named {
        (
            Some(name.into()),
            Found::Array(ArrayD::from_elem(IxDyn(&[1]), value)),
        )
    }

    fn value(found: &Found) -> f32 {
        match found {
            Found::Array(array) => array[[0]],
            Found::Table(table) => table[[0, 0]],
        }
    }

    #[test]
    fn by_name_or_in_order() {
        let ports = [port("a"), port("b")];
        let values =
            |found| -> Vec<f32> { assign(found, &ports).unwrap().iter().map(value).collect() };
        assert_eq!(values(vec![named("b", 2.0), named("a", 1.0)]), [1.0, 2.0]);
        assert_eq!(
            values(vec![named("arr_0", 1.0), named("arr_1", 2.0)]),
            [1.0, 2.0]
        );
        let error = assign(vec![named("a", 1.0), named("x", 2.0)], &ports).unwrap_err();
        assert!(error.to_string().contains("but not all: a, x"), "{error}");
        let error = assign(vec![named("a", 1.0)], &ports)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("1 array given, but the model has 2 inputs: a"),
            "{error}"
        );
        assert!(
            error.contains("the inputs are a (None, 2), b (None, 2)"),
            "{error}"
        );
    }

    #[test]
    fn tables_in_the_shape_of_the_input() {
        let shape = |rows, columns, sizes: &[Option<usize>]| {
            let mut wanted = vec![None];
            wanted.extend(sizes);
            rows_to_batch(Array2::zeros((rows, columns)), Some(&wanted))
                .map(|array| array.shape().to_vec())
        };
        let (any, n) = (None, Some);
        for (rows, columns, sizes, expected) in [
            (5, 3, vec![n(3)], vec![5, 3]),
            (5, 6, vec![n(2), n(3)], vec![5, 2, 3]),
            (5, 6, vec![n(6), n(1)], vec![5, 6, 1]),
            (2, 3, vec![n(2), n(3)], vec![1, 2, 3]),
            (6, 1, vec![n(6), n(1)], vec![1, 6, 1]),
            (5, 7, vec![any, n(1)], vec![5, 7, 1]),
            (5, 1, vec![any, n(1)], vec![1, 5, 1]),
            (5, 3, vec![any, n(3)], vec![1, 5, 3]),
            (5, 9, vec![any], vec![5, 9]),
            (2, 24, vec![n(2), n(3), n(4)], vec![2, 2, 3, 4]),
        ] {
            assert_eq!(shape(rows, columns, &sizes).unwrap(), expected, "{sizes:?}");
        }
        for (rows, columns, sizes) in [
            (5, 4, vec![n(3)]),
            (5, 4, vec![n(2), n(3)]),
            (5, 4, vec![any, n(3)]),
            (5, 4, vec![any, any]),
            (5, 4, vec![n(usize::MAX), n(2)]),
        ] {
            assert!(shape(rows, columns, &sizes).is_err(), "{sizes:?}");
        }
    }
}
