//! Initializers: what a new weight starts from.

use ndarray::{Array2, ArrayD, IxDyn};
use serde_json::{Value, json};

use crate::keras_object::{KerasObject, written};
use crate::{Random, TrainError};

/// What a new weight starts from.
///
/// Distributions are exactly Keras's: fans, scales, truncation. The numbers drawn are not, since
/// they come from [`Random`] and its seed.
///
/// ```
/// use ifco_train::{Initializer, Random};
///
/// let initializer = Initializer::from_keras(&"glorot_uniform".into())?;
/// let kernel = initializer.draw(&[2, 4], &mut Random::new(1))?; // fans 2 and 4
/// assert!(kernel.iter().all(|w| w.abs() <= 1.0)); // √(6 / (2 + 4))
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Initializer {
    /// What it draws.
    pub kind: InitializerKind,
    /// Keras's class.
    class: &'static str,
}

/// What an [`Initializer`] draws.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum InitializerKind {
    /// One value: `Zeros`, `Ones`, `Constant`.
    Constant(f64),
    /// `gain` on the diagonal of a matrix, 0 elsewhere.
    Identity {
        /// The value on the diagonal.
        gain: f64,
    },
    /// A normal distribution.
    RandomNormal {
        /// Its mean.
        mean: f64,
        /// Its standard deviation.
        stddev: f64,
    },
    /// A normal distribution without what lies more than two deviations from its mean.
    TruncatedNormal {
        /// Its mean.
        mean: f64,
        /// Its standard deviation, before what lies outside is left away.
        stddev: f64,
    },
    /// A uniform distribution.
    RandomUniform {
        /// The smallest value.
        minval: f64,
        /// The end, not among the values.
        maxval: f64,
    },
    /// A variance of `scale` / fan: all of Glorot's, He's and LeCun's.
    VarianceScaling {
        /// The variance times the fan.
        scale: f64,
        /// Which fan.
        fan: Fan,
        /// Which distribution.
        distribution: Distribution,
    },
    /// Orthonormal rows or columns, times `gain` (Saxe et al., 2013).
    Orthogonal {
        /// Their length.
        gain: f64,
    },
}

/// How many numbers come into a unit or go out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fan {
    /// Into it.
    In,
    /// Out of it.
    Out,
    /// The mean of both.
    Average,
}

/// The shape of a distribution whose variance is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Uniform about 0.
    Uniform,
    /// Normal, without what lies more than two deviations from 0.
    TruncatedNormal,
    /// Normal.
    UntruncatedNormal,
}

use InitializerKind as Kind;

/// The standard deviation of a standard normal distribution within ±2.
const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;

const fn scaling(scale: f64, fan: Fan, distribution: Distribution) -> Kind {
    Kind::VarianceScaling {
        scale,
        fan,
        distribution,
    }
}

/// The class, its name, and the defaults.
const INITIALIZERS: &[(&str, &str, Kind)] = &[
    ("Zeros", "zeros", Kind::Constant(0.0)),
    ("Ones", "ones", Kind::Constant(1.0)),
    ("Constant", "constant", Kind::Constant(0.0)),
    ("Identity", "identity", Kind::Identity { gain: 1.0 }),
    (
        "RandomNormal",
        "random_normal",
        Kind::RandomNormal {
            mean: 0.0,
            stddev: 0.05,
        },
    ),
    (
        "TruncatedNormal",
        "truncated_normal",
        Kind::TruncatedNormal {
            mean: 0.0,
            stddev: 0.05,
        },
    ),
    (
        "RandomUniform",
        "random_uniform",
        Kind::RandomUniform {
            minval: -0.05,
            maxval: 0.05,
        },
    ),
    (
        "VarianceScaling",
        "variance_scaling",
        scaling(1.0, Fan::In, Distribution::TruncatedNormal),
    ),
    (
        "GlorotUniform",
        "glorot_uniform",
        scaling(1.0, Fan::Average, Distribution::Uniform),
    ),
    (
        "GlorotNormal",
        "glorot_normal",
        scaling(1.0, Fan::Average, Distribution::TruncatedNormal),
    ),
    (
        "LecunUniform",
        "lecun_uniform",
        scaling(1.0, Fan::In, Distribution::Uniform),
    ),
    (
        "LecunNormal",
        "lecun_normal",
        scaling(1.0, Fan::In, Distribution::TruncatedNormal),
    ),
    (
        "HeUniform",
        "he_uniform",
        scaling(2.0, Fan::In, Distribution::Uniform),
    ),
    (
        "HeNormal",
        "he_normal",
        scaling(2.0, Fan::In, Distribution::TruncatedNormal),
    ),
    ("Orthogonal", "orthogonal", Kind::Orthogonal { gain: 1.0 }),
];

