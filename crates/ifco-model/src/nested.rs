//! A model inside a model: it is a layer itself.

use ifco_cell::{Cell, Precision};
use ndarray::ArrayD;

use crate::WeightUpdate;
use crate::layers;
use crate::{
    Call, Forward, Layer, LayerError, LayerGradients, Model, ModelError, NotStreamable,
    SessionError, Shape, StepShape, Streamed, Tensor, Training, WeightSlot,
};

impl Layer for Model {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        Model::weight_slots(self)
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        Model::set_weights(self, weights).map_err(inside)
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        Model::weights(self)
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        if inputs.len() != self.inputs.len() {
            let why = format!(
                "it takes {} inputs, got {}",
                self.inputs.len(),
                inputs.len()
            );
            return Err(LayerError::Other(why));
        }
        // What the inner model was built for; the batch is the caller's.
        self.outputs
            .iter()
            .map(|port| {
                let mut shape = port.shape.clone().ok_or_else(|| {
                    LayerError::Other(format!(
                        "the shape of its output {:?} is not known",
                        port.name
                    ))
                })?;
                if let (Some(batch), Some(first)) = (shape.first_mut(), inputs[0].first()) {
                    *batch = *first;
                }
                Ok(shape)
            })
            .collect()
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        self.run_traced(inputs, call.tap.as_ref()).map_err(inside)
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let tap = call.tap.as_ref();
        let entries = call.entries.as_ref();
        let (outputs, tape) = self
            .run_taped(inputs, tap, entries, training)
            .map_err(inside)?;
        let (moving, penalty) = (tape.moving().to_vec(), tape.penalty());
        let backward = |gradients| {
            let gradients = tape.backward(gradients).map_err(inside)?;
            Ok(LayerGradients {
                inputs: gradients.inputs,
                weights: gradients.weights,
                ..LayerGradients::default()
            })
        };
        Ok(Forward {
            outputs,
            backward: Box::new(backward),
            moving,
            penalty,
        })
    }

    fn update_weights(&mut self, update: &mut WeightUpdate<'_>) -> Result<(), LayerError> {
        self.update_each(update).map_err(inside)
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = layers::one(inputs)?;
        let graph = self.stream_inside(input).map_err(|error| match error {
            SessionError::Model(why) => why,
            other => NotStreamable {
                reason: other.to_string(),
                remedy: other.help(),
            },
        })?;
        let output = graph.output_shape().unwrap_or(input).clone();
        Ok(Streamed {
            step: Box::new(graph),
            output,
        })
    }

    fn cells(&self) -> Vec<(String, &Cell)> {
        Model::cells(self)
    }

    fn set_precision(&mut self, precision: Precision) {
        Model::set_precision(self, precision);
    }

    fn enters(&self, input: usize) -> bool {
        self.entered().get(input) == Some(&true)
    }

    fn is_stateful(&self) -> bool {
        self.layers.iter().any(|entry| entry.layer.is_stateful())
    }

    fn reset_states(&self) {
        Model::reset_states(self);
    }

    fn as_model(&self) -> Option<&Model> {
        Some(self)
    }
}

fn inside(error: ModelError) -> LayerError {
    match error {
        ModelError::Layer {
            layer,
            class,
            source,
        } => LayerError::Inside {
            layer,
            class,
            source: Box::new(source),
        },
        other => LayerError::Other(other.to_string()),
    }
}
