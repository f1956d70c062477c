//! What of a model's output is to be explained: one number for each row, and its gradient.

use ndarray::{ArrayViewD, Axis, IxDyn, Slice};

use crate::{Array, ModelError, Tensor};

/// One number that a model puts out for each row of its input: what a gradient is of, where there
/// is no loss. Of an output with more axes than `(batch, units)`, such as a sequence, the numbers
/// of all its steps are added up, of those that count where it has a mask.
///
/// ```
/// use ifco_model::{Target, Tensor, Unit};
/// use ndarray::array;
///
/// let output = Tensor::new(array![[0.5, 2.0], [3.0, 1.0]].into_dyn()); // (batch, units)
/// let largest = Target { unit: Unit::Largest, ..Target::default() };
/// assert_eq!(largest.values(std::slice::from_ref(&output))?, [2.0, 3.0]);
/// let gradient = largest.gradients(&[output])?.remove(0).unwrap();
/// assert_eq!(gradient.view(), array![[0.0, 1.0], [1.0, 0.0]].into_dyn());
/// # Ok::<(), ifco_model::ModelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// Which of the model's outputs.
    pub output: usize,
    /// What of its units, the last axis.
    pub unit: Unit,
    /// Which step of a sequence `(batch, time, …)`, from the last one where it is negative; all of
    /// them without.
    pub step: Option<isize>,
}

/// What of an output's units is the [`Target`].
///
/// ```
/// use ifco_model::{Target, Unit};
/// assert_eq!(Target::default().unit, Unit::Sum);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// The sum of all. Of a softmax it is always 1, so that its gradient is nothing.
    #[default]
    Sum,
    /// The largest one, of each step: the class that a classifier predicts.
    Largest,
    /// The one of this number.
    Number(usize),
}

