//! A layer's configuration as Keras writes it, read with errors that name the key.

use ifco_cell::Activation;
use serde_json::{Map, Value};

use crate::ConfigError;

/// Which Keras wrote the file: it decides defaults and which hard sigmoid is meant.
///
/// Keras 1's own words are translated to Keras 2's when a file is opened; what stays of it
/// here is its arithmetic.
///
/// ```
/// use ifco_cell::Activation;
/// use ifco_model::{Config, Generation};
///
/// let json = serde_json::json!({"recurrent_activation": "hard_sigmoid"});
/// let read = |generation| {
///     let config = Config::new("lstm", generation, &json)?;
///     config.activation_or("recurrent_activation", Activation::Sigmoid)
/// };
/// assert_eq!(read(Generation::Keras3)?, Activation::HardSigmoid);
/// assert_eq!(read(Generation::Keras2)?, Activation::HardSigmoidKeras2); // another function
/// assert!(Generation::Keras1 < Generation::Keras3);
/// # Ok::<(), ifco_model::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// Keras 1.x.
    Keras1,
    /// Keras 2.x, standalone, in TensorFlow, or as `tf_keras`.
    Keras2,
    /// Keras 3.x.
    Keras3,
}

/// The `config` of one layer.
///
/// Every getter's error names the layer, the key and what is there.
///
/// ```
/// use ifco_cell::Activation;
/// use ifco_model::{Config, Generation};
///
/// let json = serde_json::json!({
///     "units": 8, "activation": "relu", "dropout": null, "strides": 2, "axis": [1, -1],
/// });
/// let config = Config::new("lstm", Generation::Keras3, &json)?;
/// assert_eq!(config.usize("units")?, 8);
/// assert_eq!(config.activation_or("activation", Activation::Tanh)?, Activation::RELU);
/// assert_eq!(config.f32_or("dropout", 0.0)?, 0.0); // null is absent
/// assert!(config.bool_or("use_bias", true)?);
/// assert_eq!(config.str_or("padding", "valid")?, "valid");
/// assert_eq!(config.usizes("strides", 2)?, [2, 2]);
/// assert_eq!(config.integers("axis")?, [1, -1]);
///
/// let error = config.usize("activation").unwrap_err();
/// assert_eq!(error.to_string(), "lstm: \"activation\" is \"relu\", expected a whole number");
/// # Ok::<(), ifco_model::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    /// The layer's name, or its class: what errors speak of.
    pub layer: &'a str,
    /// Who wrote it.
    pub generation: Generation,
    map: &'a Map<String, Value>,
}

impl<'a> Config<'a> {
    /// Reads `config`, which must be a JSON object.
    ///
    /// # Errors
    /// When it is something else.
    pub fn new(
        layer: &'a str,
        generation: Generation,
        config: &'a Value,
    ) -> Result<Self, ConfigError> {
        match config {
            Value::Object(map) => Ok(Self {
                layer,
                generation,
                map,
            }),
            other => Err(invalid(layer, "config", other, "an object")),
        }
    }

    /// The whole configuration as JSON.
    pub(crate) fn to_json(self) -> Value {
        Value::Object(self.map.clone())
    }

    /// The value of `key`; `None` when absent or `null`.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is there and `null`.
    pub fn is_null(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// The error that `key` holds something else than `expected`.
    ///
    /// ```
    /// use ifco_model::{Config, Generation};
    ///
    /// let json = serde_json::json!({"interpolation": "cubic"});
    /// let config = Config::new("up", Generation::Keras3, &json)?;
    /// let error = config.invalid("interpolation", "\"nearest\"");
    /// assert_eq!(error.to_string(), "up: \"interpolation\" is \"cubic\", expected \"nearest\"");
    /// assert_eq!(config.missing("size").to_string(), "up: the configuration has no \"size\"");
    /// # Ok::<(), ifco_model::ConfigError>(())
    /// ```
    pub fn invalid(&self, key: &str, expected: &str) -> ConfigError {
        invalid(
            self.layer,
            key,
            self.map.get(key).unwrap_or(&Value::Null),
            expected,
        )
    }

    /// The error that `key` is absent.
    pub fn missing(&self, key: &str) -> ConfigError {
        ConfigError::Missing {
            layer: self.layer.into(),
            key: key.into(),
        }
    }

    /// The value of `key`, which must be there.
    ///
    /// # Errors
    /// When it is absent or `null`.
    pub fn require(&self, key: &str) -> Result<&'a Value, ConfigError> {
        self.get(key).ok_or_else(|| self.missing(key))
    }

    /// A whole number ≥ 0 (Keras also writes `8.0`).
    ///
    /// # Errors
    /// When it is absent or is something else.
    pub fn usize(&self, key: &str) -> Result<usize, ConfigError> {
        let value = self.require(key)?;
        as_usize(value).ok_or_else(|| self.invalid(key, "a whole number"))
    }

