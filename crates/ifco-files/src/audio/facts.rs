//! What such files tell besides the layers, kept for `ifco show`.

use serde_json::Value;

use super::item::Item;
use crate::FileError;

/// How much of it is kept: it is shown, and a hostile file may hold megabytes.
const MOST_FACTS: usize = 64;
const MOST_LETTERS: usize = 200;

/// The texts, numbers and truth values of an object, but for those under the keys in `without`.
pub(super) fn facts(object: &Value, without: &[&str]) -> Vec<(String, String)> {
    let entries = object.as_object().into_iter().flatten();
    let facts = entries.filter_map(|(key, value)| {
        let text = match value {
            Value::String(text) => shown(text),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => return None,
        };
        (!without.contains(&key.as_str())).then(|| (shown(key), text))
    });
    facts.take(MOST_FACTS).collect()
}

/// A text without what would move a terminal's cursor.
fn shown(text: &str) -> String {
    let letters = text.chars().take(MOST_LETTERS);
    letters
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

/// A sample rate: a number of hertz, or a text that is one.
pub(super) fn sample_rate(item: &Item<'_>) -> Result<f64, FileError> {
    let rate = match item.value() {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    rate.filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| item.wrong("a sample rate in hertz, more than 0"))
}
