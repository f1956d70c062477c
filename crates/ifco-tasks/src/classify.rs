//! A label for a whole text, or for a whole series.

use std::collections::HashMap;

use ifco_train::{Data, FitError, Samples};
use ndarray::{Array2, Array3, ArrayD, s};
use serde_json::{Value, json};

use crate::forecast::Scaling;
use crate::layers::{Graph, Recurrent, Size, compile};
use crate::text::{Level, Vocabulary};

/// What a classifying model needs to know of its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classify {
    /// What it is told.
    pub told: Told,
    /// The column of the labels.
    pub label: String,
    /// The labels, in the order of the model's answers.
    pub labels: Vec<String>,
}

/// What a classifying model is told of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A text.
    Text {
        /// Its column.
        column: String,
        /// Into what it is cut. Words count without case and without the space before.
        level: Level,
        /// The pieces that the model knows.
        vocabulary: Vocabulary,
        /// No more of them are looked at.
        length: usize,
    },
    /// A series whose steps lie side by side, a row for each sample.
    Series {
        /// For each channel the columns of its steps, as many for each.
        channels: Vec<Vec<String>>,
    },
    /// A recording of any length, a row for each step.
    Recordings {
        /// The column that tells to which recording a row belongs.
        id: String,
        /// The column that orders the steps of a recording; absent: they are in order.
        time: Option<String>,
        /// The columns of the channels.
        channels: Vec<String>,
    },
}

/// What stands in all channels of the steps behind the end of a shorter recording. A `Masking`
/// layer leaves them out.
pub const NO_STEP: f32 = -1e9;

/// The rows of each recording, by their `ids`: recordings as they come, rows by their `times`, or as
/// they come. Times that all are numbers are ordered as such, others as texts, as dates from the
/// year to the second are.
///
/// ```
/// use ifco_tasks::classify::recordings;
/// let times = ["9", "10", "0.5"];
/// assert_eq!(recordings(["b", "a", "b"], Some(&times)), [vec![2, 0], vec![1]]);
/// assert_eq!(recordings(["b", "a", "b"], None), [vec![0, 2], vec![1]]);
/// ```
pub fn recordings<'a>(
    ids: impl IntoIterator<Item = &'a str>,
    times: Option<&[&str]>,
) -> Vec<Vec<usize>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut all: Vec<Vec<usize>> = Vec::new();
    for (row, id) in ids.into_iter().enumerate() {
        let place = *places.entry(id).or_insert(all.len());
        if place == all.len() {
            all.push(Vec::new());
        }
        all[place].push(row);
    }
    let Some(times) = times else { return all };
    let text = |row: &usize| times.get(*row).copied().unwrap_or_default().trim();
    let number = |row: &usize| text(row).parse::<f64>().ok();
    let numbers = (0..times.len()).map(|row| number(&row));
    match numbers.collect::<Option<Vec<f64>>>() {
        Some(times) => all
            .iter_mut()
            .for_each(|rows| rows.sort_by(|one, other| times[*one].total_cmp(&times[*other]))),
        None => all.iter_mut().for_each(|rows| rows.sort_by_key(text)),
    }
    all
}

/// The pieces of a text that a classifier is told, as they stand in its vocabulary.
pub fn pieces(text: &str, level: Level) -> impl Iterator<Item = String> {
    let pieces = level.pieces(text).map(move |piece| match level {
        Level::Char => piece.to_owned(),
        Level::Word => piece.trim().to_lowercase(),
    });
    pieces.filter(|piece| !piece.is_empty())
}