    /// A whole number ≥ 0, or `default` when absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn usize_or(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        self.get(key).map_or(Ok(default), |_| self.usize(key))
    }

    /// A number, or `default` when absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn f32_or(&self, key: &str, default: f32) -> Result<f32, ConfigError> {
        Ok(self.optional_f32(key)?.unwrap_or(default))
    }

    /// A number that may be absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn optional_f32(&self, key: &str) -> Result<Option<f32>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = as_f64(value).ok_or_else(|| self.invalid(key, "a number"))?;
        Ok(Some(number as f32))
    }

    /// A number in double precision, or `default` when absent.
    pub(crate) fn f64_or(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        as_f64(value).ok_or_else(|| self.invalid(key, "a number"))
    }

    /// `true` or `false`, or `default` when absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_bool()
            .ok_or_else(|| self.invalid(key, "true or false"))
    }

    /// A string that may be absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn optional_str(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        Ok(Some(
            value
                .as_str()
                .ok_or_else(|| self.invalid(key, "a string"))?,
        ))
    }

    /// A string, or `default` when absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn str_or(&self, key: &str, default: &'a str) -> Result<&'a str, ConfigError> {
        Ok(self.optional_str(key)?.unwrap_or(default))
    }

    /// A list of whole numbers; one number alone stands for a list of `len` of them, as in
    /// `kernel_size=3` for two dimensions.
    ///
    /// # Errors
    /// When it is absent, something else, or has not `len` items.
    pub fn usizes(&self, key: &str, len: usize) -> Result<Vec<usize>, ConfigError> {
        let value = self.require(key)?;
        let expected = || self.invalid(key, &format!("{len} whole numbers"));
        if let Some(one) = as_usize(value) {
            return Ok(vec![one; len]);
        }
        let list = value.as_array().ok_or_else(expected)?;
        let sizes: Option<Vec<usize>> = list.iter().map(as_usize).collect();
        sizes
            .filter(|sizes| sizes.len() == len)
            .ok_or_else(expected)
    }

    /// A list of whole numbers that may be negative, such as axes or a `target_shape`; one
    /// number alone is a list of one.
    ///
    /// # Errors
    /// When it is absent or is something else.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>, ConfigError> {
        let value = self.require(key)?;
        let expected = || self.invalid(key, "whole numbers");
        if let Some(one) = value.as_i64() {
            return Ok(vec![one]);
        }
        let list = value.as_array().ok_or_else(expected)?;
        list.iter()
            .map(Value::as_i64)
            .collect::<Option<_>>()
            .ok_or_else(expected)
    }

    /// An activation by Keras's name or as a serialized object; `default` when absent.
    ///
    /// # Errors
    /// When it is none that Keras has, such as a custom function.
    pub fn activation_or(&self, key: &str, default: Activation) -> Result<Activation, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        self.activation(value).ok_or_else(|| {
            self.invalid(
                key,
                "an activation of Keras (a custom function cannot be run)",
            )
        })
    }

    /// What Keras's `activations.get` makes of `value`.
    fn activation(&self, value: &Value) -> Option<Activation> {
        if let Some(name) = value.as_str() {
            return self.activation_by_name(name);
        }
        // {"class_name": "function", "config": "my_fn"} or a layer: {"class_name": "LeakyReLU", ..}
        let class = value.get("class_name")?.as_str()?;
        let config = value.get("config")?;
        if let Some(name) = config.as_str() {
            return self.activation_by_name(name);
        }
        let inner = Config::new(class, self.generation, config).ok()?;
        if value.get("module").and_then(Value::as_str) == Some("ifco") {
            return beyond_keras(class, &inner);
        }
        crate::layers::activation_of(class, &inner).ok().flatten()
    }

    fn activation_by_name(&self, name: &str) -> Option<Activation> {
        match self.generation {
            Generation::Keras3 => Activation::from_name(name),
            Generation::Keras1 | Generation::Keras2 => Activation::from_keras2_name(name),
        }
    }
}

/// What ONNX's recurrent operators have and Keras has not.
fn beyond_keras(class: &str, config: &Config<'_>) -> Option<Activation> {
    let number = |key: &str| config.optional_f32(key).ok().flatten();
    let (alpha, beta) = (number("alpha")?, number("beta")?);
    Some(match class {
        "Affine" => Activation::Affine { alpha, beta },
        "ScaledTanh" => Activation::ScaledTanh { alpha, beta },
        "HardSigmoid" => Activation::HardSigmoidOf { alpha, beta },
        _ => return None,
    })
}

/// A number, also one that JSON cannot write as such.
pub(crate) fn as_f64(value: &Value) -> Option<f64> {
    match value {
        // Python's JSON has these as bare words; JSON itself can only have them as strings.
        Value::String(word) => match word.as_str() {
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            "NaN" => Some(f64::NAN),
            _ => None,
        },
        // A NumPy scalar.
        Value::Object(wrapped) => wrapped.get("value").and_then(Value::as_f64),
        other => other.as_f64(),
    }
}

fn as_usize(value: &Value) -> Option<usize> {
    let number = match value.as_u64() {
        Some(number) => number,
        None => {
            let float = value.as_f64()?;
            if float < 0.0 || float.fract() != 0.0 || float > 9e15 {
                return None;
            }
            float as u64
        }
    };
    usize::try_from(number).ok()
}

fn invalid(layer: &str, key: &str, found: &Value, expected: &str) -> ConfigError {
    let mut found = found.to_string();
    if found.len() > 80 {
        let end = (0..=77)
            .rev()
            .find(|end| found.is_char_boundary(*end))
            .unwrap_or(0);
        found.truncate(end);
        found.push('…');
    }
    ConfigError::Invalid {
        layer: layer.into(),
        key: key.into(),
        found,
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_that_json_cannot_write() {
        let config = json!({
            "inf": "Infinity", "minus": "-Infinity", "nan": "NaN", "scalar": {"value": 2},
            "text": "inf",
        });
        let config = Config::new("x", Generation::Keras3, &config).expect("an object");
        assert_eq!(config.f32_or("inf", 0.0), Ok(f32::INFINITY));
        assert_eq!(config.f32_or("minus", 0.0), Ok(f32::NEG_INFINITY));
        assert!(config.f32_or("nan", 0.0).is_ok_and(f32::is_nan));
        assert_eq!(config.f32_or("scalar", 0.0), Ok(2.0));
        assert!(config.f32_or("text", 0.0).is_err());
        // No size is infinite.
        assert!(config.usize("inf").is_err());
    }
}
