//! What an optimizer remembers, in the order in which Keras saves it.
//!
//! ```text
//! iteration, [learning_rate, unless a schedule gives it], [average …] with use_ema,
//! [gradient_accumulator …] with gradient_accumulation_steps, slots …, [Nadam's product]
//! ```

use ndarray::{ArrayD, IxDyn};

use super::gradients::Gradients;
use super::kind::Slot;
use super::rules::{self, Step};
use super::{LearningRate, OptimizerKind, OptimizerOptions, Parameter};
use crate::TrainError;
use crate::arrays::standard;

/// One of an optimizer's variables.
#[derive(Debug, Clone, PartialEq)]
pub struct StateVariable {
    /// Keras's name, such as `adam/lstm_lstm_cell_kernel_momentum`.
    pub name: String,
    /// What it holds.
    pub value: StateValue,
}

/// The value of one of an optimizer's variables.
#[derive(Debug, Clone, PartialEq)]
pub enum StateValue {
    /// How many steps were made: an `int64` in Keras's files.
    Count(i64),
    /// Anything else, `float32`.
    Numbers(ArrayD<f32>),
}

/// A file that claims to have made more steps than this lies, and they can still be counted on.
const MOST_STEPS: i64 = 1 << 53;

/// A slot's name and its array for each parameter.
type SlotArrays = (&'static str, Vec<ArrayD<f32>>);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub iteration: i64,
    parameters: Vec<(String, Vec<usize>)>,
    averages: Vec<ArrayD<f32>>,
    pub accumulated: Vec<ArrayD<f32>>,
    /// Groups of slots; of each slot one array a parameter.
    groups: Vec<Vec<SlotArrays>>,
    /// Nadam's.
    u_product: Option<f32>,
}

impl State {
    pub fn new(
        kind: &OptimizerKind,
        options: &OptimizerOptions,
        parameters: Vec<(String, Vec<usize>)>,
    ) -> Self {
        let filled = |value: f32| {
            let array = |(_, shape): &(_, Vec<usize>)| ArrayD::from_elem(IxDyn(shape), value);
            parameters.iter().map(array).collect::<Vec<_>>()
        };
        let group = |slots: Vec<Slot>| {
            slots
                .into_iter()
                .map(|(name, first)| (name, filled(first)))
                .collect()
        };
        let accumulates = options.gradient_accumulation_steps.is_some();
        Self {
            iteration: 0,
            averages: if options.use_ema {
                filled(0.0)
            } else {
                Vec::new()
            },
            accumulated: if accumulates { filled(0.0) } else { Vec::new() },
            groups: kind.slots().into_iter().map(group).collect(),
            u_product: matches!(kind, OptimizerKind::Nadam { .. }).then_some(1.0),
            parameters,
        }
    }

