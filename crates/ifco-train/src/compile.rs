//! What `compile` was called with: the optimizer, the losses, the metrics.

use serde_json::{Map, Value, json};

use crate::{Loss, Metric, Optimizer, TrainError};

/// Something that is given for a model's outputs: one for all, a list in their order, or by name.
#[derive(Debug, Clone, PartialEq)]
pub enum PerOutput<T> {
    /// The same for each.
    All(T),
    /// In the outputs' order.
    List(Vec<T>),
    /// By the outputs' names.
    Named(Vec<(String, T)>),
}

/// What `compile` was called with, as a `.keras` file has it under `compile_config` and an `.h5`
/// under `training_config`.
///
/// ```
/// use ifco_train::Compile;
///
/// let json = serde_json::json!({
///     "optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"],
/// });
/// let compile = Compile::from_keras(&json)?;
/// let outputs = compile.outputs(&["next"])?;
/// assert_eq!(outputs[0].loss.as_ref().map(|loss| loss.name.as_str()), Some("sparse_categorical_crossentropy"));
/// assert_eq!(outputs[0].metrics[0].0, "accuracy");
/// assert_eq!(compile.to_keras()["loss"], "sparse_categorical_crossentropy");
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Compile {
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// The losses; an output without one is not trained.
    pub loss: PerOutput<Option<Loss>>,
    /// What each output's loss is multiplied by; absent: 1.
    pub loss_weights: Option<PerOutput<f64>>,
    /// Metrics that sample weights do not touch. For one output, all items of a list are its.
    pub metrics: PerOutput<Vec<Metric>>,
    /// Metrics with sample weights.
    pub weighted_metrics: PerOutput<Vec<Metric>>,
    /// What else there is: `run_eagerly`, `jit_compile` …
    rest: Map<String, Value>,
}

/// What one output is trained and judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputTraining {
    /// Its loss; absent where it is not trained.
    pub loss: Option<Loss>,
    /// What its loss counts for.
    pub loss_weight: f32,
    /// Metrics without sample weights, by the names that logs have.
    pub metrics: Vec<(String, Metric)>,
    /// Metrics with sample weights, by the names that logs have.
    pub weighted_metrics: Vec<(String, Metric)>,
}

impl Compile {
    /// One optimizer and one loss for all outputs, no metrics.
    pub fn new(optimizer: Optimizer, loss: Loss) -> Self {
        Self {
            optimizer,
            loss: PerOutput::All(Some(loss)),
            loss_weights: None,
            metrics: PerOutput::List(Vec::new()),
            weighted_metrics: PerOutput::List(Vec::new()),
            rest: Map::new(),
        }
    }

    /// Reads a `compile_config`, or the `training_config` of an `.h5`, of Keras 2 or 3.
    ///
    /// # Errors
    /// When something in it is a user's own, or an option is not valid: the error names it.
    pub fn from_keras(config: &Value) -> Result<Self, TrainError> {
        let get = |key| config.get(key).filter(|value| !value.is_null());
        let optimizer = get("optimizer").or_else(|| get("optimizer_config"));
        let optimizer = optimizer.map(Optimizer::from_keras).transpose()?;
        let missing = |key: &str| ifco_model::ConfigError::Missing {
            layer: "compile".into(),
            key: key.into(),
        };
        let loss = get("loss").ok_or_else(|| missing("loss"))?;
        let metrics = |key| match get(key) {
            None => Ok(PerOutput::List(Vec::new())),
            Some(value) => PerOutput::read(value, &read_metrics),
        };
        let known = [
            "optimizer",
            "optimizer_config",
            "loss",
            "loss_weights",
            "metrics",
            "weighted_metrics",
        ];
        let rest = config.as_object().into_iter().flatten();
        let rest = rest.filter(|(key, _)| !known.contains(&key.as_str()));
        Ok(Self {
            optimizer: optimizer.unwrap_or_default(),
            loss: PerOutput::read(loss, &|value| match value {
                Value::Null => Ok(None),
                value => Loss::from_keras(value).map(Some),
            })?,
            loss_weights: match get("loss_weights") {
                None => None,
                Some(value) => Some(PerOutput::read(value, &|value| {
                    value.as_f64().ok_or_else(|| TrainError::NotAnObject {
                        what: "a loss weight",
                        found: value.to_string(),
                    })
                })?),
            },
            metrics: metrics("metrics")?,
            weighted_metrics: metrics("weighted_metrics")?,
            rest: rest
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        })
    }

    /// The `compile_config` as Keras 3 writes it.
    pub fn to_keras(&self) -> Value {
        let metrics = |metrics: &PerOutput<Vec<Metric>>| match metrics {
            PerOutput::List(lists) if lists.is_empty() => Value::Null,
            // Lists of one, and one list, stand as one list, which means the same.
            PerOutput::List(lists) if lists.len() == 1 || lists.iter().all(|l| l.len() == 1) => {
                lists.iter().flatten().map(Metric::to_keras).collect()
            }
            other => other.write(&|list: &Vec<Metric>| list.iter().map(Metric::to_keras).collect()),
        };
        let mut config = Map::new();
        config.insert("optimizer".into(), self.optimizer.to_keras());
        let loss = |loss: &Option<Loss>| loss.as_ref().map_or(Value::Null, Loss::to_keras);
        config.insert("loss".into(), self.loss.write(&loss));
        let weights = self.loss_weights.as_ref();
        let weights = weights.map_or(Value::Null, |weights| {
            weights.write(&|weight| json!(weight))
        });
        config.insert("loss_weights".into(), weights);
        config.insert("metrics".into(), metrics(&self.metrics));
        config.insert("weighted_metrics".into(), metrics(&self.weighted_metrics));
        config.extend(self.rest.clone());
        Value::Object(config)
    }