/// Names of Keras 1 and 2, and the class that each means.
const OLD_NAMES: [(&str, &str); 6] = [
    ("normal", "RandomNormal"),
    ("uniform", "RandomUniform"),
    ("zero", "Zeros"),
    ("one", "Ones"),
    ("IdentityInitializer", "Identity"),
    ("OrthogonalInitializer", "Orthogonal"),
];

impl Initializer {
    /// Reads what a layer's configuration has under `kernel_initializer` and the like. A `seed` in
    /// it is passed over: [`draw`](Self::draw) takes its own.
    ///
    /// # Errors
    /// When it is a user's own, or an option is not valid.
    pub fn from_keras(value: &Value) -> Result<Self, TrainError> {
        let object = KerasObject::read("initializer", value)?;
        let old = OLD_NAMES.iter().find(|(old, _)| *old == object.name);
        let name = old.map_or(object.name, |(_, class)| class);
        let known = INITIALIZERS
            .iter()
            .find(|(class, snake, _)| *class == name || *snake == name);
        let Some((class, _, kind)) = known else {
            let known: Vec<&str> = INITIALIZERS.iter().map(|(_, snake, _)| *snake).collect();
            return Err(TrainError::unknown("initializer", object.name, &known));
        };
        let kind = match kind.clone() {
            Kind::Constant(value) => Kind::Constant(object.number_or("value", value)?),
            Kind::Identity { gain } => Kind::Identity {
                gain: object.number_or("gain", gain)?,
            },
            Kind::Orthogonal { gain } => Kind::Orthogonal {
                gain: object.number_or("gain", gain)?,
            },
            Kind::RandomNormal { mean, stddev } => Kind::RandomNormal {
                mean: object.number_or("mean", mean)?,
                stddev: object.number_or("stddev", stddev)?,
            },
            Kind::TruncatedNormal { mean, stddev } => Kind::TruncatedNormal {
                mean: object.number_or("mean", mean)?,
                stddev: object.number_or("stddev", stddev)?,
            },
            Kind::RandomUniform { minval, maxval } => Kind::RandomUniform {
                minval: object.number_or("minval", minval)?,
                maxval: object.number_or("maxval", maxval)?,
            },
            Kind::VarianceScaling { .. } if *class == "VarianceScaling" => read_scaling(&object)?,
            other => other,
        };
        Ok(Self { kind, class })
    }

    /// The initializer as Keras 3 writes it, without a seed.
    pub fn to_keras(&self) -> Value {
        let config = match &self.kind {
            Kind::Constant(value) if self.class == "Constant" => json!({"value": value}),
            Kind::Constant(_) => json!({}),
            Kind::Identity { gain } => json!({"gain": gain}),
            Kind::Orthogonal { gain } => json!({"seed": null, "gain": gain}),
            Kind::RandomNormal { mean, stddev } | Kind::TruncatedNormal { mean, stddev } => {
                json!({"seed": null, "mean": mean, "stddev": stddev})
            }
            Kind::RandomUniform { minval, maxval } => {
                json!({"seed": null, "minval": minval, "maxval": maxval})
            }
            Kind::VarianceScaling {
                scale,
                fan,
                distribution,
            } if self.class == "VarianceScaling" => json!({
                "seed": null, "scale": scale, "mode": fan.name(),
                "distribution": distribution.name(),
            }),
            Kind::VarianceScaling { .. } => json!({"seed": null}),
        };
        written("keras.initializers", self.class, config)
    }

