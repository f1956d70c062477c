//! Every layer that can be streamed, step by step, against what Keras computed for the whole
//! sequence: the cases of `golden/layers.json`, masks and all.

use std::collections::BTreeSet;

use ifco_model::{Call, Config, Generation, Layer, StepShape, Time, layers};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use serde_json::Value;

fn array(value: &Value) -> ArrayD<f32> {
    let shape = value["shape"].as_array().expect("a shape");
    let shape: Vec<usize> = shape.iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let (numbers, scale) = match value["in32"].as_array() {
        Some(numbers) => (numbers, 1.0 / 32.0),
        None => (value["data"].as_array().expect("data"), 1.0),
    };
    let numbers = numbers.iter().map(|n| match n.as_str() {
        Some(text) => text.parse().expect("nan or inf"),
        None => n.as_f64().expect("a number") as f32 * scale,
    });
    ArrayD::from_shape_vec(IxDyn(&shape), numbers.collect()).unwrap()
}

/// An array and its mask.
type Masked = (ArrayD<f32>, Option<ArrayD<f32>>);

fn masked(value: &Value) -> Masked {
    let mask = (!value["mask"].is_null()).then(|| array(&value["mask"]));
    (array(value), mask)
}

/// The steps of an input, where `time` is whether its second axis is the time.
fn step_shape((data, mask): &Masked, time: bool) -> Option<StepShape> {
    let leading = if time { 2 } else { 1 };
    let sizes = data.shape().get(leading..)?.to_vec();
    // A mask of something else than steps, or of single rows, is no matter of streams.
    let fits = mask
        .as_ref()
        .is_none_or(|mask| time && mask.shape() == &data.shape()[..2]);
    fits.then(|| StepShape {
        sizes,
        time: match time {
            true => Time::Steps(Some(data.shape()[1])),
            false => Time::Gone,
        },
        masked: mask.is_some(),
    })
}

fn same(found: f32, expected: f32) -> bool {
    found == expected
        || found.is_nan() && expected.is_nan()
        || (found - expected).abs() <= 1e-5 + 1e-4 * expected.abs()
}

fn compare(found: &[f32], expected: ArrayViewD<'_, f32>) -> Result<(), String> {
    let right: Vec<f32> = expected.iter().copied().collect();
    let fits = found.len() == right.len() && found.iter().zip(&right).all(|(a, b)| same(*a, *b));
    match fits {
        true => Ok(()),
        false => Err(format!("{found:?} instead of {right:?}")),
    }
}

/// Runs a case as a stream; `None` where the layer does not stream such inputs.
fn run(
    case: &Value,
    generation: Generation,
    config: &Value,
    time: bool,
) -> Option<Result<(), String>> {
    let class = case["class"].as_str()?;
    let config = Config::new(class, generation, config).unwrap();
    let mut layer = layers::build(class, &config).ok()?;
    let inputs: Vec<Masked> = case["inputs"].as_array()?.iter().map(masked).collect();
    let mut call = Call::default();
    for (name, value) in case["call"].as_object().into_iter().flatten() {
        if value.is_array() {
            return None; // a session passes no tensors
        }
        call.values.insert(name.clone(), value.clone());
    }
    let weights: Vec<_> = case["weights"].as_array()?.iter().map(array).collect();
    layer.set_weights(weights).ok()?;
    let shapes: Option<Vec<StepShape>> =
        inputs.iter().map(|input| step_shape(input, time)).collect();
    let shapes = shapes?;
    layer.build(&shapes.iter().map(StepShape::shape).collect::<Vec<_>>());
    layer.stream(&shapes, &call).ok()?;
    let expected = masked(&case["outputs"][0]);
    let rows = 0..inputs[0].0.shape()[0];
    Some(rows.into_iter().try_for_each(|row| {
        run_row(&*layer, &call, &shapes, &inputs, &expected, row)
            .map_err(|what| format!("row {row}, {what}"))
    }))
}

fn run_row(
    layer: &dyn Layer,
    call: &Call,
    shapes: &[StepShape],
    inputs: &[Masked],
    (expected, expected_mask): &Masked,
    row: usize,
) -> Result<(), String> {
    let mut streamed = layer.stream(shapes, call).map_err(|why| why.to_string())?;
    let mut out = vec![0.0; streamed.output.len()];
    let row_of = |array: &ArrayD<f32>| array.index_axis(Axis(0), row).to_owned();
    let Time::Steps(_) = shapes[0].time else {
        let x: Vec<f32> = inputs
            .iter()
            .flat_map(|(data, _)| row_of(data).into_iter())
            .collect();
        streamed.step.step(&x, true, &mut out);
        return compare(&out, row_of(expected).view());
    };
    let steps = inputs[0].0.shape()[1];
    for step in 0..steps {
        let at = |array: &ArrayD<f32>| row_of(array).index_axis(Axis(0), step).to_owned();
        let x: Vec<f32> = inputs
            .iter()
            .flat_map(|(data, _)| at(data).into_iter())
            .collect();
        let counts = inputs
            .iter()
            .all(|(_, mask)| mask.as_ref().is_none_or(|mask| mask[[row, step]] != 0.0));
        let counts = streamed.step.step(&x, counts, &mut out) || !streamed.output.masked;
        if streamed.output.time != Time::Gone {
            compare(&out, at(expected).view()).map_err(|what| format!("step {step}: {what}"))?;
            let right = expected_mask
                .as_ref()
                .is_none_or(|mask| mask[[row, step]] != 0.0);
            if expected_mask.is_some() != streamed.output.masked || counts != right {
                return Err(format!("step {step}: the mask is wrong"));
            }
        }
    }
    match streamed.output.time {
        Time::Gone => compare(&out, row_of(expected).view()),
        Time::Steps(_) => Ok(()),
    }
}

/// Those of the classes in `layers.json` that can be streamed.
const STREAMED: &[&str] = &[
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "BatchNormalization",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Dropout",
    "ELU",
    "Embedding",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "ThresholdedReLU",
    "UnitNormalization",
];

#[test]
fn streams_are_what_keras_computes() {
    let text = include_str!("golden/layers.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut wrong = Vec::new();
    let mut streamed = BTreeSet::new();
    let mut count = 0;
    for case in &cases {
        let class = case["class"].as_str().unwrap();
        for (generation, name) in [(Generation::Keras3, "3"), (Generation::Keras2, "2")] {
            let config = &case["configs"][name];
            if config.is_null() {
                continue;
            }
            for time in [true, false] {
                match run(case, generation, config, time) {
                    Some(Ok(())) => {
                        count += 1;
                        streamed.insert(class);
                    }
                    Some(Err(what)) => wrong.push(format!("{class} {config}, time {time}: {what}")),
                    None => {}
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(streamed, STREAMED.iter().copied().collect());
    assert!(count >= 200, "only {count} cases were streamed");
}