    /// What each of these outputs is trained and judged by.
    ///
    /// # Errors
    /// When there are more or fewer losses, weights or metrics than outputs, or one is for an
    /// output that is not there.
    pub fn outputs(&self, names: &[&str]) -> Result<Vec<OutputTraining>, TrainError> {
        let losses = self.loss.resolve("loss", names)?;
        let weights = match &self.loss_weights {
            Some(weights) => weights.resolve("loss_weights", names)?,
            None => vec![None; names.len()],
        };
        let mut taken = Vec::new();
        let metrics = resolve_metrics("metrics", &self.metrics, names)?;
        let metrics = named(metrics, names, &mut taken, "");
        let weighted = resolve_metrics("weighted_metrics", &self.weighted_metrics, names)?;
        let weighted = named(weighted, names, &mut taken, "weighted_");
        let each = losses
            .into_iter()
            .zip(weights)
            .zip(metrics.into_iter().zip(weighted));
        let output = |((loss, weight), (metrics, weighted_metrics)): (
            (Option<Option<Loss>>, Option<f64>),
            _,
        )| {
            OutputTraining {
                loss: loss.flatten(),
                loss_weight: weight.unwrap_or(1.0) as f32,
                metrics,
                weighted_metrics,
            }
        };
        Ok(each.map(output).collect())
    }
}

fn read_metrics(value: &Value) -> Result<Vec<Metric>, TrainError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            let given = items.iter().filter(|item| !item.is_null());
            given.map(Metric::from_keras).collect()
        }
        one => Ok(vec![Metric::from_keras(one)?]),
    }
}

impl<T: Clone> PerOutput<T> {
    fn read(
        value: &Value,
        read: &dyn Fn(&Value) -> Result<T, TrainError>,
    ) -> Result<Self, TrainError> {
        Ok(match value {
            Value::Array(items) => Self::List(items.iter().map(read).collect::<Result<_, _>>()?),
            // A class has a `class_name`; anything else is by output.
            Value::Object(map) if !map.contains_key("class_name") => {
                let named = map
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), read(value)?)));
                Self::Named(named.collect::<Result<_, TrainError>>()?)
            }
            one => Self::All(read(one)?),
        })
    }

    fn write(&self, write: &dyn Fn(&T) -> Value) -> Value {
        match self {
            Self::All(one) => write(one),
            Self::List(items) => items.iter().map(write).collect(),
            Self::Named(items) => {
                let items = items.iter().map(|(name, item)| (name.clone(), write(item)));
                Value::Object(items.collect())
            }
        }
    }

    /// One for each output; `None` for an output that a named list passes over.
    fn resolve(&self, what: &str, names: &[&str]) -> Result<Vec<Option<T>>, TrainError> {
        match self {
            Self::All(one) => Ok(vec![Some(one.clone()); names.len()]),
            Self::List(items) if items.len() == names.len() => {
                Ok(items.iter().cloned().map(Some).collect())
            }
            Self::List(items) => {
                let expected = format!("one for each output: {}", names.join(", "));
                Err(TrainError::shape(what, &[items.len()], expected))
            }
            Self::Named(items) => {
                if let Some((unknown, _)) = items
                    .iter()
                    .find(|(name, _)| !names.contains(&name.as_str()))
                {
                    return Err(TrainError::unknown("output", unknown, names));
                }
                let of = |output: &&str| {
                    let found = items.iter().find(|(name, _)| name == output);
                    found.map(|(_, item)| item.clone())
                };
                Ok(names.iter().map(of).collect())
            }
        }
    }
}

/// Each output's metrics. With one output, all that are listed are its.
fn resolve_metrics(
    what: &str,
    metrics: &PerOutput<Vec<Metric>>,
    names: &[&str],
) -> Result<Vec<Vec<Metric>>, TrainError> {
    match metrics {
        PerOutput::List(lists) if lists.is_empty() => Ok(vec![Vec::new(); names.len()]),
        PerOutput::List(lists) if names.len() == 1 => Ok(vec![lists.concat()]),
        other => {
            let resolved = other.resolve(what, names)?;
            Ok(resolved
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect())
        }
    }
}

/// Metrics under the names that Keras's logs have: the output's before it where there are several,
/// `weighted_` where a name is taken, and then a number.
fn named(
    metrics: Vec<Vec<Metric>>,
    outputs: &[&str],
    taken: &mut Vec<String>,
    again: &str,
) -> Vec<Vec<(String, Metric)>> {
    let mut name = |output: &str, metric: &Metric| {
        let full = |name: &str| match outputs.len() {
            1 => name.to_owned(),
            // An `.h5` of Keras 2 has the output's name there already.
            _ if name.starts_with(&format!("{output}_")) => name.to_owned(),
            _ => format!("{output}_{name}"),
        };
        let mut name = full(&metric.name);
        if taken.contains(&name) && !again.is_empty() {
            name = full(&format!("{again}{}", metric.name));
        }
        let numbered = (1..).map(|n| format!("{name}_{n}"));
        let mut free = std::iter::once(name.clone()).chain(numbered);
        let free = free.find(|name| !taken.contains(name)).unwrap_or(name);
        taken.push(free.clone());
        free
    };
    let outputs = outputs.iter().zip(metrics);
    outputs
        .map(|(output, metrics)| {
            let metrics = metrics.into_iter();
            metrics
                .map(|metric| (name(output, &metric), metric))
                .collect()
        })
        .collect()
}
