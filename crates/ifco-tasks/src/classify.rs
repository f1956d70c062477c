//! A label for a whole text, or for a whole series.

use std::collections::HashMap;

use ifco_train::{Data, FitError, Samples};
use ndarray::{Array2, Array3, ArrayD};
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
    /// A series, a step in each of these columns.
    Series {
        /// The columns.
        columns: Vec<String>,
    },
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
    /// The network, in Keras's words; `scaling` is that of the steps of a series, all together.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ifco_tasks::{Size, classify::{Classify, Told}, forecast::Scaling};
    /// use ndarray::Array;
    ///
    /// let told = Told::Series { columns: vec!["t0".into(), "t1".into()] };
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
            Told::Series { columns } => {
                let sizes = [Some(columns.len()), Some(1)];
                graph.input("series", &sizes, "float32");
                let variance: Vec<f64> = scaling.deviation.iter().map(|d| d * d).collect();
                let scaled = json!({"axis": [-1], "mean": scaling.mean, "variance": variance});
                graph.add("Normalization", "scaled", scaled, &["series"], &sizes);
                graph.recurrent(size, "scaled", sizes[0], kind)
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
    Series(Array2<f32>),
}

impl Labelled {
    /// Texts as numbers.
    pub fn texts(texts: Vec<Vec<u32>>, labels: Vec<usize>) -> Self {
        Self {
            told: Rows::Texts(texts),
            labels,
        }
    }

    /// Series, `(samples, steps)`.
    pub fn series(series: Array2<f32>, labels: Vec<usize>) -> Self {
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
                let value = |(row, step, _): (usize, usize, usize)| series[[rows[row], step]];
                Array3::from_shape_fn((rows.len(), series.ncols(), 1), value).into_dyn()
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
}
