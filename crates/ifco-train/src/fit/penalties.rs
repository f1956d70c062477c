//! What a layer's configuration says of its weights: regularizers and constraints.

use ifco_model::{LayerEntry, Model};
use ndarray::ArrayD;
use serde_json::Value;

use super::FitError;
use crate::{Constraint, Regularizer, TrainError, fused};

/// What is asked of one weight.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub regularizer: Option<Regularizer>,
    pub constraint: Option<Constraint>,
}

/// What is asked of each weight, in the order of [`Model::weight_slots`].
pub(super) fn wishes(model: &Model) -> Result<Vec<Wish>, FitError> {
    let mut wishes = Vec::new();
    for (_, entry) in model.layer_groups() {
        let configs = fused::layers(model.config()).into_iter().flatten();
        let config = configs
            .filter(|config| fused::named(config, &entry.name))
            .find_map(|config| config.get("config"));
        wishes.extend(of_layer(entry, config.unwrap_or(&Value::Null))?);
    }
    Ok(wishes)
}

fn of_layer(entry: &LayerEntry, config: &Value) -> Result<Vec<Wish>, FitError> {
    let mut known = Vec::new();
    let mut wishes = Vec::new();
    for slot in entry.layer.weight_slots() {
        let mut wish = Wish::default();
        if let Some(config) = below(config, &slot.group) {
            // Keras says `recurrent_regularizer` of the recurrent kernel.
            let word = match slot.name.as_str() {
                "recurrent_kernel" => "recurrent",
                name => name,
            };
            let key = |what: &str| format!("{word}_{what}");
            let get = |key: &String| config.get(key).filter(|value| !value.is_null());
            let (regularizer, constraint) = (key("regularizer"), key("constraint"));
            wish.regularizer = get(&regularizer).map(Regularizer::from_keras).transpose()?;
            wish.constraint = get(&constraint).map(Constraint::from_keras).transpose()?;
            known.extend([regularizer, constraint]);
        }
        wishes.push(wish);
    }
    match unknown(config, &known) {
        Some(key) => Err(FitError::Unsupported {
            layer: entry.name.clone(),
            key,
        }),
        None => Ok(wishes),
    }
}

/// The configuration of the part of a layer that a weight's group names: itself, the cell of an
/// `RNN`, or the layer inside of a wrapper.
fn below<'a>(mut config: &'a Value, group: &str) -> Option<&'a Value> {
    for part in group.split('/') {
        config = match part {
            "" => config,
            "cell" => config.pointer("/cell/config").unwrap_or(config),
            "layer" | "forward_layer" => config.pointer("/layer/config")?,
            "backward_layer" => {
                let own = config.pointer("/backward_layer/config");
                own.or_else(|| config.pointer("/layer/config"))?
            }
            _ => return None,
        };
    }
    Some(config)
}

/// A regularizer or constraint, in a layer or what lies inside of it, that is none of these.
fn unknown(json: &Value, known: &[String]) -> Option<String> {
    match json {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let is_one = key.ends_with("_regularizer") || key.ends_with("_constraint");
            if is_one && !value.is_null() && !known.contains(key) {
                return Some(key.clone());
            }
            unknown(value, known)
        }),
        Value::Array(items) => items.iter().find_map(|item| unknown(item, known)),
        _ => None,
    }
}

/// One for each trained weight.
type Gradients = Vec<Option<ArrayD<f32>>>;

/// What the weights add to the loss, and the gradients of that.
pub(super) fn regularization(
    wishes: &[Wish],
    values: &[ArrayD<f32>],
) -> Result<(f32, Gradients), TrainError> {
    let mut total = 0.0;
    let mut gradients = Vec::with_capacity(wishes.len());
    for (wish, values) in wishes.iter().zip(values) {
        gradients.push(match &wish.regularizer {
            None => None,
            Some(regularizer) => {
                let (value, gradient) = regularizer.with_gradient(&values.view())?;
                total += value;
                Some(gradient)
            }
        });
    }
    Ok((total, gradients))
}
