//! A recurrent layer step by step, for streams: nothing is allocated after construction.
//!
//! A [`Session`] holds the states of one stream, and shares the layer's weights with all other
//! sessions of it. [`Session::step`] is made for threads that must not wait, such as a sound
//! card's callback: it allocates nothing, takes no lock, makes no system call and cannot panic.

use crate::engine::Stepper;
use crate::{Activation, Cell, ForwardError, RecurrentLayer};

/// A layer that cannot be run step by step.
///
/// ```
/// use ifco_cell::{
///     Activation, RecurrentLayer, SequenceOptions, SessionError, SimpleRnnCell, SimpleRnnWeights,
/// };
/// use ndarray::Array2;
///
/// let weights = SimpleRnnWeights::new(Array2::zeros((1, 1)), Array2::zeros((1, 1)), None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Tanh);
/// let options = SequenceOptions { go_backwards: true, ..SequenceOptions::default() };
/// let error = RecurrentLayer::new(vec![cell.into()], options)?.session().unwrap_err();
/// assert_eq!(error, SessionError::GoBackwards);
/// assert!(error.help().contains("go_backwards=False"));
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// `go_backwards=True`.
    #[error("it reads its sequences from the end (go_backwards=True), and a stream has no end")]
    GoBackwards,
    /// An activation that takes memory whenever it is applied.
    #[error("its activation sparsemax sorts a copy of its values, which takes memory at each step")]
    Sparsemax,
}

impl SessionError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            SessionError::GoBackwards => {
                "run whole sequences instead, or train the layer with go_backwards=False"
            }
            SessionError::Sparsemax => {
                "run whole sequences instead, or train the layer with softmax"
            }
        }
    }
}

/// One stream through a [`RecurrentLayer`]: its states, and room for one step's arithmetic.
///
/// Made by [`RecurrentLayer::session`]. The states start as zeros. Sessions of one layer share its
/// weights; each is independent of the others and of the layer, may be sent to another thread,
/// and may be cloned to branch off a stream where it is.
///
/// ```
/// use ifco_cell::{
///     Activation, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights,
/// };
/// use ndarray::array;
///
/// let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
///
/// let mut session = layer.session()?;
/// assert_eq!(session.step(&[1.0]), [1.0]);
/// assert_eq!(session.step(&[2.0]), [3.0]);
///
/// let mut branch = session.clone();
/// assert_eq!(branch.step(&[10.0]), [13.0]);
/// assert_eq!(session.step(&[0.5]), [3.5]);
///
/// session.reset();
/// assert_eq!(session.step(&[2.0]), [2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Session {
    stepper: Stepper,
    zero_output_for_mask: bool,
    /// The step's input, of the right length whatever the caller gives.
    x: Vec<f32>,
    /// What the latest step put out: not always h (see [`Session::skip`]).
    output: Vec<f32>,
}

impl RecurrentLayer {
    /// A new stream through the layer, with states of zeros.
    ///
    /// `return_sequences` is of no matter to it: each step returns its output.
    ///
    /// # Errors
    /// When the layer reads backward, or has an activation that needs memory at each step.
    ///
    /// See [`Session`] for an example.
    pub fn session(&self) -> Result<Session, SessionError> {
        if self.options.go_backwards {
            return Err(SessionError::GoBackwards);
        }
        if self.cells().iter().any(has_sparsemax) {
            return Err(SessionError::Sparsemax);
        }
        Ok(Session {
            stepper: self.stepper(),
            zero_output_for_mask: self.options.zero_output_for_mask,
            x: vec![0.0; self.features()],
            output: vec![0.0; self.units()],
        })
    }
}

fn has_sparsemax(cell: &Cell) -> bool {
    let activations = match cell {
        Cell::Lstm(cell) => [cell.activation(), cell.recurrent_activation()],
        Cell::Gru(cell) => [cell.activation(), cell.recurrent_activation()],
        Cell::SimpleRnn(cell) => [cell.activation(); 2],
    };
    activations.contains(&Activation::Sparsemax)
}

impl Session {
    /// Takes one step: `x` holds `features` values, the output `units`.
    ///
    /// In real time: it allocates nothing, takes no lock, makes no system call and does not
    /// panic. Therefore an `x` of another length is no error: missing values count as zeros, and
    /// values beyond the last feature are ignored.
    pub fn step(&mut self, x: &[f32]) -> &[f32] {
        Self::take(&mut self.stepper, &mut self.x, x, &mut self.output);
        &self.output
    }

