//! What a layer's configuration says of its weights: regularizers and constraints.

use ifco_model::{ConfigError, Generation, LayerEntry, Model};
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
    wishes_in(model, model.config(), model.generation())
}

/// The same of a model whose configuration is part of another's.
fn wishes_in(model: &Model, json: &Value, generation: Generation) -> Result<Vec<Wish>, FitError> {
    let mut wishes = Vec::new();
    for (_, entry) in model.layer_groups() {
        let mut configs = fused::layers(json).into_iter().flatten();
        let json = configs.find(|config| fused::named(config, &entry.name));
        let json = json.unwrap_or(&Value::Null);
        let inner = entry.layer.as_model();
        // A wrapper around a model shows that one too.
        let inner = inner.filter(|_| fused::layers(json).is_some());
        wishes.extend(match inner {
            Some(inner) => wishes_in(inner, json, generation)?,
            None => of_layer(entry, json, generation)?,
        });
    }
    Ok(wishes)
}

fn of_layer(
    entry: &LayerEntry,
    json: &Value,
    generation: Generation,
) -> Result<Vec<Wish>, FitError> {
    let config = json.get("config").unwrap_or(&Value::Null);
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
            let read = get(&regularizer).map(Regularizer::from_keras).transpose();
            wish.regularizer = read.map_err(TrainError::from)?;
            wish.constraint = get(&constraint).map(Constraint::from_keras).transpose()?;
            known.extend([regularizer, constraint]);
        }
        wishes.push(wish);
    }
    let search = Search {
        known: &known,
        generation,
    };
    match search.refused(json, true).map_err(TrainError::from)? {
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
            // The projections of a MultiHeadAttention, which have its options.
            part if part.ends_with("_dense") => config,
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

/// Keras's key of what outputs add to the loss.
const ACTIVITY: &str = "activity_regularizer";

/// Looks for what training cannot apply.
struct Search<'a> {
    /// The keys that weights have taken.
    known: &'a [String],
    generation: Generation,
}

impl Search<'_> {
    /// A regularizer or constraint, in a layer or what lies inside of it, that is not that of a
    /// known weight, nor of a layer's outputs where those are `applied`: they are not of cells, and
    /// Keras 2's TimeDistributed has them in a way of its own.
    fn refused(&self, json: &Value, applied: bool) -> Result<Option<String>, ConfigError> {
        match json {
            Value::Object(map) => {
                let inside = match map.get("class_name").and_then(Value::as_str) {
                    Some("ActivityRegularization") if !applied => {
                        return Ok(Some(ACTIVITY.to_owned()));
                    }
                    Some("StackedRNNCells") => false,
                    Some("TimeDistributed") => applied && self.generation == Generation::Keras3,
                    Some(class) => applied && !class.ends_with("Cell"),
                    None => applied,
                };
                for (key, value) in map {
                    let is_one = key.ends_with("_regularizer") || key.ends_with("_constraint");
                    if !is_one || value.is_null() {
                        if let Some(key) = self.refused(value, inside)? {
                            return Ok(Some(key));
                        }
                    } else if key == ACTIVITY && applied {
                        Regularizer::from_keras(value)?;
                    } else if !self.known.contains(key) {
                        return Ok(Some(key.clone()));
                    }
                }
                Ok(None)
            }
            Value::Array(items) => {
                for item in items {
                    if let Some(key) = self.refused(item, applied)? {
                        return Ok(Some(key));
                    }
                }
                Ok(None)
            }
            _ => Ok(None),
        }
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
