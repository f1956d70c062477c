//! The gradients through time of a model that Keras saved, against those of `tf.GradientTape`: see
//! `fixtures/families/flow.py`.

use ifco::arrays::npz;
use ifco::train::{Loss, Weighting};
use ifco::{Array, AttributionMethod, Model, ModelGradientTrace, Target, Tensor, Unit};
use ndarray::{ArrayD, ArrayViewD};

/// The second output, summed over the rows.
const UNIT: Target = Target {
    output: 0,
    unit: Unit::Number(1),
    step: None,
};

fn golden() -> (Model, Vec<(String, ArrayD<f32>)>) {
    case("flow")
}

fn case(name: &str) -> (Model, Vec<(String, ArrayD<f32>)>) {
    let path = |ending| {
        let root = env!("CARGO_MANIFEST_DIR");
        format!("{root}/../../fixtures/keras3/{name}.{ending}")
    };
    (
        ifco::open(path("keras")).unwrap(),
        npz::read(path("npz")).unwrap(),
    )
}

fn of<'a>(arrays: &'a [(String, ArrayD<f32>)], name: &str) -> &'a ArrayD<f32> {
    let found = arrays.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

fn close(found: ArrayViewD<f32>, right: ArrayViewD<f32>, what: &str) {
    assert_eq!(found.shape(), right.shape(), "{what}");
    // Beside the size of the whole array: what is all but 0 has few exact digits.
    let size = right.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    assert!(size > 1e-6, "{what} is nothing");
    for (found, right) in found.iter().zip(&right) {
        let wrong = (found - right).abs();
        assert!(wrong <= 2e-5 * size, "{what}: {found} is not {right}");
    }
}