impl Target {
    /// The whole of the first output, as the largest unit where it looks like a softmax, whose sum
    /// says nothing: it has several units, none of them negative, which always add up to 1.
    ///
    /// ```
    /// use ifco_model::{Target, Tensor, Unit};
    /// use ndarray::array;
    ///
    /// let softmax = Tensor::new(array![[0.25, 0.75], [0.5, 0.5]].into_dyn());
    /// assert_eq!(Target::fitting(&[softmax]).unit, Unit::Largest);
    /// let series = Tensor::new(array![[0.25, 1.75]].into_dyn());
    /// assert_eq!(Target::fitting(&[series]).unit, Unit::Sum);
    /// ```
    pub fn fitting(outputs: &[Tensor]) -> Self {
        let is_softmax = outputs.first().is_some_and(|output| {
            let data = &output.data;
            let units = data.shape().last().copied().unwrap_or(1);
            let adds_up = |units: ndarray::ArrayView1<'_, f32>| {
                units.iter().all(|value| *value >= 0.0) && (units.sum() - 1.0).abs() < 1e-3
            };
            data.ndim() > 1 && units > 1 && {
                let last = Axis(data.ndim() - 1);
                data.lanes(last).into_iter().all(adds_up)
            }
        });
        Self {
            unit: if is_softmax { Unit::Largest } else { Unit::Sum },
            ..Self::default()
        }
    }

    /// The number of each row.
    ///
    /// # Errors
    /// When there is no such output, unit or step.
    pub fn values(&self, outputs: &[Tensor]) -> Result<Vec<f32>, ModelError> {
        Ok(Self::weighed(&self.gradients(outputs)?, outputs))
    }

    /// The numbers of the rows by their gradients: they are linear in the outputs.
    pub(crate) fn weighed(gradients: &[Option<Array>], outputs: &[Tensor]) -> Vec<f32> {
        let chosen = gradients.iter().zip(outputs);
        let chosen = chosen.filter_map(|(gradient, output)| Some((gradient.as_ref()?, output)));
        let rows = chosen.flat_map(|(gradient, output)| {
            let rows = gradient.outer_iter().zip(output.data.outer_iter());
            let weigh = |(of, row): (ArrayViewD<'_, f32>, ArrayViewD<'_, f32>)| {
                let pairs = of.iter().zip(&row).filter(|(of, _)| **of != 0.0);
                pairs.map(|(of, value)| of * value).sum::<f32>()
            };
            rows.map(weigh).collect::<Vec<f32>>()
        });
        rows.collect()
    }

    /// The gradient of the rows' numbers, all added up, by each output: what
    /// [`Model::trace_gradient`](crate::Model::trace_gradient) and
    /// [`Model::gradients`](crate::Model::gradients) ask for.
    ///
    /// # Errors
    /// When there is no such output, unit or step.
    pub fn gradients(&self, outputs: &[Tensor]) -> Result<Vec<Option<Array>>, ModelError> {
        let refuse = |what: String| Err(ModelError::Inputs(what));
        let Some(output) = outputs.get(self.output) else {
            return refuse(format!(
                "there is no output {}: the model has {}, counted from 0",
                self.output,
                outputs.len()
            ));
        };
        let shape = output.shape();
        let units = match shape {
            [_, .., units] => *units,
            _ => 1,
        };
        if let Unit::Number(unit) = self.unit
            && unit >= units
        {
            return refuse(format!(
                "there is no unit {unit} in an output of {units}, counted from 0"
            ));
        }
        let mut gradient = Array::zeros(shape.to_vec());
        let steps = match (self.step, shape) {
            (None, _) => None,
            (Some(step), [_, time, _, ..]) => {
                let at = if step < 0 {
                    step + *time as isize
                } else {
                    step
                };
                match usize::try_from(at).ok().filter(|at| at < time) {
                    Some(at) => Some(at),
                    None => {
                        return refuse(format!("there is no step {step} in an output of {time}"));
                    }
                }
            }
            (Some(step), _) => {
                return refuse(format!(
                    "there is no step {step}: the output is no sequence, but of shape {shape:?}"
                ));
            }
        };
        self.choose(output.view(), units, &mut gradient);
        if let Some(step) = steps {
            let mut only = Array::zeros(shape.to_vec());
            let own = Slice::from(step..step + 1);
            only.slice_axis_mut(Axis(1), own)
                .assign(&gradient.slice_axis(Axis(1), own));
            gradient = only;
        } else if let Some(mask) = &output.mask
            && shape.len() > 2
            && shape.starts_with(mask.shape())
        {
            // It was made here, in standard order.
            let each = (gradient.len() / mask.len().max(1)).max(1);
            let values = gradient.as_slice_mut().unwrap_or_default();
            for (step, counts) in values.chunks_mut(each).zip(mask) {
                if !counts {
                    step.fill(0.0);
                }
            }
        }
        let mut gradients = vec![None; outputs.len()];
        gradients[self.output] = Some(gradient);
        Ok(gradients)
    }

    /// Puts a 1 wherever a unit counts.
    fn choose(&self, output: ArrayViewD<'_, f32>, units: usize, gradient: &mut Array) {
        if units == 0 {
            return;
        }
        let flat = |len: usize| IxDyn(&[len / units, units]);
        let (Ok(output), Ok(mut chosen)) = (
            output.to_shape(flat(output.len())),
            gradient
                .view_mut()
                .into_shape_with_order(flat(output.len())),
        ) else {
            return;
        };
        for (position, mut chosen) in output.outer_iter().zip(chosen.outer_iter_mut()) {
            let unit = match self.unit {
                Unit::Sum => {
                    chosen.fill(1.0);
                    continue;
                }
                Unit::Number(unit) => unit,
                Unit::Largest => {
                    let values = position.iter().enumerate();
                    let largest = values.fold((0, f32::NEG_INFINITY), |most, (unit, value)| {
                        if *value > most.1 {
                            (unit, *value)
                        } else {
                            most
                        }
                    });
                    largest.0
                }
            };
            chosen[[unit]] = 1.0;
        }
    }
}
