//! The ways in which Keras writes an object into a configuration.
//!
//! A loss can be `"mse"`, `{"class_name": "Huber", "config": {"delta": 2.0}}`, Keras 3's same with
//! `module` and `registered_name`, or a function: `{"class_name": "function", "config": "mse"}`.

use ifco_model::{Config, Generation};
use serde_json::{Map, Value, json};

use crate::TrainError;

/// A name, or a class with its configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KerasObject<'a> {
    /// The name as it is written.
    pub name: &'a str,
    /// Absent where the name stands alone, and of a function.
    config: Option<&'a Map<String, Value>>,
    whole: Option<&'a Value>,
}

impl<'a> KerasObject<'a> {
    /// Reads `value`; `what` is for errors.
    pub fn read(what: &'static str, value: &'a Value) -> Result<Self, TrainError> {
        let wrong = || TrainError::NotAnObject {
            what,
            found: shortened(value),
        };
        if let Some(name) = value.as_str() {
            return Ok(Self::named(name));
        }
        let class = value.get("class_name").and_then(Value::as_str);
        let class = class.ok_or_else(wrong)?;
        match value.get("config") {
            Some(Value::String(function)) => Ok(Self::named(function)),
            // Keras 2's metrics, and losses made of a function: the function is what counts.
            Some(whole @ Value::Object(config)) if class.ends_with("Wrapper") => {
                let function = Self::read(what, config.get("fn").ok_or_else(wrong)?)?;
                Ok(Self {
                    name: function.name,
                    config: Some(config),
                    whole: Some(whole),
                })
            }
            Some(whole @ Value::Object(config)) => Ok(Self {
                name: class,
                config: Some(config),
                whole: Some(whole),
            }),
            None | Some(Value::Null) => Ok(Self::named(class)),
            Some(_) => Err(wrong()),
        }
    }

    fn named(name: &'a str) -> Self {
        Self {
            name,
            config: None,
            whole: None,
        }
    }

    /// Whether it is a name alone.
    pub fn is_name(&self) -> bool {
        self.config.is_none()
    }

    /// The value of `key`; `None` when absent or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.config?.get(key).filter(|value| !value.is_null())
    }

    /// The error that `key` holds something else than `expected`.
    pub fn invalid(&self, key: &str, expected: &str) -> TrainError {
        let nothing = Value::Object(Map::new());
        let whole = self.whole.unwrap_or(&nothing);
        match Config::new(self.name, Generation::Keras3, whole) {
            Ok(config) => config.invalid(key, expected).into(),
            Err(error) => error.into(),
        }
    }

    /// The error that `key` is absent.
    pub fn missing(&self, key: &str) -> TrainError {
        ifco_model::ConfigError::Missing {
            layer: self.name.into(),
            key: key.into(),
        }
        .into()
    }

    /// A number, or `default` when absent.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, TrainError> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<f64, TrainError> {
        self.optional_number(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number that may be absent.
    pub fn optional_number(&self, key: &str) -> Result<Option<f64>, TrainError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = number(value).ok_or_else(|| self.invalid(key, "a number"))?;
        Ok(Some(number))
    }

    /// A list of numbers that may be absent; one number alone is a list of one.
    pub fn optional_numbers(&self, key: &str) -> Result<Option<Vec<f64>>, TrainError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        // A tensor is wrapped.
        let value = value.pointer("/config/value").unwrap_or(value);
        let numbers: Option<Vec<f64>> = match value {
            Value::Array(items) => items.iter().map(number).collect(),
            one => number(one).map(|one| vec![one]),
        };
        Ok(Some(numbers.ok_or_else(|| self.invalid(key, "numbers"))?))
    }

    /// A whole number ≥ 0 that may be absent.
    pub fn optional_count(&self, key: &str) -> Result<Option<usize>, TrainError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let whole = |n: &f64| n.fract() == 0.0 && (0.0..9e15).contains(n);
        let count = number(value).filter(whole);
        Ok(Some(
            count.ok_or_else(|| self.invalid(key, "a whole number"))? as usize,
        ))
    }

    /// `true` or `false`, or `default` when absent.
    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, TrainError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let flag = value.as_bool();
        flag.ok_or_else(|| self.invalid(key, "true or false"))
    }

    /// A string, or `default` when absent.
    pub fn text_or(&self, key: &str, default: &'a str) -> Result<&'a str, TrainError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value.as_str().ok_or_else(|| self.invalid(key, "a string"))
    }

    /// Refuses an `axis` other than the last, which alone is computed here.
    pub fn last_axis_alone(&self) -> Result<(), TrainError> {
        match self.optional_number("axis")? {
            None | Some(-1.0) => Ok(()),
            Some(_) => Err(self.invalid("axis", "-1: other axes are not supported")),
        }
    }
}

/// The object as Keras 3 writes it.
pub(crate) fn written(module: &str, class: &str, config: Value) -> Value {
    json!({
        "module": module, "class_name": class, "config": config, "registered_name": null,
    })
}

/// A number, also one that a NumPy scalar or Keras 3 has wrapped.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Object(wrapped) => match wrapped.get("config") {
            Some(inner) => inner.get("value").and_then(Value::as_f64),
            None => wrapped.get("value").and_then(Value::as_f64),
        },
        other => other.as_f64(),
    }
}

/// `mean_squared_error` of `MeanSquaredError`, as Keras names what has no name.
pub(crate) fn snake_case(class: &str) -> String {
    let mut snake = String::with_capacity(class.len() + 4);
    let letters: Vec<char> = class.chars().collect();
    for (i, letter) in letters.iter().enumerate() {
        let after_small = i > 0 && !letters[i - 1].is_uppercase();
        let before_small = letters.get(i + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && i > 0 && (after_small || before_small) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(78) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes() {
        for (class, name) in [
            ("MeanSquaredError", "mean_squared_error"),
            ("KLDivergence", "kl_divergence"),
            ("AUC", "auc"),
            ("CTC", "ctc"),
            ("F1Score", "f1_score"),
            ("R2Score", "r2_score"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }

    #[test]
    fn all_ways_to_write_an_object() {
        for value in [
            json!("mse"),
            json!({"class_name": "function", "config": "mse"}),
            json!({"class_name": "mse"}),
        ] {
            let object = KerasObject::read("loss", &value).expect("a name");
            assert_eq!((object.name, object.is_name()), ("mse", true));
        }
        let value = json!({"class_name": "Huber", "config": {"delta": "big"}});
        let object = KerasObject::read("loss", &value).expect("an object");
        let error = object.number_or("delta", 1.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Huber: \"delta\" is \"big\", expected a number"
        );
        assert!(KerasObject::read("loss", &json!(3)).is_err());
    }
}
