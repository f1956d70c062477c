//! The page on which one sees a model think: the packing of its weights, one step of a cell with its
//! numbers, the gates through time, and the model around them.
//!
//! [`Page`] holds the model and what it ran on. [`Page::answer`] is the page without a network:
//! a request in, an answer out. [`serve`] puts it on 127.0.0.1, [`Page::export`] into one file.

mod access;
mod answer;
mod assets;
mod export;
mod facts;
mod flow;
mod planes;
mod run;
mod serve;
mod text;
mod told;
mod work;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ifco_cell::Cell;
use ifco_model::{Model, ModelError, Port};
use ndarray::ArrayD;
use thiserror::Error;

pub use access::{Access, Denied};
pub use answer::{Answer, LARGEST_BODY, Request};
pub use serve::{ServeError, ServeOptions, serve};
pub use text::{TextError, Vocabulary};

use run::{Run, Runs};
use text::Writing;

/// A model, what it is shown at work on, and what it did.
///
/// ```
/// use ifco_model::{Generation, Model};
/// use ifco_view::page::Page;
/// use ndarray::{ArrayD, IxDyn};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"name": "tiny", "layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 3]}},
///     {"class_name": "LSTM", "config": {"name": "lstm", "units": 2}},
/// ]}});
/// let mut model = Model::from_config(&json, Generation::Keras3)?;
/// let zeros = |shape: &[usize]| ArrayD::zeros(IxDyn(shape));
/// model.set_weights(vec![zeros(&[3, 8]), zeros(&[2, 8]), zeros(&[8])])?;
///
/// let x = zeros(&[1, 7, 3]); // (batch, time, features)
/// let page = Page::of_model("tiny.keras", model).with_inputs(vec![x])?;
/// let html = page.export()?;
/// assert!(html.starts_with("<!doctype html>"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Page {
    /// The file's name.
    title: String,
    subject: Subject,
    /// See [`with_way_back`](Self::with_way_back).
    way_back: Option<Box<Model>>,
    /// One for each input of the model, `(batch, ...)`.
    inputs: Option<Vec<ArrayD<f32>>>,
    vocabulary: Option<Vocabulary>,
    labels: Labels,
    /// The row of the inputs that is shown first.
    row: usize,
    /// One run at a time: a stateful layer keeps its states in the model.
    running: Mutex<()>,
    /// How many runs wait to begin.
    waiting: AtomicUsize,
    /// Whether the model runs in stretches, once somebody has asked: see
    /// [`goes_on`](Self::goes_on).
    goes_on: OnceLock<Option<Vec<bool>>>,
    runs: Mutex<Runs>,
}

type LabelsOf = dyn Fn(usize, usize) -> Option<Vec<String>> + Send + Sync;

/// What the steps of a row are called.
#[derive(Default)]
struct Labels(Option<Box<LabelsOf>>);

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Labels").field(&self.0.is_some()).finish()
    }
}

impl Labels {
    fn of(&self, row: usize, steps: usize) -> Option<Vec<String>> {
        let labels = self.0.as_ref()?(row, steps)?;
        (labels.len() == steps).then_some(labels)
    }
}

#[derive(Debug)]
enum Subject {
    Model(Box<Model>),
    /// Weights alone: there are gates to see, and nothing to run.
    Weights(Vec<(String, Cell)>),
}

/// Why a page cannot be made, or a request on it not be answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PageError {
    /// The model cannot run on this input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A text is no input of the model.
    #[error("input {input:?}: {source}")]
    Text {
        /// The model's input.
        input: String,
        /// What is wrong.
        source: TextError,
    },
    /// Weights alone do not run.
    #[error("weights alone do not say how to compute with them")]
    NoModel,
    /// A text is one row, and where the rows are is not known.
    #[error("the model's file does not let ifco tell which axis of its inputs is the batch")]
    NoBatch,
    /// As many texts as inputs are needed.
    #[error("{found} texts given, but the model has {expected}")]
    Texts {
        /// How many texts.
        found: usize,
        /// How many inputs, in words.
        expected: String,
    },
    /// No such row.
    #[error("there is no row {row}: the inputs have {rows}, counted from 0")]
    Row {
        /// The row.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// The trace would not fit in memory.
    #[error("a trace of {steps} steps takes {size} MB, and at most {most} MB are kept")]
    TooLong {
        /// The steps.
        steps: usize,
        /// Its size.
        size: usize,
        /// The limit.
        most: usize,
    },
    /// The way back needs all steps.
    #[error("the run is not done: its gradient goes back from the last step")]
    NotDone,
}