impl Classify {
    /// The network, in Keras's words; `scaling` is that of each channel of a series.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ifco_tasks::{Size, classify::{Classify, Told}, forecast::Scaling};
    /// use ndarray::Array;
    ///
    /// let told = Told::Series { channels: vec![vec!["t0".into(), "t1".into()]] };
    /// let labels = vec!["up".into(), "down".into()];
    /// let task = Classify { told, label: "way".into(), labels };
    /// let scaling = Scaling { mean: vec![0.0], deviation: vec![1.0] };
    /// let size = Size { units: 4, layers: 1, dropout: 0.0, embedding: 0 };
    /// let json = task.architecture(&size, &scaling);
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// ifco_train::initialize(&mut model, 0)?;
    /// assert_eq!(model.predict(&Array::zeros((5, 2, 1)).into_dyn())?.shape(), [5, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn architecture(&self, size: &Size, scaling: &Scaling) -> Value {
        let mut graph = Graph::default();
        let kind = Recurrent {
            all_steps: false,
            both_ways: true,
        };
        let last = match &self.told {
            Told::Text { vocabulary, .. } => {
                graph.input("pieces", &[None], "int32");
                let embedding = json!({
                    "input_dim": vocabulary.size(), "output_dim": size.embedding,
                    "mask_zero": true,
                });
                let sizes = [None, Some(size.embedding)];
                graph.add("Embedding", "embedding", embedding, &["pieces"], &sizes);
                graph.recurrent(size, "embedding", None, kind)
            }
            Told::Series { .. } | Told::Recordings { .. } => {
                let (steps, channels) = match &self.told {
                    Told::Series { channels } => (channels.first().map(Vec::len), channels.len()),
                    _ => (None, scaling.mean.len()),
                };
                let sizes = [steps, Some(channels)];
                graph.input("series", &sizes, "float32");
                let mut below = "series";
                if matches!(self.told, Told::Recordings { .. }) {
                    let masking = json!({"mask_value": NO_STEP});
                    graph.add("Masking", "steps", masking, &["series"], &sizes);
                    below = "steps";
                }
                let variance: Vec<f64> = scaling.deviation.iter().map(|d| d * d).collect();
                let scaled = json!({"axis": [-1], "mean": scaling.mean, "variance": variance});
                graph.add("Normalization", "scaled", scaled, &[below], &sizes);
                graph.recurrent(size, "scaled", steps, kind)
            }
        };
        let labels = json!({"units": self.labels.len(), "activation": "softmax"});
        graph.add(
            "Dense",
            "labels",
            labels,
            &[&last],
            &[Some(self.labels.len())],
        );
        graph.model("classifier", "labels")
    }

    /// What it is trained by.
    pub fn compile(&self, learning_rate: f32) -> Value {
        compile(
            learning_rate,
            "sparse_categorical_crossentropy",
            None,
            "accuracy",
        )
    }

    /// The number of a label.
    pub fn number(&self, label: &str) -> Option<usize> {
        self.labels.iter().position(|own| own == label)
    }

    /// The likeliest label, and its chance.
    pub fn answer(&self, chances: &[f32]) -> Option<(&str, f32)> {
        let all = self.labels.iter().zip(chances);
        let best = all.max_by(|one, other| one.1.total_cmp(other.1));
        best.map(|(label, chance)| (label.as_str(), *chance))
    }
}

impl Told {
    /// The labels and the vocabulary of samples that train; see [`Classify`].
    pub fn text<'a>(
        column: &str,
        level: Level,
        train: impl IntoIterator<Item = &'a str>,
        most: usize,
        length: usize,
    ) -> Self {
        let all: Vec<String> = train
            .into_iter()
            .flat_map(|text| pieces(text, level))
            .collect();
        Self::Text {
            column: column.to_owned(),
            level,
            vocabulary: Vocabulary::of(all.iter().map(String::as_str), most, 2),
            length,
        }
    }

    /// A text as numbers: at least one, for a text without any piece is nothing.
    pub fn numbers(&self, text: &str) -> Vec<u32> {
        let Self::Text {
            level,
            vocabulary,
            length,
            ..
        } = self
        else {
            return Vec::new();
        };
        let numbers = pieces(text, *level).take(*length);
        let mut numbers: Vec<u32> = numbers.map(|piece| vocabulary.number(&piece)).collect();
        if numbers.is_empty() {
            numbers.push(Vocabulary::UNKNOWN);
        }
        numbers
    }
}

/// Samples with their labels' numbers.
#[derive(Debug)]
pub struct Labelled {
    told: Rows,
    labels: Vec<usize>,
}

#[derive(Debug)]
enum Rows {
    Texts(Vec<Vec<u32>>),
    Series(Vec<Array2<f32>>),
}

impl Labelled {
    /// Texts as numbers.
    pub fn texts(texts: Vec<Vec<u32>>, labels: Vec<usize>) -> Self {
        Self {
            told: Rows::Texts(texts),
            labels,
        }
    }

    /// Series, each `(steps, channels)`. A batch is as long as its longest, with [`NO_STEP`] behind
    /// the end of shorter ones.
    pub fn series(series: Vec<Array2<f32>>, labels: Vec<usize>) -> Self {
        Self {
            told: Rows::Series(series),
            labels,
        }
    }

    /// The labels' numbers.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }
}

impl Samples for Labelled {
    fn samples(&self) -> Result<usize, FitError> {
        Ok(self.labels.len())
    }

