//! Layers that are one in Keras: a product and its bias, a function behind it, a factor and a sum
//! for each feature, zeros before a convolution.

use ndarray::ArrayD;
use serde_json::json;

use super::operators::{SCALE, SHIFT, tidy};
use super::{Lift, Slot};
use crate::SaveError;

impl Lift<'_> {
    /// Makes one layer of several as long as there are some, and a layer of what is left.
    pub(super) fn fuse(&mut self, outputs: &mut [usize]) -> Result<(), SaveError> {
        // Each pass takes at least one away.
        while (0..self.stages.len()).any(|stage| self.joined(stage, outputs)) {}
        self.drop_unused(outputs);
        for stage in 0..self.stages.len() {
            if !self.stages[stage].is_gone {
                self.settle(stage)?;
            }
        }
        Ok(())
    }

    /// How many layers and outputs of the model take a tensor.
    fn uses(&self, tensor: usize, outputs: &[usize]) -> usize {
        let stages = self.stages.iter().filter(|stage| !stage.is_gone);
        let inputs = stages.flat_map(|stage| stage.inputs.iter().chain(&stage.initial_state));
        inputs
            .chain(outputs)
            .filter(|used| **used == tensor)
            .count()
    }

    fn output_of(&self, stage: usize) -> Option<usize> {
        let mut tensors = self.tensors.iter();
        tensors.position(|tensor| tensor.stage == stage && tensor.slot == Slot::Out)
    }

    /// Lets whoever took the one tensor take the other, and the layer that made it go.
    fn replace(&mut self, stage: usize, from: usize, to: usize, outputs: &mut [usize]) {
        self.stages[stage].is_gone = true;
        for stage in &mut self.stages {
            for used in stage.inputs.iter_mut().chain(&mut stage.initial_state) {
                if *used == from {
                    *used = to;
                }
            }
        }
        for used in outputs {
            if *used == from {
                *used = to;
            }
        }
    }

    /// Joins a layer to the one before it, if the two are one.
    fn joined(&mut self, stage: usize, outputs: &mut [usize]) -> bool {
        let own = &self.stages[stage];
        if own.is_gone || own.module != super::LAYERS {
            return false;
        }
        let Some(made) = self.output_of(stage) else {
            return false;
        };
        let [input] = own.inputs[..] else {
            return false;
        };
        let before = self.tensors[input].stage;
        if self.tensors[input].slot != Slot::Out || self.stages[before].is_gone {
            return false;
        }
        let is_only = self.uses(input, outputs) == 1;
        let class = self.stages[before].class;
        let has_weights = matches!(class, "Dense" | "Conv1D");
        let is_linear = self.stages[before].config.get("activation").is_none();
        let is_vector = own.weights.first().is_some_and(|array| array.ndim() == 1);
        match own.class {
            SHIFT
                if is_only
                    && has_weights
                    && is_linear
                    && own.weights[0].ndim() == 1
                    && self.stages[before].weights.len() == 1 =>
            {
                let bias = std::mem::take(&mut self.stages[stage].weights);
                self.stages[before].weights.extend(bias);
                self.stages[before].config["use_bias"] = json!(true);
            }
            // A normalization that was spelled out, and what was multiplied and added behind.
            SCALE if is_only && self.is_bare_norm(before, "scale") && is_vector => {
                let weights = std::mem::take(&mut self.stages[stage].weights);
                let config = &mut self.stages[before].config;
                config["scale"] = json!(true);
                config["center"] = json!(weights.len() > 1);
                self.stages[before].weights = weights;
            }
            SHIFT if is_only && self.is_bare_norm(before, "center") && is_vector => {
                let shift = std::mem::take(&mut self.stages[stage].weights);
                self.stages[before].weights.extend(shift);
                self.stages[before].config["center"] = json!(true);
            }
            // One number for each feature, or one for all.
            SHIFT
                if is_only
                    && class == SCALE
                    && self.stages[before].weights.len() == 1
                    && own.weights[0].ndim() == self.stages[before].weights[0].ndim() =>
            {
                let shift = std::mem::take(&mut self.stages[stage].weights);
                self.stages[before].weights.extend(shift);
            }
            "Activation" if is_only && has_weights && is_linear => {
                let activation = own.config["activation"].clone();
                self.stages[before].config["activation"] = activation;
            }
            "Conv1D" if is_only && class == "ZeroPadding1D" && own.config["padding"] == "valid" => {
                let number = |key: &str| own.config[key].as_u64().unwrap_or(1);
                let reach = number("dilation_rate") * number("kernel_size").saturating_sub(1);
                if self.stages[before].config["padding"] != json!([reach, 0]) {
                    return false;
                }
                let from = self.stages[before].inputs[0];
                self.stages[stage].config["padding"] = json!("causal");
                self.stages[stage].inputs = vec![from];
                self.stages[before].is_gone = true;
                return true;
            }
            _ => return false,
        }
        self.replace(stage, made, input, outputs);
        true
    }

    /// Whether it is a LayerNormalization that has not got this yet, nor what comes behind it.
    fn is_bare_norm(&self, stage: usize, what: &str) -> bool {
        let own = &self.stages[stage];
        own.class == "LayerNormalization"
            && own.config["center"] == false
            && (what == "center" || own.config["scale"] == false)
    }

    /// Takes away what nothing needs.
    fn drop_unused(&mut self, outputs: &[usize]) {
        for stage in (0..self.stages.len()).rev() {
            let own = &self.stages[stage];
            if own.is_gone || own.class == "InputLayer" {
                continue;
            }
            let mut made = (0..self.tensors.len()).filter(|t| self.tensors[*t].stage == stage);
            if !made.any(|tensor| self.uses(tensor, outputs) > 0) {
                self.stages[stage].is_gone = true;
            }
        }
    }

    /// A layer of Keras for what stands for one.
    fn settle(&mut self, stage: usize) -> Result<(), SaveError> {
        let own = &mut self.stages[stage];
        let is_scale = match own.class {
            SCALE => true,
            SHIFT => false,
            _ => return Ok(()),
        };
        let arrays = std::mem::take(&mut own.weights);
        let (scale, shift) = match (is_scale, &arrays[..]) {
            (true, [scale]) => (Some(scale), None),
            (true, [scale, shift]) => (Some(scale), Some(shift)),
            (_, [shift]) => (None, Some(shift)),
            _ => return Ok(()),
        };
        let known = scale.or(shift).map_or(0, ArrayD::ndim);
        if known == 0 {
            let number = |array: Option<&ArrayD<f32>>, default: f32| {
                let value = array.and_then(|array| array.iter().next().copied());
                tidy(value.unwrap_or(default))
            };
            own.class = "Rescaling";
            own.config = json!({"scale": number(scale, 1.0), "offset": number(shift, 0.0)});
            return Ok(());
        }
        // (x − 0) / √(1 + 0) · scale + shift
        let size = scale.or(shift).map_or(0, ArrayD::len);
        own.class = "BatchNormalization";
        own.config = json!({
            "axis": -1, "epsilon": 0.0, "scale": scale.is_some(), "center": shift.is_some(),
        });
        let (mean, variance) = (ArrayD::zeros(vec![size]), ArrayD::ones(vec![size]));
        let affine = [scale.cloned(), shift.cloned()];
        own.weights = affine
            .into_iter()
            .flatten()
            .chain([mean, variance])
            .collect();
        Ok(())
    }
}
