//! The operations that work within a step: on each value alone, on the features of a step, and the
//! choice of the last step.

use ndarray::ArrayView1;
use serde_json::Value;

use super::{Kind, Operation};
use crate::layers::support::unmasked;
use crate::{Call, Layer, NotStreamable, Shape, StepShape, Streamed, Time};

pub(super) fn stream(
    operation: &Operation,
    inputs: &[StepShape],
    call: &Call,
) -> Result<Streamed, NotStreamable> {
    let refuse = || {
        NotStreamable::new("it works on more than the values of one step")
            .help("run whole sequences with predict")
    };
    match (operation.kind()?, inputs) {
        (Kind::Unary(f), [input]) => {
            let f = *f;
            Ok(Streamed::in_place(
                input.with_masked(false),
                move |values| {
                    values.iter_mut().for_each(|value| *value = f(*value));
                },
            ))
        }
        (Kind::Binary(f), [a, b]) => binary(*f, a, b).ok_or_else(refuse),
        (
            Kind::Reduce {
                fold,
                axes: Some(axes),
                keepdims,
            },
            [input],
        ) if axes.len() == 1 && input.sizes.len() == 1 && !input.is_empty() => {
            input.row(axes)?;
            let (fold, sizes) = (*fold, if *keepdims { vec![1] } else { Vec::new() });
            let output = input.with_sizes(sizes).with_masked(false);
            Ok(Streamed::of(output, move |x, out| {
                out.fill(fold(ArrayView1::from(x)));
            }))
        }
        (Kind::Concatenate { axis }, [first, ..]) => {
            unmasked(inputs)?;
            let shapes: Vec<Shape> = inputs.iter().map(StepShape::shape).collect();
            operation.output_shapes(&shapes, call)?;
            let rank = first.shape().len();
            let plain = |input: &StepShape| input.sizes.len() == 1 && input.time == first.time;
            if operation.axis(*axis, rank)? + 1 != rank || !inputs.iter().all(plain) {
                return Err(refuse());
            }
            // They stand one after the other already.
            let features = inputs.iter().map(StepShape::len).sum();
            Ok(Streamed::in_place(first.with_sizes(vec![features]), |_| {}))
        }
        (Kind::GetItem, [input]) if call.positional.first().is_some_and(is_last_step) => {
            let output = StepShape {
                time: Time::Gone,
                masked: false,
                ..input.clone()
            };
            match input.time {
                Time::Steps(_) => Ok(Streamed::in_place(output, |_| {})),
                Time::Gone => Err(refuse()),
            }
        }
        _ => Err(refuse()),
    }
}

/// Of two steps of one shape, or of a step and a number.
fn binary(f: fn(f32, f32) -> f32, a: &StepShape, b: &StepShape) -> Option<Streamed> {
    // A number in the graph has no axes at all.
    let is_number = |input: &StepShape| input.sizes.is_empty() && input.time == Time::Gone;
    let output = if is_number(a) { b } else { a };
    let fits = |input: &StepShape| {
        is_number(input) || (&input.sizes, input.time) == (&output.sizes, output.time)
    };
    if !fits(a) || !fits(b) {
        return None;
    }
    let split = a.len();
    Some(Streamed::of(output.with_masked(false), move |x, out| {
        let (a, b) = x.split_at_checked(split).unwrap_or_default();
        // A number stands beside each value.
        let pairs = a.iter().cycle().zip(b.iter().cycle());
        out.iter_mut()
            .zip(pairs)
            .for_each(|(out, (a, b))| *out = f(*a, *b));
    }))
}

/// Whether a key is that of `x[:, -1]` or `x[:, -1, :]`: the last step.
fn is_last_step(key: &Value) -> bool {
    let keys = match key {
        Value::Array(keys) => Some(keys),
        _ => key.pointer("/config/value").and_then(Value::as_array),
    };
    let is_all = |key: &Value| {
        let part = |name: &str| key.pointer(name).is_none_or(Value::is_null);
        key.get("class_name").and_then(Value::as_str) == Some("__slice__")
            && part("/config/start")
            && part("/config/stop")
            && part("/config/step")
    };
    match keys.map(Vec::as_slice) {
        Some([batch, time, others @ ..]) => {
            is_all(batch) && time.as_i64() == Some(-1) && others.iter().all(is_all)
        }
        _ => false,
    }
}