    /// A new weight of this shape.
    ///
    /// # Errors
    /// `Identity` needs a matrix, `Orthogonal` at least two axes.
    pub fn draw(&self, shape: &[usize], random: &mut Random) -> Result<ArrayD<f32>, TrainError> {
        let mut filled = |draw: &mut dyn FnMut(&mut Random) -> f64| {
            ArrayD::from_shape_simple_fn(IxDyn(shape), || draw(random) as f32)
        };
        let needs = |axes| Err(TrainError::shape("a weight", shape, axes));
        Ok(match self.kind {
            Kind::Constant(value) => filled(&mut |_| value),
            Kind::RandomNormal { mean, stddev } => filled(&mut |r| mean + stddev * r.normal()),
            Kind::TruncatedNormal { mean, stddev } => {
                filled(&mut |r| mean + stddev * r.truncated_normal())
            }
            Kind::RandomUniform { minval, maxval } => {
                filled(&mut |r| minval + (maxval - minval) * r.uniform())
            }
            Kind::VarianceScaling {
                scale,
                fan,
                distribution,
            } => {
                let variance = scale / fan.of(shape).max(1.0);
                match distribution {
                    Distribution::Uniform => {
                        let limit = (3.0 * variance).sqrt();
                        filled(&mut |r| limit * (2.0 * r.uniform() - 1.0))
                    }
                    Distribution::TruncatedNormal => {
                        let stddev = variance.sqrt() / TRUNCATED_DEVIATION;
                        filled(&mut |r| stddev * r.truncated_normal())
                    }
                    Distribution::UntruncatedNormal => {
                        filled(&mut |r| variance.sqrt() * r.normal())
                    }
                }
            }
            Kind::Identity { gain } => {
                let &[rows, columns] = shape else {
                    return needs("a matrix");
                };
                let diagonal = |(i, j)| if i == j { gain as f32 } else { 0.0 };
                Array2::from_shape_fn((rows, columns), diagonal).into_dyn()
            }
            Kind::Orthogonal { gain } => {
                let [outer @ .., columns] = shape else {
                    return needs("at least two axes");
                };
                if outer.is_empty() {
                    return needs("at least two axes");
                }
                let matrix = orthonormal(outer.iter().product(), *columns, random);
                let values = matrix.into_iter().map(|w| (gain * w) as f32).collect();
                ArrayD::from_shape_vec(IxDyn(shape), values)
                    .map_err(|_| TrainError::shape("a weight", shape, "a size that fits"))?
            }
        })
    }
}

fn read_scaling(object: &KerasObject<'_>) -> Result<Kind, TrainError> {
    let scale = object.number_or("scale", 1.0)?;
    if scale.is_nan() || scale <= 0.0 {
        return Err(object.invalid("scale", "a number greater than 0"));
    }
    Ok(Kind::VarianceScaling {
        scale,
        fan: match object.text_or("mode", "fan_in")? {
            "fan_in" => Fan::In,
            "fan_out" => Fan::Out,
            "fan_avg" => Fan::Average,
            _ => return Err(object.invalid("mode", "\"fan_in\", \"fan_out\" or \"fan_avg\"")),
        },
        distribution: match object.text_or("distribution", "truncated_normal")? {
            "uniform" => Distribution::Uniform,
            "normal" | "truncated_normal" => Distribution::TruncatedNormal,
            "untruncated_normal" => Distribution::UntruncatedNormal,
            _ => {
                let expected = "\"uniform\", \"truncated_normal\" or \"untruncated_normal\"";
                return Err(object.invalid("distribution", expected));
            }
        },
    })
}

impl Fan {
    fn name(self) -> &'static str {
        match self {
            Self::In => "fan_in",
            Self::Out => "fan_out",
            Self::Average => "fan_avg",
        }
    }

    /// Of a weight whose last two axes are what comes in and what goes out; of a convolution, each
    /// times the window.
    fn of(self, shape: &[usize]) -> f64 {
        let (into, out) = match *shape {
            [] => (1.0, 1.0),
            [one] => (one as f64, one as f64),
            [ref window @ .., into, out] => {
                let window: f64 = window.iter().map(|length| *length as f64).product();
                (window * into as f64, window * out as f64)
            }
        };
        match self {
            Self::In => into,
            Self::Out => out,
            Self::Average => (into + out) / 2.0,
        }
    }
}

impl Distribution {
    fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::TruncatedNormal => "truncated_normal",
            Self::UntruncatedNormal => "untruncated_normal",
        }
    }
}

/// The Q of a random matrix whose R has a positive diagonal: Gram and Schmidt's, each vector made
/// orthogonal twice, after which nothing but rounding is left.
fn orthonormal(rows: usize, columns: usize, random: &mut Random) -> Array2<f64> {
    let (long, short) = (rows.max(columns), rows.min(columns));
    let mut vectors = Array2::from_shape_simple_fn((short, long), || random.normal());
    for i in 0..short {
        let (before, mut rest) = vectors.view_mut().split_at(ndarray::Axis(0), i);
        let mut vector = rest.row_mut(0);
        for _ in 0..2 {
            for earlier in before.rows() {
                let along = earlier.dot(&vector);
                vector.scaled_add(-along, &earlier);
            }
        }
        let length = vector.dot(&vector).sqrt();
        vector.mapv_inplace(|x| x / length);
    }
    if rows < columns {
        vectors
    } else {
        vectors.reversed_axes()
    }
}
