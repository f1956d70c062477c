//! Samples from files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ifco::train::{Compile, Data, LossKind, OutputTraining};
use ifco::{Model, Port};
use ndarray::ArrayD;

use crate::failure::Failure;
use crate::predict::inputs;

/// Where inputs and targets come from.
pub struct Files<'a> {
    pub x: &'a [PathBuf],
    pub y: &'a [PathBuf],
}

impl Files<'_> {
    /// Reads them for this model; with `weights` of classes, what each sample counts for.
    pub fn read(
        &self,
        model: &Model,
        compile: &Compile,
        weights: &[(i64, f32)],
    ) -> Result<Data, Failure> {
        let inputs = inputs::read(self.x, model.inputs())?;
        let names: Vec<&str> = model
            .outputs()
            .iter()
            .map(|port| port.name.as_str())
            .collect();
        let outputs = compile.outputs(&names)?;
        let targets = targets(self.y, model, &outputs)?;
        let mut data = Data {
            inputs,
            targets,
            sample_weights: Vec::new(),
        };
        data.samples().map_err(|error| {
            let files = [self.x, self.y].concat();
            Failure::from(error).at_unknown(inputs::names(&files))
        })?;
        if !weights.is_empty() {
            let [target] = data.targets.as_slice() else {
                let what = "--class-weight is for models with one output";
                return Err(Failure::usage(what));
            };
            let weights: BTreeMap<i64, f32> = weights.iter().copied().collect();
            data.sample_weights = vec![ifco::train::class_weights(&target.view(), &weights)?];
        }
        Ok(data)
    }
}

/// What is wanted of a model's outputs, an array for each, from files.
pub fn targets(
    files: &[PathBuf],
    model: &Model,
    outputs: &[OutputTraining],
) -> Result<Vec<ArrayD<f32>>, Failure> {
    let ports = model.outputs().iter().zip(outputs).map(|(port, output)| {
        let mut port = port.clone();
        let kind = output.loss.as_ref().map(|loss| &loss.kind);
        // Its targets are numbers of classes: a table of them is as it stands.
        if matches!(kind, Some(LossKind::SparseCategoricalCrossentropy { .. })) {
            port.shape = None;
        }
        port
    });
    inputs::read(files, &ports.collect::<Vec<Port>>())
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
