//! Which optimizers there are, their options and their slots.

use serde_json::{Map, Value, json};

use crate::TrainError;
use crate::keras_object::KerasObject;

/// How a parameter follows its gradient; defaults are Keras's.
///
/// The formulas stand beside the code in `rules.rs`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the fields are Keras's arguments of the same names"
)]
pub enum OptimizerKind {
    /// Gradient descent, with momentum where it is not 0.
    Sgd { momentum: f64, nesterov: bool },
    /// Root mean square propagation (Hinton, 2012).
    RmsProp {
        rho: f64,
        momentum: f64,
        epsilon: f64,
        centered: bool,
    },
    /// Adaptive moments (Kingma and Ba, 2014); `amsgrad` of Reddi et al., 2018.
    Adam {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
        amsgrad: bool,
    },
    /// Adam with weight decay apart from the gradient (Loshchilov and Hutter, 2017).
    AdamW {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
        amsgrad: bool,
    },
    /// Adam with the largest gradient in place of the mean square.
    Adamax {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    },
    /// Adam with Nesterov's momentum (Dozat, 2015).
    Nadam {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    },
    /// A rate for each element, falling with its gradients (Duchi et al., 2011).
    Adagrad {
        initial_accumulator_value: f64,
        epsilon: f64,
    },
    /// Adagrad over a window (Zeiler, 2012).
    Adadelta { rho: f64, epsilon: f64 },
    /// The sign of the momentum alone (Chen et al., 2023).
    Lion { beta_1: f64, beta_2: f64 },
    /// Follow the regularized leader (McMahan et al., 2013).
    Ftrl {
        learning_rate_power: f64,
        initial_accumulator_value: f64,
        l1_regularization_strength: f64,
        l2_regularization_strength: f64,
        l2_shrinkage_regularization_strength: f64,
        beta: f64,
    },
    /// Adam with each parameter's step in proportion to its size (You et al., 2019).
    Lamb {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    },
}

use OptimizerKind as Kind;

const EPSILON: f64 = 1e-7;

/// The class, its default learning rate, and the defaults.
const OPTIMIZERS: &[(&str, f64, Kind)] = &[
    (
        "SGD",
        0.01,
        Kind::Sgd {
            momentum: 0.0,
            nesterov: false,
        },
    ),
    (
        "RMSprop",
        0.001,
        Kind::RmsProp {
            rho: 0.9,
            momentum: 0.0,
            epsilon: EPSILON,
            centered: false,
        },
    ),
    (
        "Adam",
        0.001,
        Kind::Adam {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: EPSILON,
            amsgrad: false,
        },
    ),
    (
        "AdamW",
        0.001,
        Kind::AdamW {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: EPSILON,
            amsgrad: false,
        },
    ),
    (
        "Adamax",
        0.001,
        Kind::Adamax {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: EPSILON,
        },
    ),
    (
        "Nadam",
        0.001,
        Kind::Nadam {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: EPSILON,
        },
    ),
    (
        "Adagrad",
        0.001,
        Kind::Adagrad {
            initial_accumulator_value: 0.1,
            epsilon: EPSILON,
        },
    ),
    (
        "Adadelta",
        0.001,
        Kind::Adadelta {
            rho: 0.95,
            epsilon: EPSILON,
        },
    ),
    (
        "Lion",
        0.001,
        Kind::Lion {
            beta_1: 0.9,
            beta_2: 0.99,
        },
    ),
    (
        "Ftrl",
        0.001,
        Kind::Ftrl {
            learning_rate_power: -0.5,
            initial_accumulator_value: 0.1,
            l1_regularization_strength: 0.0,
            l2_regularization_strength: 0.0,
            l2_shrinkage_regularization_strength: 0.0,
            beta: 0.0,
        },
    ),
    (
        "Lamb",
        0.001,
        Kind::Lamb {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: EPSILON,
        },
    ),
];

