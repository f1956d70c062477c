//! The options that every optimizer has.

use serde_json::{Map, Value, json};

use crate::keras_object::KerasObject;
use crate::{Schedule, TrainError};

/// How fast parameters move.
#[derive(Debug, Clone, PartialEq)]
pub enum LearningRate {
    /// The same at each step, until it is set anew.
    Constant(f32),
    /// As the step tells.
    Schedule(Schedule),
}

/// How large gradients may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clip {
    /// The length of each parameter's gradient at most this (`clipnorm`).
    Norm(f64),
    /// The length of all gradients together at most this (`global_clipnorm`).
    GlobalNorm(f64),
    /// Each element from minus this to this (`clipvalue`).
    Value(f64),
}

/// The options that every optimizer has; the names are Keras's.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerOptions {
    /// How fast parameters move.
    pub learning_rate: LearningRate,
    /// How much of itself, times the learning rate, each parameter loses before a step.
    pub weight_decay: Option<f64>,
    /// How large gradients may be.
    pub clip: Option<Clip>,
    /// Whether a moving average of the parameters is kept.
    pub use_ema: bool,
    /// How much of the average stays at each step.
    pub ema_momentum: f64,
    /// After how many steps the average becomes the parameters.
    pub ema_overwrite_frequency: Option<usize>,
    /// What the loss is multiplied by and the gradients divided by.
    pub loss_scale_factor: Option<f64>,
    /// Over how many steps gradients are averaged for one update; at least 2.
    pub gradient_accumulation_steps: Option<usize>,
}

type MakeClip = fn(f64) -> Clip;

const CLIPS: [(&str, MakeClip); 3] = [
    ("clipnorm", Clip::Norm),
    ("global_clipnorm", Clip::GlobalNorm),
    ("clipvalue", Clip::Value),
];

impl OptimizerOptions {
    /// Keras's defaults.
    pub(super) fn with_learning_rate(rate: f32) -> Self {
        Self {
            learning_rate: LearningRate::Constant(rate),
            weight_decay: None,
            clip: None,
            use_ema: false,
            ema_momentum: 0.99,
            ema_overwrite_frequency: None,
            loss_scale_factor: None,
            gradient_accumulation_steps: None,
        }
    }

    /// These options with what `object` sets.
    pub(super) fn read(mut self, object: &KerasObject<'_>) -> Result<Self, TrainError> {
        if let Some(rate) = object.get("learning_rate") {
            self.learning_rate = LearningRate::read(rate, object)?;
        } else if let Some(rate) = object.optional_number("lr")? {
            self.learning_rate = LearningRate::Constant(rate as f32); // Keras 1's and early 2's
        }
        // AdamW's is a number even where Keras 2 writes none.
        self.weight_decay = object
            .optional_number("weight_decay")?
            .or(self.weight_decay);
        for (key, clip) in CLIPS {
            let Some(limit) = object.optional_number(key)? else {
                continue;
            };
            if self.clip.is_some() {
                let expected = "null: only one of clipnorm, clipvalue, global_clipnorm can be set";
                return Err(object.invalid(key, expected));
            }
            self.clip = Some(clip(limit));
        }
        self.use_ema = object.bool_or("use_ema", false)?;
        self.ema_momentum = object.number_or("ema_momentum", 0.99)?;
        if self.use_ema && !(0.0..=1.0).contains(&self.ema_momentum) {
            return Err(object.invalid("ema_momentum", "a number from 0 to 1"));
        }
        let frequency = object.optional_count("ema_overwrite_frequency")?;
        self.ema_overwrite_frequency = frequency.filter(|steps| *steps > 0);
        self.loss_scale_factor = object.optional_number("loss_scale_factor")?;
        self.gradient_accumulation_steps = object.optional_count("gradient_accumulation_steps")?;
        match self.gradient_accumulation_steps {
            Some(0) => self.gradient_accumulation_steps = None,
            Some(1) => {
                return Err(object.invalid("gradient_accumulation_steps", "null, or 2 or more"));
            }
            _ => {}
        }
        Ok(self)
    }

    /// The options in Keras's words and order.
    pub(super) fn write(&self, config: &mut Map<String, Value>) {
        let rate = match &self.learning_rate {
            LearningRate::Constant(rate) => json!(f64::from(*rate)),
            LearningRate::Schedule(schedule) => schedule.to_keras(),
        };
        let limit = |wanted: MakeClip| match self.clip {
            Some(Clip::Norm(limit) | Clip::GlobalNorm(limit) | Clip::Value(limit))
                if self.clip == Some(wanted(limit)) =>
            {
                json!(limit)
            }
            _ => Value::Null,
        };
        config.insert("learning_rate".into(), rate);
        config.insert("weight_decay".into(), json!(self.weight_decay));
        for (key, clip) in CLIPS {
            config.insert(key.into(), limit(clip));
        }
        for (key, value) in [
            ("use_ema", json!(self.use_ema)),
            ("ema_momentum", json!(self.ema_momentum)),
            (
                "ema_overwrite_frequency",
                json!(self.ema_overwrite_frequency),
            ),
            ("loss_scale_factor", json!(self.loss_scale_factor)),
            (
                "gradient_accumulation_steps",
                json!(self.gradient_accumulation_steps),
            ),
        ] {
            config.insert(key.into(), value);
        }
    }
}
