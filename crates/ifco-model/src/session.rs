//! A model step by step, for streams that have no end: sound, sensors, keystrokes.
//!
//! [`Model::session`] asks each layer for its [`Step`] ([`Layer::stream`](crate::Layer::stream));
//! a [`Session`] owns these and the values between them. The weights stay shared with the model.

mod error;
mod graph;
mod step;

pub use error::{NotStreamable, SessionError};
pub(crate) use graph::{StepGraph, needed};
pub(crate) use step::copy;
pub use step::{Step, StepShape, Streamed, Time};

use crate::graph::Source;
use crate::{Model, Port, display_shape};

/// One stream through a [`Model`]: takes the values of a step, gives those that come out.
///
/// What comes out of step t is what `predict` gives for the last step of the sequence up to t:
/// for a model that returns sequences its output at t, and for one that returns the last output
/// the output as if the sequence ended there.
///
/// A session owns its states, starts with zeros, and shares the weights with the model and with
/// all other sessions of it; it may be sent to another thread and outlive the model. What stateful
/// layers of the model remember has nothing to do with it.
///
/// ```
/// use ifco_model::{Generation, Model};
/// use ndarray::array;
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3, 1]}},
///     {"class_name": "SimpleRNN", "config": {
///         "name": "sum", "units": 1, "activation": "linear", "use_bias": false,
///     }},
///     {"class_name": "Rescaling", "config": {"name": "scaled", "scale": 0.5}},
/// ]}});
/// let mut model = Model::from_config(&json, Generation::Keras3)?;
/// let one = || array![[1.0]].into_dyn();
/// model.set_weights(vec![one(), one()])?; // h' = x + h
///
/// let mut session = model.session()?;
/// assert_eq!((session.input_len(), session.output_len()), (1, 1));
/// assert_eq!(session.step(&[1.0]), [0.5]);
/// assert_eq!(session.step(&[2.0]), [1.5]);
/// assert_eq!(session.step(&[3.0]), [3.0]); // predict([[[1], [2], [3]]])
/// assert_eq!(session.step(&[4.0]), [5.0]); // and on and on
///
/// let states = session.states();
/// assert_eq!(states, [("sum/h".to_string(), &[10.0][..])]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session {
    graph: StepGraph,
    input: StepShape,
    output: StepShape,
}

impl Model {
    /// A new stream through the model, step by step along its time axis.
    ///
    /// The model has one input `(batch, time, …)` or, of an embedding's indices,
    /// `(batch, time)`, and one output; every layer computes each step from that step and what it
    /// remembers: recurrent layers, Dense, activations, normalizations at inference, Embedding,
    /// TimeDistributed, causal Conv1D, merges of steps, and models of these.
    ///
    /// # Errors
    /// When the model has several inputs or outputs or no weights, or a layer needs more than
    /// the steps so far, as Bidirectional does; the error names it.
    ///
    /// See [`Session`] for an example.
    pub fn session(&self) -> Result<Session, SessionError> {
        let [output] = self.output_sources[..] else {
            let names: Vec<&str> = self.outputs().iter().map(|port| &port.name[..]).collect();
            let why = format!("it has {} outputs, and a stream has one", names.len());
            let help = format!("name one of them: {}", names.join(", "));
            return Err(SessionError::Model(NotStreamable::new(why).help(help)));
        };
        self.session_to(output)
    }

