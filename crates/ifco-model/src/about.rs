//! What a file tells of a model besides its layers.

/// What a file tells of a model besides its layers: for people, and for who must set a device to
/// the model's sample rate.
///
/// ```
/// use ifco_model::{About, Generation, Model};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 1]}},
///     {"class_name": "ReLU", "config": {"name": "diode"}},
/// ]}});
/// let mut model = Model::from_config(&json, Generation::Keras3)?;
/// assert_eq!(model.about(), &About::default());
///
/// model.set_about(About { sample_rate: Some(48000.0), ..About::default() });
/// assert_eq!(model.about().sample_rate, Some(48000.0));
/// # Ok::<(), ifco_model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct About {
    /// The format, where it is not one of Keras's: `RTNeural JSON`.
    pub format: Option<String>,
    /// Steps per second of the sound that the model was trained on.
    pub sample_rate: Option<f64>,
    /// What else the file says, by the file's own keys: `gear_make`, `author`.
    pub facts: Vec<(String, String)>,
    /// What ifco took for granted where the file does not tell.
    pub assumed: Vec<String>,
}