/// One array for each parameter, with the value it starts at.
pub(super) type Slot = (&'static str, f32);

impl OptimizerKind {
    /// The optimizer of a class's name in any case, with its default learning rate.
    pub(super) fn named(name: &str) -> Result<(Self, f64), TrainError> {
        let same = |(class, ..): &&(&str, f64, Kind)| class.eq_ignore_ascii_case(name);
        let found = OPTIMIZERS
            .iter()
            .find(same)
            .map(|(_, rate, kind)| (*kind, *rate));
        found.ok_or_else(|| {
            let known: Vec<&str> = OPTIMIZERS.iter().map(|(class, ..)| *class).collect();
            TrainError::unknown("optimizer", name, &known)
        })
    }

    /// Keras's class.
    ///
    /// ```
    /// let kind = ifco_train::OptimizerKind::Lion { beta_1: 0.9, beta_2: 0.99 };
    /// assert_eq!(kind.class(), "Lion");
    /// ```
    pub fn class(&self) -> &'static str {
        let same = |(.., kind): &&(&str, f64, Kind)| {
            std::mem::discriminant(kind) == std::mem::discriminant(self)
        };
        OPTIMIZERS.iter().find(same).map_or("", |(class, ..)| class)
    }

    /// The same optimizer with the options that `object` sets.
    pub(super) fn with_options(self, object: &KerasObject<'_>) -> Result<Self, TrainError> {
        let mut options = self.options();
        for (key, value) in options.iter_mut() {
            *value = match value.as_f64() {
                Some(default) => json!(object.number_or(key, default)?),
                None => json!(object.bool_or(key, value == true)?),
            };
        }
        let mut kind = self;
        kind.set(&options);
        kind.check(object)?;
        Ok(kind)
    }

    fn check(&self, object: &KerasObject<'_>) -> Result<(), TrainError> {
        let bounded = |key, value: f64, from: f64, to: f64, expected| {
            let inside = (from..=to).contains(&value);
            if inside {
                Ok(())
            } else {
                Err(object.invalid(key, expected))
            }
        };
        match *self {
            Self::Sgd { momentum, .. } => {
                bounded("momentum", momentum, 0.0, 1.0, "a number from 0 to 1")
            }
            Self::Lion { beta_1, .. } => {
                let expected = "a number greater than 0 and at most 1";
                bounded("beta_1", beta_1, f64::MIN_POSITIVE, 1.0, expected)
            }
            Self::Ftrl {
                learning_rate_power,
                initial_accumulator_value,
                ..
            } => {
                let power = learning_rate_power;
                bounded("learning_rate_power", power, f64::MIN, 0.0, "0 or less")?;
                let first = initial_accumulator_value;
                bounded(
                    "initial_accumulator_value",
                    first,
                    0.0,
                    f64::MAX,
                    "0 or more",
                )
            }
            _ => Ok(()),
        }
    }

    /// Its own options in Keras's words and order.
    pub(super) fn options(&self) -> Map<String, Value> {
        let options = match *self {
            Self::Sgd { momentum, nesterov } => {
                json!({"momentum": momentum, "nesterov": nesterov})
            }
            Self::RmsProp {
                rho,
                momentum,
                epsilon,
                centered,
            } => json!({
                "rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered,
            }),
            Self::Adam {
                beta_1,
                beta_2,
                epsilon,
                amsgrad,
            }
            | Self::AdamW {
                beta_1,
                beta_2,
                epsilon,
                amsgrad,
            } => json!({
                "beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "amsgrad": amsgrad,
            }),
            Self::Adamax {
                beta_1,
                beta_2,
                epsilon,
            }
            | Self::Nadam {
                beta_1,
                beta_2,
                epsilon,
            }
            | Self::Lamb {
                beta_1,
                beta_2,
                epsilon,
            } => json!({"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}),
            Self::Adagrad {
                initial_accumulator_value,
                epsilon,
            } => json!({
                "initial_accumulator_value": initial_accumulator_value, "epsilon": epsilon,
            }),
            Self::Adadelta { rho, epsilon } => json!({"rho": rho, "epsilon": epsilon}),
            Self::Lion { beta_1, beta_2 } => json!({"beta_1": beta_1, "beta_2": beta_2}),
            Self::Ftrl {
                learning_rate_power,
                initial_accumulator_value,
                l1_regularization_strength,
                l2_regularization_strength,
                l2_shrinkage_regularization_strength,
                beta,
            } => json!({
                "learning_rate_power": learning_rate_power,
                "initial_accumulator_value": initial_accumulator_value,
                "l1_regularization_strength": l1_regularization_strength,
                "l2_regularization_strength": l2_regularization_strength,
                "l2_shrinkage_regularization_strength": l2_shrinkage_regularization_strength,
                "beta": beta,
            }),
        };
        match options {
            Value::Object(options) => options,
            _ => Map::new(),
        }
    }

    /// Takes all options from what [`options`](Self::options) gave.
    fn set(&mut self, options: &Map<String, Value>) {
        let number = |key: &str, field: &mut f64| {
            *field = options.get(key).and_then(Value::as_f64).unwrap_or(*field);
        };
        let flag = |key: &str, field: &mut bool| {
            *field = options.get(key).and_then(Value::as_bool).unwrap_or(*field);
        };
        match self {
            Self::Sgd { momentum, nesterov } => {
                number("momentum", momentum);
                flag("nesterov", nesterov);
            }
            Self::RmsProp {
                rho,
                momentum,
                epsilon,
                centered,
            } => {
                number("rho", rho);
                number("momentum", momentum);
                number("epsilon", epsilon);
                flag("centered", centered);
            }
            Self::Adam {
                beta_1,
                beta_2,
                epsilon,
                amsgrad,
            }
            | Self::AdamW {
                beta_1,
                beta_2,
                epsilon,
                amsgrad,
            } => {
                number("beta_1", beta_1);
                number("beta_2", beta_2);
                number("epsilon", epsilon);
                flag("amsgrad", amsgrad);
            }
            Self::Adamax {
                beta_1,
                beta_2,
                epsilon,
            }
            | Self::Nadam {
                beta_1,
                beta_2,
                epsilon,
            }
            | Self::Lamb {
                beta_1,
                beta_2,
                epsilon,
            } => {
                number("beta_1", beta_1);
                number("beta_2", beta_2);
                number("epsilon", epsilon);
            }
            Self::Adagrad {
                initial_accumulator_value,
                epsilon,
            } => {
                number("initial_accumulator_value", initial_accumulator_value);
                number("epsilon", epsilon);
            }
            Self::Adadelta { rho, epsilon } => {
                number("rho", rho);
                number("epsilon", epsilon);
            }
            Self::Lion { beta_1, beta_2 } => {
                number("beta_1", beta_1);
                number("beta_2", beta_2);
            }
            Self::Ftrl {
                learning_rate_power,
                initial_accumulator_value,
                l1_regularization_strength,
                l2_regularization_strength,
                l2_shrinkage_regularization_strength,
                beta,
            } => {
                number("learning_rate_power", learning_rate_power);
                number("initial_accumulator_value", initial_accumulator_value);
                number("l1_regularization_strength", l1_regularization_strength);
                number("l2_regularization_strength", l2_regularization_strength);
                let shrinkage = l2_shrinkage_regularization_strength;
                number("l2_shrinkage_regularization_strength", shrinkage);
                number("beta", beta);
            }
        }
    }

    /// Its slots in the order of Keras's variables: groups one after the other, within a group
    /// parameter by parameter.
    pub(super) fn slots(&self) -> Vec<Vec<Slot>> {
        let momentum_and = |other| vec![("momentum", 0.0), (other, 0.0)];
        match *self {
            Self::Sgd { momentum, .. } => match momentum != 0.0 {
                true => vec![vec![("momentum", 0.0)]],
                false => Vec::new(),
            },
            Self::RmsProp {
                momentum, centered, ..
            } => {
                let mut groups = vec![vec![("velocity", 0.0)]];
                groups.extend((momentum > 0.0).then(|| vec![("momentum", 0.0)]));
                groups.extend(centered.then(|| vec![("average_gradient", 0.0)]));
                groups
            }
            Self::Adam { amsgrad, .. } | Self::AdamW { amsgrad, .. } => {
                let mut groups = vec![momentum_and("velocity")];
                groups.extend(amsgrad.then(|| vec![("velocity_hat", 0.0)]));
                groups
            }
            Self::Adamax { .. } => vec![momentum_and("norm")],
            Self::Nadam { .. } | Self::Lamb { .. } => vec![momentum_and("velocity")],
            Self::Adagrad {
                initial_accumulator_value,
                ..
            } => vec![vec![("accumulator", initial_accumulator_value as f32)]],
            Self::Adadelta { .. } => {
                vec![vec![
                    ("accumulated_grad", 0.0),
                    ("accumulated_delta_var", 0.0),
                ]]
            }
            Self::Lion { .. } => vec![vec![("momentum", 0.0)]],
            Self::Ftrl {
                initial_accumulator_value,
                ..
            } => vec![vec![
                ("accumulator", initial_accumulator_value as f32),
                ("linear", 0.0),
            ]],
        }
    }
}