    fn rows(&self, rows: &[usize]) -> Result<Data, FitError> {
        let input: ArrayD<f32> = match &self.told {
            Rows::Texts(texts) => {
                let longest = rows.iter().map(|row| texts[*row].len()).max().unwrap_or(1);
                let number = |(row, step): (usize, usize)| {
                    let number: Option<&u32> = texts[rows[row]].get(step);
                    number.map_or(0.0, |number| *number as f32)
                };
                Array2::from_shape_fn((rows.len(), longest), number).into_dyn()
            }
            Rows::Series(series) => {
                let longest = rows
                    .iter()
                    .map(|row| series[*row].nrows())
                    .max()
                    .unwrap_or(0);
                let channels = rows.first().map_or(0, |row| series[*row].ncols());
                let mut batch = Array3::from_elem((rows.len(), longest, channels), NO_STEP);
                for (row, mut sample) in rows.iter().zip(batch.outer_iter_mut()) {
                    let own = &series[*row];
                    sample.slice_mut(s![..own.nrows(), ..]).assign(own);
                }
                batch.into_dyn()
            }
        };
        let label = |(row, _): (usize, usize)| self.labels[rows[row]] as f32;
        Ok(Data::new(
            input,
            Array2::from_shape_fn((rows.len(), 1), label).into_dyn(),
        ))
    }
}

/// The most frequent label.
///
/// ```
/// assert_eq!(ifco_tasks::classify::majority(&[0, 2, 2, 1]), Some(2));
/// assert_eq!(ifco_tasks::classify::majority(&[]), None);
/// ```
pub fn majority(labels: &[usize]) -> Option<usize> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    labels
        .iter()
        .for_each(|label| *counts.entry(*label).or_insert(0) += 1);
    let order = |one: &(&usize, &usize), other: &(&usize, &usize)| {
        one.1.cmp(other.1).then(other.0.cmp(one.0))
    };
    counts.iter().max_by(order).map(|(label, _)| *label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_padded() {
        let texts = ["Good, good day", "bad day!"];
        let told = Told::text("t", Level::Word, texts, 100, 3);
        assert_eq!(told.numbers("A GOOD day for it"), [1, 3, 2]);
        assert_eq!(told.numbers(" "), [1]);
        let numbers = texts.iter().map(|text| told.numbers(text)).collect();
        let samples = Labelled::texts(numbers, vec![1, 0]);
        let data = samples.rows(&[1, 0]).unwrap();
        assert_eq!(data.inputs[0].shape(), [2, 3]);
        assert_eq!(data.targets[0].as_slice().unwrap(), [0.0, 1.0]);
    }

    #[test]
    fn recordings_are_padded_with_steps_that_are_masked() {
        let series = vec![
            ndarray::array![[1.0, 2.0]],
            ndarray::array![[3.0, 4.0], [5.0, 6.0]],
        ];
        let samples = Labelled::series(series, vec![0, 1]);
        let data = samples.rows(&[0, 1]).unwrap();
        assert_eq!(data.inputs[0].shape(), [2, 2, 2]);
        let right = [1.0, 2.0, NO_STEP, NO_STEP, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(data.inputs[0].as_slice().unwrap(), right);
        assert_eq!(samples.rows(&[0]).unwrap().inputs[0].shape(), [1, 1, 2]);

        let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let task = Classify {
            told: Told::Recordings {
                id: "id".into(),
                time: None,
                channels: text(&["x", "y"]),
            },
            label: "label".into(),
            labels: text(&["a", "b"]),
        };
        let scaling = Scaling {
            mean: vec![1.0, 5.0],
            deviation: vec![2.0, 4.0],
        };
        let size = Size {
            units: 3,
            layers: 2,
            dropout: 0.0,
            embedding: 0,
        };
        let json = task.architecture(&size, &scaling);
        let mut model =
            ifco_model::Model::from_config(&json, ifco_model::Generation::Keras3).unwrap();
        ifco_train::initialize(&mut model, 0).unwrap();
        let padded = model.predict(&data.inputs[0]).unwrap();
        let alone = model.predict(&samples.rows(&[0]).unwrap().inputs[0]);
        let alone = alone.unwrap();
        for (padded, alone) in padded.iter().zip(&alone) {
            assert!((padded - alone).abs() < 1e-6, "{padded} is not {alone}");
        }
    }

    #[test]
    fn steps_are_ordered_by_their_times() {
        let dates = ["2024-02-01 09:00", "2024-01-31 10:00", "2024-01-31 09:59"];
        assert_eq!(recordings(["a"; 3], Some(&dates)), [[2, 1, 0]]);
        // Ten is behind nine, as a number; equal times stay as they are.
        let times = ["10", " 9", "9", "-1e3"];
        assert_eq!(recordings(["a"; 4], Some(&times)), [[3, 1, 2, 0]]);
    }
}