    /// The same for one of several outputs. Layers that it does not need are no part of the
    /// session, and may be such as cannot be streamed.
    ///
    /// # Errors
    /// As for [`session`](Self::session), and when there is no such output.
    ///
    /// ```
    /// # use ifco_model::{Generation, Model};
    /// # let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    /// #     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3, 1]}},
    /// #     {"class_name": "ReLU", "config": {"name": "rectified"}},
    /// # ]}});
    /// # let model = Model::from_config(&json, Generation::Keras3)?;
    /// let mut session = model.session_for("rectified")?;
    /// assert_eq!(session.step(&[-1.0]), [0.0]);
    /// let error = model.session_for("lstm").unwrap_err();
    /// assert!(error.to_string().ends_with("it has no output \"lstm\""));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn session_for(&self, output: &str) -> Result<Session, SessionError> {
        let ports = self.outputs().iter();
        let named = ports
            .zip(&self.output_sources)
            .find(|(port, _)| port.name == output);
        let (_, source) = named.ok_or_else(|| {
            let names: Vec<&str> = self.outputs().iter().map(|port| &port.name[..]).collect();
            let why = NotStreamable::new(format!("it has no output {output:?}"));
            SessionError::Model(why.help(format!("its outputs are: {}", names.join(", "))))
        })?;
        self.session_to(*source)
    }

    fn session_to(&self, output: Source) -> Result<Session, SessionError> {
        let (index, input) = self.one_input(&needed(self, output))?;
        let fed = self.input_sources[index];
        let graph = StepGraph::new(self, fed, input.clone(), output)?;
        let output = graph.output_shape().unwrap_or(&input).clone();
        Ok(Session {
            graph,
            input,
            output,
        })
    }

    /// The one input among the nodes that are needed, and what its steps are.
    pub(crate) fn one_input(&self, needed: &[bool]) -> Result<(usize, StepShape), SessionError> {
        let inputs = self.input_sources.iter().zip(self.inputs()).enumerate();
        let inputs: Vec<_> = inputs
            .filter(|(_, (source, _))| needed[source.node])
            .collect();
        let [(index, (_, port))] = inputs[..] else {
            let names: Vec<&str> = inputs.iter().map(|(_, (_, port))| &port.name[..]).collect();
            let why = NotStreamable::new(format!(
                "it takes {} inputs ({}), and a stream has one",
                names.len(),
                names.join(", ")
            ));
            let help = "join the inputs to one in Keras, with their features side by side";
            return Err(SessionError::Model(why.help(help)));
        };
        Ok((index, step_of(port)?))
    }

    /// The model as a layer: its one output for its one input.
    pub(crate) fn stream_inside(&self, input: &StepShape) -> Result<StepGraph, SessionError> {
        match (&self.input_sources[..], &self.output_sources[..]) {
            ([fed], [output]) => StepGraph::new(self, *fed, input.clone(), *output),
            (inputs, outputs) => Err(SessionError::Model(NotStreamable::new(format!(
                "it has {} inputs and {} outputs, and a stream has one of each",
                inputs.len(),
                outputs.len()
            )))),
        }
    }
}

/// One step of a model's input.
fn step_of(port: &Port) -> Result<StepShape, SessionError> {
    let refuse = |reason: String| {
        let help = "build the model in Keras with an Input of shape (time, features), where \
                    time may be None";
        SessionError::Model(NotStreamable::new(reason).help(help))
    };
    let shape = port.shape.as_ref();
    let shape = shape.ok_or_else(|| refuse("the shape of its input is not known".into()))?;
    let (Some(time), Some(sizes)) = (shape.get(port.time_axis()), shape.get(2..)) else {
        return Err(refuse(format!(
            "its input has the shape {}, which has no time axis",
            display_shape(shape)
        )));
    };
    let sizes: Option<Vec<usize>> = sizes.iter().copied().collect();
    let sizes = sizes.ok_or_else(|| {
        refuse(format!(
            "its input has the shape {}, which leaves open how many values a step has",
            display_shape(shape)
        ))
    })?;
    crate::layers::elements(&sizes).map_err(|error| SessionError::Model(error.into()))?;
    Ok(StepShape {
        sizes,
        time: Time::Steps(*time),
        masked: false,
    })
}

impl Session {
    /// Takes one step: `x` holds [`input_len`](Self::input_len) values, what comes out
    /// [`output_len`](Self::output_len).
    ///
    /// In real time: it allocates nothing, takes no lock, makes no system call and does not
    /// panic. Therefore values that are wrong are no error here ([`check`](Self::check) tells):
    /// missing ones count as zeros, those beyond `input_len` are ignored, and an index that an
    /// Embedding does not have gives zeros, as TensorFlow does on a GPU.
    ///
    /// A step that the model masks (by Masking, or by index 0 with `mask_zero=True`) leaves the
    /// states of recurrent layers as they are, and these repeat their output.
    pub fn step(&mut self, x: &[f32]) -> &[f32] {
        self.graph.run(x, true);
        self.graph.output()
    }