impl PageError {
    /// What to do about it.
    ///
    /// ```
    /// use ifco_view::page::PageError;
    /// assert!(PageError::NoModel.help().unwrap().contains("architecture"));
    /// ```
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Model(error) => return error.help(),
            Self::Text { source, .. } => match source {
                TextError::NotInVocabulary(_) => {
                    "write it with the tokens of the vocabulary, one of which may be [other]"
                }
                TextError::CodeTooLarge { .. } | TextError::NotAToken { .. } => {
                    "give the model's tokens, one a line, with --vocabulary FILE"
                }
                TextError::TooLong { .. } => "shorten it: nothing is cut off on its own",
                TextError::Empty => "write something",
                TextError::NotANumber { .. } => "a number is written like 1, -0.5 or 2e-3",
                TextError::Shape { .. } => "a step is a line, its features separated by commas",
            },
            Self::NoModel => "give the architecture too",
            Self::NoBatch => "give the inputs as a file of arrays",
            Self::Texts { .. } => "give one for each input, in order",
            Self::Row { .. } | Self::NotDone => return None,
            Self::TooLong { .. } => "give fewer steps",
        };
        Some(help.into())
    }
}

impl Page {
    /// A page of a model; `title` is its file's name.
    pub fn of_model(title: &str, model: Model) -> Self {
        Self::new(title, Subject::Model(Box::new(model)))
    }

    /// A page of cells without a model around them, by name: the packing alone.
    ///
    /// ```
    /// use ifco_cell::{Activation, Cell, SimpleRnnCell, SimpleRnnWeights};
    /// use ifco_view::page::{Page, PageError};
    /// use ndarray::{Array2, ArrayD};
    ///
    /// let weights = SimpleRnnWeights::new(Array2::zeros((3, 2)), Array2::zeros((2, 2)), None)?;
    /// let cell = Cell::from(SimpleRnnCell::new(weights, Activation::Tanh));
    /// let page = Page::of_weights("rnn.weights.h5", vec![("rnn".into(), cell)]);
    /// let error = page.with_inputs(vec![ArrayD::zeros(vec![1, 5, 3])]).unwrap_err();
    /// assert!(matches!(error, PageError::NoModel));
    /// # Ok::<(), ifco_cell::WeightsError>(())
    /// ```
    pub fn of_weights(title: &str, cells: Vec<(String, Cell)>) -> Self {
        Self::new(title, Subject::Weights(cells))
    }

    fn new(title: &str, subject: Subject) -> Self {
        Self {
            title: title.into(),
            subject,
            way_back: None,
            inputs: None,
            vocabulary: None,
            labels: Labels::default(),
            row: 0,
            running: Mutex::default(),
            waiting: AtomicUsize::new(0),
            goes_on: OnceLock::new(),
            runs: Mutex::default(),
        }
    }

