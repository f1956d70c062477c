//! Keras's layers, one family a file: options, weights' names and `call` together.

mod activation;
mod attention;
mod batch_normalization;
mod bidirectional;
mod causal;
mod cell_spec;
mod concatenate;
mod convolution;
mod dense;
mod derivative;
mod dot;
mod embedding;
mod group_normalization;
mod identity;
mod input;
mod lstm_extras;
mod merge;
mod multi_head_attention;
mod normalization;
mod operation;
mod padding;
mod pooling;
mod projection;
mod recurrent;
mod reshape;
mod scaling;
mod softmax;
mod support;
mod time_distributed;
mod unknown;
mod window;

use ifco_cell::Activation;

use crate::from_config::{MODEL_CLASSES, model_from_json};
use crate::{Config, ConfigError, Layer};

pub(crate) use cell_spec::{CellSpec, cell_weights};
pub use input::InputLayer;
pub use operation::{OPERATIONS, Operation};
pub use recurrent::Recurrent;
pub(crate) use recurrent::cell_name;
pub(crate) use support::{
    along, broadcast_shape, display_sizes, elements, one, resolve_axes, resolve_axis,
};
pub use unknown::Unknown;

/// The classes that ifco runs, in the order in which the documentation lists them.
///
/// ```
/// use ifco_model::layers::SUPPORTED;
/// assert!(SUPPORTED.contains(&"Bidirectional"));
/// assert!(!SUPPORTED.contains(&"Lambda")); // holds Python code
/// ```
pub const SUPPORTED: &[&str] = &[
    "Sequential",
    "Functional",
    "Model",
    "InputLayer",
    "LSTM",
    "GRU",
    "SimpleRNN",
    "RNN",
    "Bidirectional",
    "TimeDistributed",
    "Dense",
    "Embedding",
    "Masking",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "AlphaDropout",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
    "Identity",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "ThresholdedReLU",
    "PReLU",
    "ELU",
    "Softmax",
    "Flatten",
    "Reshape",
    "Permute",
    "RepeatVector",
    "Concatenate",
    "Add",
    "Subtract",
    "Multiply",
    "Average",
    "Maximum",
    "Minimum",
    "Dot",
    "LayerNormalization",
    "BatchNormalization",
    "GroupNormalization",
    "UnitNormalization",
    "Normalization",
    "Rescaling",
    "Conv1D",
    "Conv2D",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "AveragePooling1D",
    "AveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "Cropping1D",
    "Cropping2D",
    "UpSampling1D",
    "UpSampling2D",
    "Attention",
    "AdditiveAttention",
    "MultiHeadAttention",
];

/// Makes the layer of this class from its configuration, without weights. A class that ifco
/// does not know becomes an [`Unknown`], which says so when it is called.
///
/// # Errors
/// When a known layer's configuration is not one that it can have.
///
/// # Examples
/// ```
/// use ifco_model::{Call, Config, Generation, layers};
/// use serde_json::json;
///
/// let config = json!({"n": 3});
/// let config = Config::new("repeat", Generation::Keras3, &config)?;
/// let layer = layers::build("RepeatVector", &config)?;
/// let shapes = layer.output_shapes(&[vec![None, Some(8)]], &Call::default()).unwrap();
/// assert_eq!(shapes, [[None, Some(3), Some(8)]]);
/// # Ok::<(), ifco_model::ConfigError>(())
/// ```
pub fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    if MODEL_CLASSES.contains(&class) {
        let json = serde_json::json!({ "class_name": class, "config": config.to_json() });
        return Ok(Box::new(model_from_json(&json, config.generation)?));
    }
    match class {
        "InputLayer" => Ok(Box::new(InputLayer::from_config(config)?)),
        "LSTM" | "GRU" | "SimpleRNN" | "RNN" => recurrent::build(class, config),
        "Bidirectional" => bidirectional::build(config),
        "TimeDistributed" => time_distributed::build(config),
        "Dense" => dense::build(config),
        "Embedding" => embedding::build(config),
        "Masking" => embedding::build_masking(config),
        "Dropout"
        | "SpatialDropout1D"
        | "SpatialDropout2D"
        | "AlphaDropout"
        | "GaussianNoise"
        | "GaussianDropout"
        | "ActivityRegularization"
        | "Identity" => identity::build(class, config),
        "Activation" | "ReLU" | "LeakyReLU" | "ThresholdedReLU" | "ELU" => {
            activation::build(class, config)
        }
        "PReLU" => activation::build_prelu(config),
        "Softmax" => softmax::build(config),
        "Flatten" | "Reshape" | "Permute" | "RepeatVector" => reshape::build(class, config),
        "Add" | "Subtract" | "Multiply" | "Average" | "Maximum" | "Minimum" => {
            merge::build(class, config)
        }
        "Concatenate" => concatenate::build(config),
        "Dot" => dot::build(config),
        "LayerNormalization" => normalization::build_layer(config),
        "BatchNormalization" | "BatchNormalizationV1" | "BatchNormalizationV2" => {
            batch_normalization::build(config)
        }
        "GroupNormalization" => group_normalization::build(config),
        "UnitNormalization" => normalization::build_unit(config),
        "Normalization" => scaling::build(config),
        "Rescaling" => scaling::build_rescaling(config),
        "Conv1D" | "Conv2D" | "DepthwiseConv1D" | "DepthwiseConv2D" | "SeparableConv1D"
        | "SeparableConv2D" => convolution::build(class, config),
        "MaxPooling1D" | "MaxPooling2D" | "AveragePooling1D" | "AveragePooling2D" => {
            pooling::build(class, config)
        }
        "GlobalMaxPooling1D"
        | "GlobalMaxPooling2D"
        | "GlobalAveragePooling1D"
        | "GlobalAveragePooling2D" => pooling::build_global(class, config),
        "ZeroPadding1D" | "ZeroPadding2D" | "Cropping1D" | "Cropping2D" | "UpSampling1D"
        | "UpSampling2D" => padding::build(class, config),
        "Attention" | "AdditiveAttention" => attention::build(class, config),
        "MultiHeadAttention" => multi_head_attention::build(config),
        _ => Ok(Box::new(Unknown::new(class))),
    }
}

/// The activation that a layer of this class is, when such a layer stands where a function
/// is meant: `activation=LeakyReLU(0.1)`. `None` for every other layer.
///
/// ```
/// use ifco_cell::Activation;
/// use ifco_model::{Config, Generation, layers};
///
/// let json = serde_json::json!({});
/// let config = Config::new("relu", Generation::Keras3, &json)?;
/// assert_eq!(layers::activation_of("ReLU", &config)?, Some(Activation::RELU));
/// assert_eq!(layers::activation_of("Dense", &config)?, None);
/// # Ok::<(), ifco_model::ConfigError>(())
/// ```
///
/// # Errors
/// When the class is one, and its options are none that it can have.
pub fn activation_of(class: &str, config: &Config<'_>) -> Result<Option<Activation>, ConfigError> {
    activation::activation_of(class, config)
}