    /// Whether `x` is a step that the model can take: as many values as it has, and indices that
    /// an Embedding at its beginning has. Not for real time: an error's text takes memory.
    ///
    /// # Errors
    /// When it is not, with what would be right.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::Array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null]}},
    ///     {"class_name": "Embedding", "config": {"name": "letters", "input_dim": 26, "output_dim": 2}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// model.set_weights(vec![Array::ones((26, 2)).into_dyn()])?;
    /// let session = model.session()?;
    /// assert!(session.check(&[25.0]).is_ok());
    /// let error = session.check(&[26.0]).unwrap_err();
    /// assert_eq!(error.to_string(), "the index 26, expected a whole number from 0 to 25");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, x: &[f32]) -> Result<(), SessionError> {
        let values = |count: usize| match count {
            1 => "1 value".to_string(),
            count => format!("{count} values"),
        };
        if x.len() != self.input_len() {
            return Err(SessionError::Input {
                found: values(x.len()),
                expected: values(self.input_len()),
            });
        }
        Step::check(&self.graph, x)
            .map_err(|(found, expected)| SessionError::Input { found, expected })
    }

    /// Begins a new stream: all states are zeros again. As fit for real time as
    /// [`step`](Self::step).
    pub fn reset(&mut self) {
        self.graph.reset();
    }

    /// Everything that the session remembers, by the names of the layers: `lstm/h` and `lstm/c`,
    /// `rnn/0/h` of stacked cells, `encoder/lstm/h` inside a nested model; where steps may be
    /// masked also `lstm/output`, which a masked step repeats.
    ///
    /// Not for real time: the list and its names take memory.
    pub fn states(&self) -> Vec<(String, &[f32])> {
        self.graph.states()
    }

    /// Goes on from states that [`states`](Self::states) gave, in any order. Not for real time.
    ///
    /// # Errors
    /// When one is missing, unknown, given twice or of another length; then nothing has changed.
    ///
    /// ```
    /// # use ifco_model::{Generation, Model};
    /// # use ndarray::array;
    /// # let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    /// #     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3, 1]}},
    /// #     {"class_name": "SimpleRNN", "config": {
    /// #         "name": "sum", "units": 1, "activation": "linear", "use_bias": false}},
    /// # ]}});
    /// # let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// # model.set_weights(vec![array![[1.0]].into_dyn(), array![[1.0]].into_dyn()])?;
    /// let mut session = model.session()?; // h' = x + h
    /// session.set_states([("sum/h", &[100.0][..])])?;
    /// assert_eq!(session.step(&[1.0]), [101.0]);
    ///
    /// let error = session.set_states([("lstm/h", &[100.0][..])]).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "the states do not fit the model: \"lstm/h\", expected sum/h (1)",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_states<'a>(
        &mut self,
        states: impl IntoIterator<Item = (&'a str, &'a [f32])>,
    ) -> Result<(), SessionError> {
        let mut own = self.graph.states_mut();
        let mut pairs: Vec<(usize, &[f32])> = Vec::new();
        let mut wrong = None;
        for (name, values) in states {
            let index = own.iter().position(|(known, _)| known == name);
            match index {
                Some(index) if own[index].1.len() != values.len() => {
                    wrong = Some(format!("{name:?} with {} values", values.len()));
                }
                Some(index) if pairs.iter().any(|(other, _)| *other == index) => {
                    wrong = Some(format!("{name:?} twice"));
                }
                Some(index) => pairs.push((index, values)),
                None => wrong = Some(format!("{name:?}")),
            }
            if wrong.is_some() {
                break;
            }
        }
        if wrong.is_none() {
            let missing =
                (0..own.len()).find(|index| pairs.iter().all(|(other, _)| other != index));
            wrong = missing.map(|index| format!("no {:?}", own[index].0));
        }
        if let Some(found) = wrong {
            let names = own
                .iter()
                .map(|(name, values)| format!("{name} ({})", values.len()));
            let expected = match own.is_empty() {
                true => "none: the model remembers nothing".into(),
                false => names.collect::<Vec<_>>().join(", "),
            };
            return Err(SessionError::States { found, expected });
        }
        for (index, values) in pairs {
            copy(values, own[index].1);
        }
        Ok(())
    }

    /// How many values a step takes.
    pub fn input_len(&self) -> usize {
        self.input.len()
    }

    /// How many values a step gives.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// What a step takes: the sizes without batch and time, `[features]`, or `[]` for the index
    /// of an Embedding.
    pub fn input_shape(&self) -> &StepShape {
        &self.input
    }

    /// What a step gives.
    pub fn output_shape(&self) -> &StepShape {
        &self.output
    }

    /// By how many steps the output lags behind the input. 0: each layer that can be streamed
    /// answers a step at once; those that would have to wait for later steps are refused.
    pub fn latency(&self) -> usize {
        0
    }
}