fn check(found: &ModelGradientTrace, arrays: &[(String, ArrayD<f32>)], what: &str) {
    let mut checked = 0;
    for (path, trace) in &found.traces {
        for (name, array) in trace.arrays() {
            if name.starts_with('d') {
                let name = format!("{what}/{path}/{name}");
                close(array.view().into_dyn(), of(arrays, &name).view(), &name);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 6, "of two LSTMs, a GRU and a SimpleRNN");
}

#[test]
fn the_gradients_of_a_loss_are_those_of_tensorflow() {
    let (model, arrays) = golden();
    let target = of(&arrays, "target0");
    let loss = Loss::from_keras(&"mse".into()).unwrap();
    let by_outputs = |outputs: &[Tensor]| {
        let value = loss.with_gradient(&target.view(), &outputs[0].view(), &Weighting::default());
        Ok(vec![Some(value.unwrap().gradient.into())])
    };
    let x = of(&arrays, "x0").view();
    let found = model.trace_gradient(&[], &[x], &Default::default(), by_outputs);
    let found = found.unwrap();
    check(&found, &arrays, "loss");
    close(found.outputs[0].view(), of(&arrays, "y0").view(), "y");
    // The traces beside them are those of a run without a way back, but for the last bits: what
    // comes before the layer is computed for training.
    let x = of(&arrays, "x0").view();
    let traced = model.trace_all(&[], &[x], &Default::default()).unwrap();
    for ((path, trace), (other, gradient)) in traced.traces.iter().zip(&found.traces) {
        assert_eq!(path, other);
        for ((name, traced), (other, beside)) in trace.iter().zip(gradient.trace.iter()) {
            assert_eq!(name, other);
            close(beside.into_dyn(), traced.into_dyn(), name);
        }
    }
}

#[test]
fn the_gradients_of_an_output_are_those_of_tensorflow() {
    let (model, arrays) = golden();
    let x = of(&arrays, "x0").view();
    let found = model.trace_gradient(&[], &[x], &Default::default(), |outputs| {
        UNIT.gradients(outputs)
    });
    check(&found.unwrap(), &arrays, "unit");
    // Each cell alone has the same, whatever lies before it.
    let x = of(&arrays, "x0").view();
    let found = model.trace_gradient(&["gru"], &[x], &Default::default(), |outputs| {
        UNIT.gradients(outputs)
    });
    let found = found.unwrap();
    assert_eq!(found.traces.len(), 1);
    let dh = found.get("gru").unwrap().dh();
    close(dh.into_dyn(), of(&arrays, "unit/gru/dh").view(), "gru/dh");
}

#[test]
fn a_loss_that_sees_nothing_has_zeros() {
    let (model, arrays) = golden();
    let x = of(&arrays, "x0").view();
    let found = model.trace_gradient(&["gru"], &[x], &Default::default(), |_| Ok(vec![None]));
    let found = found.unwrap();
    let dh = found.get("gru").unwrap().dh();
    assert_eq!(dh.dim(), (3, 7, 5));
    assert!(dh.iter().all(|d| *d == 0.0));
}

#[test]
fn what_does_not_fit_is_told() {
    let (model, arrays) = golden();
    let x = of(&arrays, "x0").view();
    let ask = |target: Target| {
        let options = Default::default();
        let found = model.trace_gradient(&["gru"], &[x.view()], &options, |outputs| {
            target.gradients(outputs)
        });
        found.unwrap_err().to_string()
    };
    let unit = Unit::Number(2);
    let error = ask(Target { unit, ..UNIT });
    assert_eq!(
        error,
        "there is no unit 2 in an output of 2, counted from 0"
    );
    let error = ask(Target { output: 1, ..UNIT });
    assert_eq!(
        error,
        "there is no output 1: the model has 1, counted from 0"
    );
    let step = Some(-1);
    let error = ask(Target { step, ..UNIT });
    assert!(error.contains("no sequence"), "{error}");
    let wrong = vec![Some(Array::zeros(vec![3, 3]))];
    let found = model.trace_gradient(&["gru"], &[x.view()], &Default::default(), |_| Ok(wrong));
    let error = found.unwrap_err().to_string();
    assert!(error.contains("[3, 3]"), "{error}");
}

#[test]
fn a_target_is_of_a_step_or_of_all_that_count() {
    let sequence = Array::from_shape_vec(vec![1, 3, 2], vec![1.0, 2.0, 4.0, 3.0, 5.0, 6.0]);
    let sequence = Tensor::new(sequence.unwrap());
    let masked = ndarray::array![[true, true, false]].into_dyn();
    let masked = sequence.clone().with_mask(Some(masked.into()));
    let value = |unit, step, output: &Tensor| {
        let target = Target {
            output: 0,
            unit,
            step,
        };
        target.values(std::slice::from_ref(output)).unwrap()
    };
    assert_eq!(value(Unit::Sum, None, &sequence), [21.0]);
    assert_eq!(value(Unit::Sum, None, &masked), [10.0]);
    assert_eq!(value(Unit::Largest, None, &sequence), [12.0]);
    assert_eq!(value(Unit::Largest, Some(-1), &sequence), [6.0]);
    assert_eq!(value(Unit::Number(0), Some(1), &masked), [4.0]);
}

#[test]
fn contributions_are_those_of_tensorflow() {
    let (model, arrays) = golden();
    let x = of(&arrays, "x0");
    let found = model
        .attribution(&[x.view()], &UNIT, AttributionMethod::GradientTimesInput)
        .unwrap();
    let right = x * of(&arrays, "unit/x");
    close(found.inputs[0].view(), right.view(), "gradient times input");
    let method = AttributionMethod::IntegratedGradients { points: 32 };
    let found = model.attribution(&[x.view()], &UNIT, method).unwrap();
    let right = of(&arrays, "unit/integrated");
    close(found.inputs[0].view(), right.view(), "integrated");
    let second = of(&arrays, "y0").index_axis(ndarray::Axis(1), 1);
    let values = ArrayD::from_shape_vec(vec![3], found.values.clone()).unwrap();
    close(values.view(), second.into_dyn(), "what is explained");
}

/// Tokens that an Embedding reads inside a model inside the model, also at every step of a
/// TimeDistributed, and numbers that a Masking reads two models deep.
#[test]
fn contributions_come_out_of_models_inside() {
    let (model, arrays) = case("explain");
    let inputs = ["x0", "x1", "x2"].map(|name| of(&arrays, name).view());
    let (times, integrated) = (
        AttributionMethod::GradientTimesInput,
        AttributionMethod::IntegratedGradients { points: 16 },
    );
    for (name, method) in [("times", times), ("integrated", integrated)] {
        let found = model.attribution(&inputs, &UNIT, method).unwrap();
        for (index, input) in found.inputs.iter().enumerate() {
            let name = format!("{name}{index}");
            close(input.view(), of(&arrays, &name).view(), &name);
        }
    }
    let method = AttributionMethod::IntegratedGradients { points: 256 };
    let found = model.attribution(&inputs, &UNIT, method).unwrap();
    let both = found.values.iter().zip(&found.baselines);
    for (gap, (value, baseline)) in found.gaps().into_iter().zip(both) {
        let whole = (value - baseline).abs();
        assert!(gap.abs() < 0.01 * whole, "{gap} of {whole}");
    }
}

/// The contributions of all steps add up to what the input makes of the output.
#[test]
fn integrated_gradients_are_complete() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    for name in ["questions", "sunspots"] {
        let model = ifco::open(format!("{root}/{name}/model.keras")).unwrap();
        let x = ifco::arrays::npy::read(format!("{root}/{name}/x.npy")).unwrap();
        let rows = ndarray::Slice::from(..3);
        let x = x.slice_axis(ndarray::Axis(0), rows).to_owned();
        let method = AttributionMethod::IntegratedGradients { points: 128 };
        let found = model
            .attribution(&[x.view()], &Target::default(), method)
            .unwrap();
        assert_eq!(found.inputs[0].shape(), x.shape());
        let both = found.values.iter().zip(&found.baselines);
        for (gap, (value, baseline)) in found.gaps().into_iter().zip(both) {
            let whole = (value - baseline).abs();
            assert!(whole > 1e-3, "{name}: the input changes nothing");
            assert!(gap.abs() < 0.01 * whole, "{name}: {gap} of {whole}");
        }
        // What the model predicts is what is explained.
        let y = model.predict(&x).unwrap();
        for (value, row) in found.values.iter().zip(y.outer_iter()) {
            assert!((value - row.sum()).abs() < 1e-4 * value.abs().max(1.0));
        }
        // Padding contributes nothing.
        if name == "questions" {
            let padded = found.inputs[0]
                .iter()
                .zip(&x)
                .filter(|(_, token)| **token == 0.0);
            assert!(padded.clone().count() > 0);
            assert!(padded.into_iter().all(|(part, _)| *part == 0.0));
        }
    }
}
