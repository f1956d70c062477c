//! Samples from files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ifco::arrays::npy;
use ifco::train::{Compile, FitError, LossKind, OutputTraining, TrainError};
use ifco::{Model, Port};
use ndarray::ArrayD;

use super::Args;
use super::samples::{Column, Columns, Part};
use crate::failure::Failure;
use crate::predict::inputs;

/// Where inputs and targets come from.
pub struct Files<'a> {
    pub x: &'a [PathBuf],
    pub y: &'a [PathBuf],
    /// What each sample counts for; none: 1.
    pub sample_weight: &'a [PathBuf],
}

impl Files<'_> {
    /// Reads them for this model; with `weights` of classes, what each sample counts for.
    pub fn open(
        &self,
        model: &Model,
        compile: &Compile,
        weights: &[(i64, f32)],
    ) -> Result<Part, Failure> {
        let inputs = open(self.x, model.inputs())?;
        let names: Vec<&str> = model
            .outputs()
            .iter()
            .map(|port| port.name.as_str())
            .collect();
        let outputs = compile.outputs(&names)?;
        let ports = target_ports(model, &outputs);
        let targets = open(self.y, &ports)?;
        let sample_weights = match self.sample_weight {
            [] => Vec::new(),
            files => {
                let any = |port: &Port| Port {
                    shape: None,
                    ..port.clone()
                };
                inputs::read(files, &ports.iter().map(any).collect::<Vec<_>>())?
            }
        };
        let mut all = Columns {
            inputs,
            targets,
            sample_weights,
        };
        let samples = all.samples().map_err(|error| {
            let files = [self.x, self.y, self.sample_weight].concat();
            Failure::from(error).at_unknown(inputs::names(&files))
        })?;
        if !weights.is_empty() {
            let [target] = all.targets.as_slice() else {
                let what = "--class-weight is for models with one output";
                return Err(Failure::usage(what));
            };
            let weights: BTreeMap<i64, f32> = weights.iter().copied().collect();
            let target = target.whole()?;
            all.sample_weights = vec![ifco::train::class_weights(&target.view(), &weights)?];
        }
        Ok(Part {
            of: Arc::new(all),
            rows: 0..samples,
        })
    }
}

/// Arrays from files. Those of a large `.npy` stay there: a batch is read when it is its turn.
fn open(paths: &[PathBuf], ports: &[Port]) -> Result<Vec<Column>, Failure> {
    const LARGE: u64 = 256 << 20;
    let is_large = |path: &PathBuf| {
        let size = std::fs::metadata(path).map_or(0, |data| data.len());
        size >= LARGE
            && path
                .extension()
                .is_some_and(|ext| ext.eq_ignore_ascii_case("npy"))
    };
    // Arrays that may have to be turned or told apart by name are read as they always are.
    let in_order =
        paths.len() == ports.len() && ports.iter().all(|port| port.batch_axis == Some(0));
    if !in_order || !paths.iter().any(is_large) {
        let arrays = inputs::read(paths, ports)?.into_iter();
        return Ok(arrays.map(Column::Array).collect());
    }
    let mut columns = Vec::with_capacity(paths.len());
    for (path, port) in paths.iter().zip(ports) {
        let rows = match is_large(path) {
            true => npy::Rows::open(path)?,
            false => None,
        };
        match rows {
            Some(rows) => columns.push(Column::Rows(rows)),
            None => {
                let (path, port) = (std::slice::from_ref(path), std::slice::from_ref(port));
                let arrays = inputs::read(path, port)?.into_iter();
                columns.extend(arrays.map(Column::Array));
            }
        }
    }
    Ok(columns)
}

/// What is wanted of a model's outputs, an array for each, from files.
pub fn targets(
    files: &[PathBuf],
    model: &Model,
    outputs: &[OutputTraining],
) -> Result<Vec<ArrayD<f32>>, Failure> {
    inputs::read(files, &target_ports(model, outputs))
}

/// The outputs as targets are read for them.
fn target_ports(model: &Model, outputs: &[OutputTraining]) -> Vec<Port> {
    let ports = model.outputs().iter().zip(outputs).map(|(port, output)| {
        let mut port = port.clone();
        let kind = output.loss.as_ref().map(|loss| &loss.kind);
        // Its targets are numbers of classes: a table of them is as it stands.
        if matches!(kind, Some(LossKind::SparseCategoricalCrossentropy { .. })) {
            port.shape = None;
        }
        port
    });
    ports.collect()
}

/// An error of what training found in the data, with the file that they are from.
pub fn at_its_file(error: FitError, args: &Args) -> Failure {
    let what = match &error {
        FitError::Train(TrainError::Shape { what, .. }) => what.as_str(),
        FitError::Train(TrainError::Class { .. }) => "class",
        _ => return error.into(),
    };
    let (files, help) = match what {
        "class" => (
            &args.y,
            "classes are counted from 0; the model's last layer has as many units as there are",
        ),
        "sample_weight" => (
            &args.sample_weight,
            "weights are (samples), or of each step (samples, steps)",
        ),
        "y_true" => (
            &args.y,
            "targets have the shape of the model's outputs; numbers of classes want \
             --loss sparse_categorical_crossentropy",
        ),
        _ => return error.into(),
    };
    let names = inputs::names(files);
    Failure::from(error).at_unknown(names).help(help)
}

/// `CLASS=WEIGHT`.
pub fn class_weight(text: &str) -> Result<(i64, f32), String> {
    let parts = text.split_once('=');
    let parsed = parts.and_then(|(class, weight)| {
        let weight = weight
            .parse()
            .ok()
            .filter(|weight: &f32| weight.is_finite())?;
        Some((class.parse().ok()?, weight))
    });
    parsed.ok_or_else(|| "expected CLASS=WEIGHT, as 1=2.5".into())
}
