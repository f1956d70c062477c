//! Neural Amp Modeler's `.nam`, where its architecture is an LSTM.
//!
//! The weights are one flat list: for each layer W `(4·units, features + units)` row by row, b
//! `(4·units)`, the initial h and the initial c `(units)`; then the head's weights
//! `(channels, units)` row by row, and its bias.

use ifco_model::{About, Model};
use ndarray::{Array1, Array2, s};
use serde_json::json;

use super::facts::{facts, sample_rate};
use super::item::Item;
use super::network::{MOST_LAYERS, Network};
use super::packing;
use crate::FileError;

/// Minor versions of the format, 0.5 to 0.7, in all of which an LSTM is the same.
const MINORS: std::ops::RangeInclusive<u64> = 5..=7;

pub(super) fn open(root: &Item<'_>) -> Result<Model, FileError> {
    let architecture = root.need("architecture")?;
    if architecture.text()? != "LSTM" {
        let name: String = architecture.text()?.chars().take(40).collect();
        return Err(architecture.unsupported(
            format_args!("{name:?} is no LSTM"),
            "ifco opens .nam files whose architecture is LSTM",
        ));
    }
    let version = root.need("version")?;
    check_version(&version)?;

    let config = root.need("config")?;
    let num_layers = config.need("num_layers")?;
    let layers = num_layers.whole(1)?;
    if layers > MOST_LAYERS {
        return Err(num_layers.wrong(format!("{MOST_LAYERS} layers at most")));
    }
    let features = config.need("input_size")?.whole(1)?;
    let units = config.need("hidden_size")?.whole(1)?;
    let or_one = |key: &str| config.get(key).map_or(Ok(1), |item| item.whole(1));
    let (inputs, outputs) = (or_one("in_channels")?, or_one("out_channels")?);
    if inputs != features {
        return Err(config.need("input_size")?.wrong(format!(
            "{inputs}, as many as there are channels of sound (in_channels, 1 where it is absent)"
        )));
    }

    let weights = root.need("weights")?;
    let numbers = weights.vector()?;
    let expected = count(layers, features, units, outputs);
    if expected != Some(numbers.len()) {
        let of = format!(
            "for num_layers {layers}, input_size {features}, hidden_size {units} and \
             {outputs} out_channels"
        );
        return Err(weights.wrong(match expected {
            Some(count) => format!("{count} numbers {of}"),
            None => format!("more numbers than a computer can hold {of}"),
        }));
    }

    // From here on there are as many numbers as are taken.
    let mut rest = numbers.view();
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at(ndarray::Axis(0), count);
        rest = left;
        taken.to_owned()
    };
    let matrix = |values: Array1<f32>, rows: usize| -> Result<Array2<f32>, FileError> {
        let columns = values.len() / rows;
        let shaped = Array2::from_shape_vec((rows, columns), values.to_vec());
        shaped.map_err(|_| weights.wrong(format!("{rows} rows of {columns} numbers")))
    };
    let gates = packing("nam", root.file())?;
    let wrong = |error: ifco_cell::packing::PackingError| weights.wrong(error.to_string());
    let (mut network, mut last) = Network::new(root.file(), features);
    for layer in 0..layers {
        let inputs = if layer == 0 { features } else { units };
        let both = matrix(take(4 * units * (inputs + units)), 4 * units)?;
        let both = gates.matrix_to_keras(both.view()).map_err(wrong)?;
        let bias = gates.bias_to_keras(&[take(4 * units).view()], None);
        let arrays = vec![
            both.slice(s![..inputs, ..]).to_owned().into_dyn(),
            both.slice(s![inputs.., ..]).to_owned().into_dyn(),
            bias.map_err(wrong)?.into_dyn(),
        ];
        let options = json!({ "units": units, "return_sequences": true });
        last = network.add("LSTM", options, &[last], units, arrays);
        network.begin_at(last, vec![take(units), take(units)]);
    }
    let kernel = matrix(take(outputs * units), outputs)?.reversed_axes();
    let head = vec![
        kernel.as_standard_layout().into_owned().into_dyn(),
        take(outputs).into_dyn(),
    ];
    network.add("Dense", json!({ "units": outputs }), &[last], outputs, head);

    let rate = root.get("sample_rate");
    network.finish(About {
        format: Some(format!("Neural Amp Modeler .nam {}", version.text()?)),
        sample_rate: rate.map(|rate| sample_rate(&rate)).transpose()?,
        facts: root
            .get("metadata")
            .map_or(Vec::new(), |metadata| facts(metadata.value(), &[])),
        assumed: Vec::new(),
    })
}

/// How many numbers such a network has.
fn count(layers: usize, features: usize, units: usize, outputs: usize) -> Option<usize> {
    let layer = |inputs: usize| {
        let columns = inputs.checked_add(units)?.checked_add(1)?;
        // W and b, then h and c.
        columns.checked_mul(4)?.checked_add(2)?.checked_mul(units)
    };
    let later = layer(units)?.checked_mul(layers - 1)?;
    let head = units.checked_add(1)?.checked_mul(outputs)?;
    layer(features)?.checked_add(later)?.checked_add(head)
}

fn check_version(version: &Item<'_>) -> Result<(), FileError> {
    let text = version.text()?;
    let parts: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([0, minor, _]) if MINORS.contains(minor) => Ok(()),
        Some([_, _, _]) => Err(version.unsupported(
            format_args!("version {text} of the .nam format"),
            "ifco knows the versions 0.5 to 0.7",
        )),
        _ => Err(version.wrong("a version such as \"0.5.4\"")),
    }
}