    /// The same model in layers that gradients go back through, where it is itself a graph that they
    /// do not. One that takes or gives anything else, or has other cells, is left aside.
    ///
    /// ```
    /// # use ifco_model::{Generation, Model};
    /// # use ifco_view::page::Page;
    /// # let json = serde_json::json!({"class_name": "Sequential", "config": {"name": "tiny", "layers": [
    /// #     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 3]}},
    /// #     {"class_name": "LSTM", "config": {"name": "lstm", "units": 2}},
    /// # ]}});
    /// # let graph = Model::from_config(&json, Generation::Keras3)?;
    /// # let layers = Model::from_config(&json, Generation::Keras3)?;
    /// // `layers` is what `ifco::in_keras_layers(&graph)` gives
    /// let page = Page::of_model("graph.onnx", graph).with_way_back(layers);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_way_back(mut self, layers: Model) -> Self {
        if let Subject::Model(own) = &self.subject
            && is_alike(own, &layers)
        {
            self.way_back = Some(Box::new(layers));
        }
        self
    }

    /// The model that gradients go back through.
    fn back<'a>(&'a self, model: &'a Model) -> &'a Model {
        self.way_back.as_deref().unwrap_or(model)
    }

    /// The tokens of a model over text. Before [`with_texts`](Self::with_texts).
    pub fn with_vocabulary(mut self, vocabulary: Vocabulary) -> Self {
        self.vocabulary = Some(vocabulary);
        self
    }

    /// What to run the model on: one array for each of its inputs, `(batch, ...)`, of which the
    /// page shows one row at a time.
    ///
    /// # Errors
    /// When the model cannot run on them.
    pub fn with_inputs(mut self, inputs: Vec<ArrayD<f32>>) -> Result<Self, PageError> {
        self.inputs = Some(inputs);
        self.first_run()?;
        Ok(self)
    }

    /// What to run the model on, as text for each of its inputs: tokens, or numbers, a step a line.
    ///
    /// # Errors
    /// When a text is no input of the model.
    pub fn with_texts(self, texts: &[String]) -> Result<Self, PageError> {
        let inputs = self.inputs_from_texts(texts, &[])?;
        self.with_inputs(inputs)
    }

    /// Shows this row of the inputs first.
    ///
    /// # Errors
    /// When there is no such row.
    pub fn with_row(mut self, row: usize) -> Result<Self, PageError> {
        self.row = row;
        if self.inputs.is_some() {
            self.first_run()?;
        }
        Ok(self)
    }

    /// What to call each step: `labels(row, steps)` are those of a row of the inputs with so many
    /// steps, if there are any.
    pub fn with_labels(
        mut self,
        labels: impl Fn(usize, usize) -> Option<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        self.labels = Labels(Some(Box::new(labels)));
        self
    }

    /// How many rows the inputs have.
    pub fn rows(&self) -> usize {
        let inputs = self.inputs.iter().flatten().zip(self.ports());
        let rows = inputs.map(|(input, port)| port.rows(input.shape()));
        rows.min().unwrap_or(0)
    }

    /// The steps of each input.
    pub fn steps(&self) -> Vec<usize> {
        let inputs = self.inputs.iter().flatten().zip(self.ports());
        inputs
            .map(|(input, port)| port.steps(input.shape()))
            .collect()
    }

    /// The model's inputs.
    fn ports(&self) -> &[Port] {
        match &self.subject {
            Subject::Model(model) => model.inputs(),
            Subject::Weights(_) => &[],
        }
    }

    /// Every cell by its path.
    fn cells(&self) -> Vec<(String, &Cell)> {
        match &self.subject {
            Subject::Model(model) => model.cells(),
            Subject::Weights(cells) => {
                let cells = cells.iter();
                cells.map(|(path, cell)| (path.clone(), cell)).collect()
            }
        }
    }

    /// How each input of the model is written.
    fn writings(&self) -> Vec<Writing> {
        match &self.subject {
            Subject::Model(model) => facts::writings(model),
            Subject::Weights(_) => Vec::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Runs> {
        // Runs are put in whole.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_of(&self, id: u64) -> Option<Arc<Run>> {
        self.lock().get(id)
    }
}

/// Whether two models take the same inputs, and have as many outputs and the same cells.
fn is_alike(one: &Model, other: &Model) -> bool {
    let mut inputs = one.inputs().iter().zip(other.inputs());
    let paths = |model: &Model| -> Vec<String> {
        let cells = model.cells().into_iter();
        cells.map(|(path, _)| path).collect()
    };
    one.inputs().len() == other.inputs().len()
        && inputs.all(|(one, other)| one.batch_axis == other.batch_axis)
        && one.outputs().len() == other.outputs().len()
        && paths(one) == paths(other)
}
