//! JSON of weights: nested lists by name, and perhaps the architecture.
//!
//! ```json
//! {"format": "ifco weights", "model_config": {…},
//!  "weights": {"lstm/kernel": [[0.1, …], …], "lstm/bias": [0, …]}}
//! ```
//!
//! Numbers are written as short as they can be and still be the same `float32`. Objects may also lie in
//! each other, `{"lstm": {"kernel": […]}}`.

use std::fmt::Write;
use std::path::Path;

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use serde_json::Value;

use super::Tensors;
use super::files::CONFIG;
use crate::FileError;

/// The keys below which weights lie.
const WEIGHTS: [&str; 3] = ["weights", "params", "state_dict"];
/// How many axes an array may have.
const DEEPEST: usize = 8;

/// The arrays and the architecture; `None` when the JSON holds something else.
pub(super) fn read(
    json: &Value,
    path: &Path,
) -> Result<Option<(Tensors, Option<Value>)>, FileError> {
    let Some(object) = json.as_object() else {
        return Ok(None);
    };
    let config = object.get(CONFIG).filter(|config| config.is_object());
    let inner = WEIGHTS
        .iter()
        .find_map(|key| Some((*key, object.get(*key)?)));
    let (place, weights) = inner
        .filter(|(_, weights)| weights.is_object())
        .unwrap_or(("", json));
    let is_meant = config.is_some() && !place.is_empty();
    if !is_meant && (object.contains_key("class_name") || !is_arrays(weights)) {
        return Ok(None);
    }
    let mut tensors = Tensors::new();
    collect(weights, "", place, path, &mut tensors)?;
    Ok(Some((tensors, config.cloned())))
}

/// Whether there are lists of numbers alone, each at the end of keys.
fn is_arrays(json: &Value) -> bool {
    fn is_numbers(json: &Value) -> bool {
        match json {
            Value::Array(items) => items.first().is_some_and(is_numbers),
            Value::Number(_) => true,
            other => word(other).is_some(),
        }
    }
    match json {
        Value::Object(object) => !object.is_empty() && object.values().all(is_arrays),
        Value::Array(_) => is_numbers(json),
        _ => false,
    }
}

fn collect(
    json: &Value,
    name: &str,
    place: &str,
    path: &Path,
    tensors: &mut Tensors,
) -> Result<(), FileError> {
    let Value::Object(object) = json else {
        tensors.push((name.into(), array(json, place, path)?));
        return Ok(());
    };
    for (key, value) in object {
        let name = match name {
            "" => key.clone(),
            outer => format!("{outer}/{key}"),
        };
        // A hostile name may be a megabyte long.
        let shown: String = key.chars().take(80).collect();
        collect(value, &name, &format!("{place}[{shown:?}]"), path, tensors)?;
    }
    Ok(())
}

/// A word that Python writes for a number.
fn word(json: &Value) -> Option<f32> {
    Some(match json.as_str()? {
        "NaN" => f32::NAN,
        "Infinity" => f32::INFINITY,
        "-Infinity" => f32::NEG_INFINITY,
        _ => return None,
    })
}

/// Nested lists as an array.
fn array(json: &Value, place: &str, path: &Path) -> Result<ArrayD<f32>, FileError> {
    let mut shape = Vec::new();
    let mut first = json;
    while let Value::Array(items) = first {
        shape.push(items.len());
        let Some(next) = items.first() else { break };
        first = next;
    }
    let wrong = |place: String, found: &str, expected: String| FileError::Value {
        path: path.into(),
        place,
        found: found.into(),
        expected,
    };
    if shape.len() > DEEPEST {
        let expected = format!("at most {DEEPEST}");
        return Err(wrong(
            place.into(),
            &format!("of {} axes", shape.len()),
            expected,
        ));
    }
    let mut values = Vec::new();
    let filled = fill(json, &shape, &mut Vec::new(), &mut values);
    filled.map_err(|(indices, expected)| {
        let place = indices
            .iter()
            .fold(place.to_owned(), |place, index| format!("{place}[{index}]"));
        wrong(place, "something else", expected)
    })?;
    ArrayD::from_shape_vec(IxDyn(&shape), values)
        .map_err(|error| wrong(place.into(), &error.to_string(), "an array".into()))
}

/// Appends the numbers below `json`; where it is not of this shape, the place and what should be there.
fn fill(
    json: &Value,
    shape: &[usize],
    at: &mut Vec<usize>,
    values: &mut Vec<f32>,
) -> Result<(), (Vec<usize>, String)> {
    let Some((length, inner)) = shape.split_first() else {
        let number = json.as_f64().map(|number| number as f32).or(word(json));
        let fits = number.filter(|number| number.is_finite() || json.is_string());
        values.push(fits.ok_or_else(|| (at.clone(), "a number that float32 can hold".into()))?);
        return Ok(());
    };
    let items = json.as_array().filter(|items| items.len() == *length);
    let items = items.ok_or_else(|| (at.clone(), format!("a list of {length}, as the first")))?;
    for (index, item) in items.iter().enumerate() {
        at.push(index);
        fill(item, inner, at, values)?;
        at.pop();
    }
    Ok(())
}

/// The text of the file.
pub(super) fn write(tensors: &Tensors, config: &str) -> String {
    let mut text =
        format!("{{\"format\": \"ifco weights\",\n \"{CONFIG}\": {config},\n \"weights\": {{");
    for (index, (name, array)) in tensors.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a text cannot fail.
        let _ = write!(text, "{comma}\n  {}: ", Value::from(name.as_str()));
        list(array.view(), &mut text);
    }
    text.push_str("}}\n");
    text
}

fn list(array: ArrayViewD<'_, f32>, text: &mut String) {
    if array.ndim() == 0 {
        array.iter().for_each(|value| number(*value, text));
        return;
    }
    text.push('[');
    for (index, inner) in array.axis_iter(Axis(0)).enumerate() {
        if index > 0 {
            text.push(',');
        }
        list(inner, text);
    }
    text.push(']');
}

/// The shortest text that is read as this number again.
fn number(value: f32, text: &mut String) {
    let start = text.len();
    let size = value.abs();
    let _ = match size {
        _ if value.is_nan() => write!(text, "NaN"),
        _ if size.is_infinite() => write!(text, "{}Infinity", if value < 0.0 { "-" } else { "" }),
        _ if size != 0.0 && !(1e-5..1e16).contains(&size) => write!(text, "{value:e}"),
        _ => write!(text, "{value}"),
    };
    // It is read as a double, then rounded: where that is another number, the double itself will do.
    let read: Result<f64, _> = serde_json::from_str(&text[start..]);
    if read.is_ok_and(|read| (read as f32).to_bits() != value.to_bits()) {
        text.truncate(start);
        let _ = write!(text, "{:e}", f64::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_as_the_same_bits() {
        // Every exponent, both signs, and mantissas that look like nothing.
        for bits in (0..=u32::MAX).step_by(65_521) {
            let value = f32::from_bits(bits);
            let mut text = String::new();
            number(value, &mut text);
            if value.is_finite() {
                let json: Value = serde_json::from_str(&text).expect(&text);
                let read = array(&json, "x", Path::new("x")).expect(&text);
                assert_eq!(
                    read.first().map(|read| read.to_bits()),
                    Some(bits),
                    "{text}"
                );
            }
        }
        let short = |value| {
            let mut text = String::new();
            number(value, &mut text);
            text
        };
        assert_eq!(
            [short(0.1), short(-0.0), short(1e-30)],
            ["0.1", "-0", "1e-30"]
        );
    }
}