    /// Whether a step is about the parameters that this was made for.
    pub fn check(&self, parameters: &[Parameter<'_>]) -> Result<(), TrainError> {
        if parameters.len() != self.parameters.len() {
            return Err(TrainError::Parameters(format!(
                "was built for {} parameters, not {}",
                self.parameters.len(),
                parameters.len()
            )));
        }
        for (parameter, (name, shape)) in parameters.iter().zip(&self.parameters) {
            let wrong = |what: &str, found: &[usize]| {
                let expected = format!("{shape:?}, as it was built");
                Err(TrainError::shape(format!("{what} {name}"), found, expected))
            };
            if parameter.values.shape() != shape {
                return wrong("parameter", parameter.values.shape());
            }
            match &parameter.gradient {
                Some(gradient) if gradient.shape() != shape => {
                    return wrong("the gradient of", gradient.shape());
                }
                _ => {}
            }
            match &parameter.squares {
                Some(squares) if squares.shape() != shape => {
                    return wrong("the gradient's squares of", squares.shape());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves each parameter that has a gradient.
    pub fn update(
        &mut self,
        kind: &OptimizerKind,
        options: &OptimizerOptions,
        learning_rate: f32,
        updates: i64,
        parameters: &mut [Parameter<'_>],
        gradients: &Gradients<'_>,
    ) {
        if let (OptimizerKind::Nadam { beta_1, .. }, Some(product)) = (kind, &mut self.u_product) {
            let decay = 1.0 - 0.5 * 0.96_f32.powf((updates + 1) as f32);
            *product = *product * *beta_1 as f32 * decay;
        }
        let step = Step {
            learning_rate,
            updates,
            u_product: self.u_product.unwrap_or(1.0),
        };
        let decay = options.weight_decay.map(|decay| decay as f32);
        // Clipping and accumulating make one gradient of those of a row.
        let are_apart = options.clip.is_none()
            && options.gradient_accumulation_steps.is_none()
            && options.loss_scale_factor.is_none();
        for (index, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            let Some(gradient) = gradient else { continue };
            let mut slots: Vec<&mut [f32]> = Vec::with_capacity(3);
            for (_, arrays) in self.groups.iter_mut().flatten() {
                // Made by us, and so in row-major order.
                slots.extend(arrays[index].as_slice_mut());
            }
            let squares = parameter.squares.take().filter(|_| are_apart);
            let squares = squares.as_ref().map(standard);
            let squares = squares.as_deref();
            let mut move_values = |w: &mut [f32]| {
                if let Some(decay) = decay {
                    w.iter_mut().for_each(|w| *w -= *w * decay * learning_rate);
                }
                rules::update(kind, &step, w, (gradient, squares), &mut slots);
            };
            match parameter.values.as_slice_mut() {
                Some(values) => move_values(values),
                None => {
                    let mut values: Vec<f32> = parameter.values.iter().copied().collect();
                    move_values(&mut values);
                    for (w, moved) in parameter.values.iter_mut().zip(values) {
                        *w = moved;
                    }
                }
            }
        }
    }

    /// average = μ average + (1 − μ) w, with μ = 0 before the first update.
    pub fn average(
        &mut self,
        options: &OptimizerOptions,
        updates: i64,
        parameters: &mut [Parameter<'_>],
    ) {
        let momentum = if updates == 0 {
            0.0
        } else {
            options.ema_momentum as f32
        };
        for (parameter, average) in parameters.iter().zip(&mut self.averages) {
            for (average, w) in average.iter_mut().zip(&parameter.values) {
                *average = momentum * *average + (1.0 - momentum) * w;
            }
        }
        match options.ema_overwrite_frequency {
            Some(every) if (updates + 1) % every as i64 == 0 => self.overwrite(parameters),
            _ => {}
        }
    }

    /// Puts the averages into the parameters.
    pub fn overwrite(&self, parameters: &mut [Parameter<'_>]) {
        for (parameter, average) in parameters.iter_mut().zip(&self.averages) {
            parameter.values.assign(average);
        }
    }

    pub fn variables(&self, optimizer: &str, options: &OptimizerOptions) -> Vec<StateVariable> {
        let variable = |name: &str, value| StateVariable {
            name: format!("{optimizer}/{name}"),
            value,
        };
        let scalar = |x: f32| StateValue::Numbers(ArrayD::from_elem(IxDyn(&[]), x));
        let mut all = vec![variable("iteration", StateValue::Count(self.iteration))];
        if let LearningRate::Constant(rate) = options.learning_rate {
            all.push(variable("learning_rate", scalar(rate)));
        }
        let of_parameter = |index: usize, slot: &str, array: &ArrayD<f32>| {
            let path = self.parameters[index].0.replace('/', "_");
            variable(
                &format!("{path}_{slot}"),
                StateValue::Numbers(array.clone()),
            )
        };
        for (slot, arrays) in [
            ("average", &self.averages),
            ("gradient_accumulator", &self.accumulated),
        ] {
            all.extend(
                arrays
                    .iter()
                    .enumerate()
                    .map(|(i, array)| of_parameter(i, slot, array)),
            );
        }
        for group in &self.groups {
            for index in 0..self.parameters.len() {
                let slots = group.iter();
                all.extend(slots.map(|(slot, arrays)| of_parameter(index, slot, &arrays[index])));
            }
        }
        all.extend(self.u_product.map(|product| StateVariable {
            name: "variable".into(),
            value: scalar(product),
        }));
        all
    }

    /// Takes values in the order of [`variables`](Self::variables); returns the learning rate if
    /// one is among them.
    pub fn set(
        &mut self,
        expected: &[StateVariable],
        values: &[StateValue],
    ) -> Result<Option<f32>, TrainError> {
        let wrong = |index: usize, problem: String| TrainError::State {
            index,
            name: expected
                .get(index)
                .map_or("none", |variable| &variable.name)
                .into(),
            problem,
        };
        let mut numbers = Vec::with_capacity(values.len());
        for (index, variable) in expected.iter().enumerate() {
            match (&variable.value, values.get(index)) {
                (_, None) => {
                    let problem = format!(
                        "is missing: there are {} of {}",
                        values.len(),
                        expected.len()
                    );
                    return Err(wrong(index, problem));
                }
                (StateValue::Count(_), Some(StateValue::Count(count)))
                    if (0..MOST_STEPS).contains(count) =>
                {
                    self.iteration = *count;
                }
                (StateValue::Numbers(own), Some(StateValue::Numbers(new)))
                    if own.shape() == new.shape() =>
                {
                    numbers.push(new);
                }
                (StateValue::Count(_), Some(_)) => {
                    return Err(wrong(index, "is no count of steps".into()));
                }
                (StateValue::Numbers(own), Some(StateValue::Numbers(new))) => {
                    let (new, own) = (new.shape(), own.shape());
                    return Err(wrong(index, format!("has shape {new:?}, expected {own:?}")));
                }
                (StateValue::Numbers(own), Some(StateValue::Count(_))) => {
                    let own = own.shape();
                    return Err(wrong(
                        index,
                        format!("is a whole number, expected {own:?} of f32"),
                    ));
                }
            }
        }
        if values.len() > expected.len() {
            let problem = format!("is one too many: {} expected", expected.len());
            return Err(wrong(expected.len(), problem));
        }
        let mut numbers = numbers.into_iter();
        let has_rate = expected
            .get(1)
            .is_some_and(|v| v.name.ends_with("/learning_rate"));
        let rate = if has_rate {
            numbers.next().and_then(|rate| rate.first().copied())
        } else {
            None
        };
        let arrays = self.averages.iter_mut().chain(&mut self.accumulated);
        for (own, new) in arrays.zip(&mut numbers) {
            own.assign(new);
        }
        for group in &mut self.groups {
            for index in 0..self.parameters.len() {
                for ((_, arrays), new) in group.iter_mut().zip(&mut numbers) {
                    arrays[index].assign(new);
                }
            }
        }
        if let (Some(product), Some(new)) = (&mut self.u_product, numbers.next()) {
            *product = new.first().copied().unwrap_or(1.0);
        }
        Ok(rate)
    }
}