    /// [`step`](Self::step) with the output where the caller wants it, instead of in the session:
    /// for streams without masked steps, as [`skip`](Self::skip) would repeat an older one.
    ///
    /// It is as fit for real time: places beyond `units` become zeros, and too few are left as they
    /// are.
    ///
    /// ```
    /// # use ifco_cell::*;
    /// # use ndarray::array;
    /// # let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
    /// # let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
    /// # let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let mut session = layer.session()?;
    /// let mut h = [0.0];
    /// session.step_into(&[1.0], &mut h);
    /// session.step_into(&[2.0], &mut h);
    /// assert_eq!(h, [3.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn step_into(&mut self, x: &[f32], out: &mut [f32]) {
        match out.split_at_mut_checked(self.output.len()) {
            Some((out, beyond)) => {
                Self::take(&mut self.stepper, &mut self.x, x, out);
                beyond.fill(0.0);
            }
            None => {
                self.step(x);
            }
        }
    }

    /// A step of the cells, `out` having their units.
    fn take(stepper: &mut Stepper, own: &mut [f32], x: &[f32], out: &mut [f32]) {
        if x.len() == own.len() {
            stepper.step(x, out);
        } else {
            own.fill(0.0);
            own.iter_mut().zip(x).for_each(|(own, x)| *own = *x);
            stepper.step(own, out);
        }
    }

    /// Takes a step that is masked, as Keras does: the states stay as they are, and the output
    /// is that of the step before (zeros before the first step); with `zero_output_for_mask` it
    /// is zeros.
    ///
    /// It is as fit for real time as [`step`](Self::step).
    ///
    /// ```
    /// # use ifco_cell::*;
    /// # use ndarray::array;
    /// # let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
    /// # let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
    /// # let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let mut session = layer.session()?;
    /// assert_eq!(session.skip(), [0.0]);
    /// assert_eq!(session.step(&[2.0]), [2.0]);
    /// assert_eq!(session.skip(), [2.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn skip(&mut self) -> &[f32] {
        if self.zero_output_for_mask {
            self.output.fill(0.0);
        }
        &self.output
    }

    /// The output of the latest step, `units` values; zeros before the first.
    pub fn output(&self) -> &[f32] {
        &self.output
    }

    /// Begins a new stream: states and output are zeros again. Fit for real time.
    pub fn reset(&mut self) {
        let (states, output) = self.memory_mut();
        states.for_each(|state| state.fill(0.0));
        output.fill(0.0);
    }

    /// The states in Keras's order: for each cell h, and c for an LSTM, `units` values each.
    ///
    /// ```
    /// # use ifco_cell::*;
    /// # use ndarray::{Array1, Array2};
    /// # let weights = LstmWeights::new(
    /// #     Array2::ones((1, 8)), Array2::zeros((2, 8)), Some(Array1::zeros(8)))?;
    /// # let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
    /// # let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let mut session = layer.session()?; // of one LSTM with 2 units
    /// session.step(&[1.0]);
    /// let saved: Vec<Vec<f32>> = session.states().map(<[f32]>::to_vec).collect();
    /// assert_eq!(saved.len(), 2); // h and c
    ///
    /// let next = session.step(&[1.0]).to_vec();
    /// session.set_states(&[&saved[0], &saved[1]])?;
    /// assert_eq!(session.step(&[1.0]), next);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn states(&self) -> impl Iterator<Item = &[f32]> {
        self.stepper.states()
    }

    /// The states, to be written to, in the order of [`states`](Self::states), and the latest
    /// output, which a masked step repeats.
    pub fn memory_mut(&mut self) -> (impl Iterator<Item = &mut [f32]>, &mut [f32]) {
        (self.stepper.states_mut(), &mut self.output)
    }

    /// Goes on from other states, in the order of [`states`](Self::states). What a masked step
    /// repeats stays as it is. Nothing is allocated where the shapes are right.
    ///
    /// # Errors
    /// When the arrays are not as many as the states, or one has not `units` values; then all
    /// states stay as they were.
    pub fn set_states(&mut self, states: &[&[f32]]) -> Result<(), ForwardError> {
        let count = self.states().count();
        if states.len() != count {
            return Err(ForwardError {
                what: "states".into(),
                found: vec![states.len()],
                expected: format!("{count} arrays: for each cell h, and c for an LSTM"),
            });
        }
        for (k, (own, new)) in self.states().zip(states).enumerate() {
            if own.len() != new.len() {
                return Err(ForwardError {
                    what: format!("states[{k}]"),
                    found: vec![new.len()],
                    expected: format!("({},): (units,)", own.len()),
                });
            }
        }
        for (own, new) in self.memory_mut().0.zip(states) {
            own.copy_from_slice(new);
        }
        Ok(())
    }

    /// How many values a step takes: the features of the first cell.
    pub fn features(&self) -> usize {
        self.x.len()
    }

    /// How many values a step gives: the units of the last cell.
    pub fn units(&self) -> usize {
        self.output.len()
    }
}
