//! How exactly a model's recurrent layers keep their weights.

use ifco_cell::Precision;

use crate::Model;

impl Model {
    /// Keeps the weights of all recurrent layers so while they run, also in models inside this
    /// one: fewer bits are faster and less exact. All other layers stay as they are, and so do the
    /// weights that [`Model::cells`] shows.
    ///
    /// ```
    /// use ifco_cell::Precision;
    /// use ifco_model::{Generation, Model};
    /// use ndarray::{Array, array};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 2, 1]}},
    ///     {"class_name": "SimpleRNN", "config": {"name": "rnn", "units": 1, "use_bias": false}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let weight = |value: f32| Array::from_elem((1, 1), value).into_dyn();
    /// model.set_weights(vec![weight(0.7), weight(0.3)])?;
    ///
    /// let x = array![[[1.0], [0.5]]].into_dyn(); // (batch, time, features)
    /// let exact = model.predict(&x)?;
    /// model.set_precision(Precision::Int8);
    /// let error = model.predict(&x)? - exact;
    /// assert!(error[[0, 0]].abs() < 0.01);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn set_precision(&mut self, precision: Precision) {
        for entry in &mut self.layers {
            entry.layer.set_precision(precision);
        }
    }
}
