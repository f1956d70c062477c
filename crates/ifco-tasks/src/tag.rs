//! A label for each word of a sentence, as its part of speech.
//!
//! The network is told three things of each word, since most words of a new text are not in a small
//! vocabulary: which word it is, without case; how it ends; and what it looks like, as `Xx` for
//! `Paris`. It reads the sentence both ways.

use std::collections::HashMap;

use ifco_train::{Data, FitError, Samples};
use ndarray::{Array2, Axis};
use serde_json::{Value, json};

use crate::layers::{Graph, Recurrent, Size, compile};
use crate::text::Vocabulary;

/// The words of a sentence with their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sentence {
    /// The words.
    pub words: Vec<String>,
    /// A label for each.
    pub tags: Vec<String>,
}

/// What a tagging model needs to know of words and labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Words in lower case.
    pub words: Vocabulary,
    /// The last letters of words.
    pub endings: Vocabulary,
    /// What words look like.
    pub shapes: Vocabulary,
    /// The labels, in the order of the model's answers behind the first two.
    pub tags: Vocabulary,
}

/// How many letters an ending has.
const ENDING: usize = 3;

impl Tag {
    /// The vocabularies of the sentences that train: words and endings that come at least twice, so
    /// that the model also learns what to make of unknown ones.
    ///
    /// ```
    /// use ifco_tasks::tag::{Sentence, Tag};
    /// let texts = |list: [&str; 3]| list.map(String::from).to_vec();
    /// let train = [Sentence { words: texts(["Go", ",", "go"]), tags: texts(["VERB", "PUNCT", "VERB"]) }];
    /// let task = Tag::of(&train, 1000);
    /// assert_eq!(task.words.entries(), ["go"]);
    /// assert_eq!(task.tags.entries(), ["PUNCT", "VERB"]);
    /// ```
    pub fn of(train: &[Sentence], most: usize) -> Self {
        let words: Vec<String> = train.iter().flat_map(|s| &s.words).cloned().collect();
        let lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        let all = |of: fn(&str) -> String, from: &[String], at_least| {
            let pieces: Vec<String> = from.iter().map(|word| of(word)).collect();
            Vocabulary::of(pieces.iter().map(String::as_str), most, at_least)
        };
        let tags = train.iter().flat_map(|sentence| &sentence.tags);
        Self {
            words: all(str::to_owned, &lower, 2),
            endings: all(ending, &lower, 2),
            shapes: all(shape, &words, 1),
            tags: Vocabulary::of(tags.map(String::as_str), usize::MAX, 1),
        }
    }

    /// The network, in Keras's words.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ifco_tasks::{Size, tag::{Sentence, Tag}};
    ///
    /// let train = [Sentence { words: vec!["Go".into()], tags: vec!["VERB".into()] }];
    /// let task = Tag::of(&train, 1000);
    /// let size = Size { units: 4, layers: 1, dropout: 0.5, embedding: 8 };
    /// let mut model = Model::from_config(&task.architecture(&size), Generation::Keras3)?;
    /// ifco_train::initialize(&mut model, 0)?;
    /// let x = task.inputs(&[&["They".into(), "go".into()]]);
    /// let views: Vec<_> = x.iter().map(|x| x.view()).collect();
    /// let y = model.predict_all(&views, 32, &mut |_| {})?.remove(0);
    /// assert_eq!(y.shape(), [1, 2, 3]); // nothing, unknown, VERB
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn architecture(&self, size: &Size) -> Value {
        let mut graph = Graph::default();
        let small = size.embedding.div_ceil(2);
        let parts = [
            ("words", &self.words, size.embedding),
            ("endings", &self.endings, small),
            ("shapes", &self.shapes, size.embedding.div_ceil(4)),
        ];
        let mut width = 0;
        for (name, _, _) in parts {
            graph.input(name, &[None], "int32");
        }
        let mut names = Vec::new();
        for (name, vocabulary, output) in parts {
            let embedding = json!({
                "input_dim": vocabulary.size(), "output_dim": output, "mask_zero": true,
            });
            let own = format!("embedded_{name}");
            graph.add("Embedding", &own, embedding, &[name], &[None, Some(output)]);
            names.push(own);
            width += output;
        }
        let from: Vec<&str> = names.iter().map(String::as_str).collect();
        let sizes = [None, Some(width)];
        graph.add("Concatenate", "word", json!({"axis": -1}), &from, &sizes);
        let mut below = "word";
        if size.dropout > 0.0 {
            graph.add(
                "Dropout",
                "dropout",
                json!({"rate": size.dropout}),
                &["word"],
                &sizes,
            );
            below = "dropout";
        }
        let kind = Recurrent {
            all_steps: true,
            both_ways: true,
        };
        let last = graph.recurrent(size, below, None, kind);
        let tags = json!({"units": self.tags.size(), "activation": "softmax"});
        graph.add(
            "Dense",
            "tags",
            tags,
            &[&last],
            &[None, Some(self.tags.size())],
        );
        graph.model("tagger", "tags")
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

    /// What the network is told of sentences: three arrays `(sentences, longest)`, with nothing
    /// behind the end of shorter ones.
    pub fn inputs(&self, sentences: &[&[String]]) -> Vec<ndarray::ArrayD<f32>> {
        let told: Vec<Vec<[u32; 3]>> = sentences.iter().map(|words| self.told(words)).collect();
        let rows: Vec<&[[u32; 3]]> = told.iter().map(Vec::as_slice).collect();
        inputs(&rows)
    }

    fn told(&self, words: &[String]) -> Vec<[u32; 3]> {
        let of = |word: &String| {
            let lower = word.to_lowercase();
            [
                self.words.number(&lower),
                self.endings.number(&ending(&lower)),
                self.shapes.number(&shape(word)),
            ]
        };
        words.iter().map(of).collect()
    }

    /// The label that one step of the model's answer says: the likeliest known one.
    pub fn answer(&self, chances: &[f32]) -> Option<&str> {
        let known = chances.iter().enumerate().skip(2);
        let best = known.max_by(|one, other| one.1.total_cmp(other.1).then(other.0.cmp(&one.0)));
        self.tags.piece(best?.0)
    }

    /// Samples of these sentences.
    pub fn samples(&self, sentences: &[Sentence]) -> Sentences {
        let told = |sentence: &Sentence| {
            let tags = sentence.tags.iter().map(|tag| self.tags.number(tag));
            (self.told(&sentence.words), tags.collect())
        };
        Sentences {
            all: sentences.iter().map(told).collect(),
        }
    }
}

/// The last letters of a word.
fn ending(word: &str) -> String {
    let letters = word.chars().count();
    word.chars().skip(letters.saturating_sub(ENDING)).collect()
}

/// `Xx` of `Paris`, `d-x` of `20-year`: letters by their case, digits, and all else as it is, none
/// twice in a row, at most four.
fn shape(word: &str) -> String {
    let mut shape = String::new();
    for c in word.chars() {
        let kind = match c {
            c if c.is_uppercase() => 'X',
            c if c.is_alphabetic() => 'x',
            c if c.is_numeric() => 'd',
            c => c,
        };
        if !shape.ends_with(kind) {
            shape.push(kind);
        }
        if shape.chars().count() == 4 {
            break;
        }
    }
    shape
}

fn inputs(rows: &[&[[u32; 3]]]) -> Vec<ndarray::ArrayD<f32>> {
    let longest = longest(rows);
    let of = |which: usize| {
        let number = |(row, step): (usize, usize)| {
            let told: Option<&[u32; 3]> = rows[row].get(step);
            told.map_or(0.0, |told| told[which] as f32)
        };
        Array2::from_shape_fn((rows.len(), longest), number).into_dyn()
    };
    vec![of(0), of(1), of(2)]
}

fn longest<T>(rows: &[&[T]]) -> usize {
    rows.iter().map(|row| row.len()).max().unwrap_or(0).max(1)
}

/// Sentences as numbers. A batch is as long as its longest sentence.
#[derive(Debug)]
pub struct Sentences {
    /// What is told of each word, and the labels.
    all: Vec<(Vec<[u32; 3]>, Vec<u32>)>,
}

impl Samples for Sentences {
    fn samples(&self) -> Result<usize, FitError> {
        Ok(self.all.len())
    }

    fn rows(&self, rows: &[usize]) -> Result<Data, FitError> {
        let told: Vec<&[[u32; 3]]> = rows.iter().map(|row| &self.all[*row].0[..]).collect();
        let wanted = |(row, step): (usize, usize)| {
            let tag = self.all[rows[row]].1.get(step);
            tag.copied().unwrap_or(Vocabulary::NOTHING) as f32
        };
        let longest = longest(&told);
        Ok(Data {
            inputs: inputs(&told),
            targets: vec![Array2::from_shape_fn((rows.len(), longest), wanted).into_dyn()],
            sample_weights: Vec::new(),
        })
    }
}

/// What one can say of words without a model: each word's most frequent label, and of words that
/// are not known the most frequent label of those that came once.
#[derive(Debug)]
pub struct MostFrequent {
    of_word: HashMap<String, String>,
    of_others: String,
}

impl MostFrequent {
    /// Of the sentences that train.
    ///
    /// ```
    /// use ifco_tasks::tag::{MostFrequent, Sentence};
    /// let texts = |list: [&str; 4]| list.map(String::from).to_vec();
    /// let words = texts(["a", "run", "a", "run"]);
    /// let tags = texts(["DET", "NOUN", "DET", "VERB"]);
    /// let train = [Sentence { words, tags }];
    /// let naive = MostFrequent::of(&train);
    /// assert_eq!(naive.tag("a"), "DET");
    /// assert_eq!(naive.tag("run"), "NOUN"); // of two that come as often, the first in the alphabet
    /// ```
    pub fn of(train: &[Sentence]) -> Self {
        let mut counts: HashMap<&str, HashMap<&str, usize>> = HashMap::new();
        for sentence in train {
            for (word, tag) in sentence.words.iter().zip(&sentence.tags) {
                *counts.entry(word).or_default().entry(tag).or_insert(0) += 1;
            }
        }
        let most = |counts: &HashMap<&str, usize>| {
            let order = |one: &(&&str, &usize), other: &(&&str, &usize)| {
                one.1.cmp(other.1).then(other.0.cmp(one.0))
            };
            let found = counts.iter().max_by(order);
            found.map(|(tag, _)| (*tag).to_owned()).unwrap_or_default()
        };
        let mut once = HashMap::new();
        let mut all = HashMap::new();
        for of_word in counts.values() {
            for (tag, count) in of_word {
                *all.entry(*tag).or_insert(0) += count;
            }
            if of_word.values().sum::<usize>() == 1 {
                of_word
                    .keys()
                    .for_each(|tag| *once.entry(*tag).or_insert(0) += 1);
            }
        }
        Self {
            of_word: counts
                .iter()
                .map(|(word, counts)| ((*word).to_owned(), most(counts)))
                .collect(),
            of_others: most(if once.is_empty() { &all } else { &once }),
        }
    }

    /// The label of a word.
    pub fn tag(&self, word: &str) -> &str {
        self.of_word.get(word).unwrap_or(&self.of_others)
    }

    /// Whether the word came in training.
    pub fn knows(&self, word: &str) -> bool {
        self.of_word.contains_key(word)
    }
}

/// How many of some words were labelled rightly.
///
/// ```
/// let mut right = ifco_tasks::tag::Right::default();
/// right.add(true);
/// right.add(false);
/// assert_eq!(right.share(), 0.5);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Right {
    right: usize,
    /// How many there are.
    pub all: usize,
}

impl Right {
    /// Takes up one more.
    pub fn add(&mut self, is_right: bool) {
        self.right += usize::from(is_right);
        self.all += 1;
    }

    /// The share of them; 0 of none.
    pub fn share(&self) -> f64 {
        self.right as f64 / self.all.max(1) as f64
    }
}

/// The steps of each row of an answer `(rows, time, classes)`.
pub fn steps(answer: &ndarray::ArrayD<f32>, row: usize) -> impl Iterator<Item = Vec<f32>> {
    let row = answer.index_axis(Axis(0), row);
    let steps: Vec<Vec<f32>> = row
        .outer_iter()
        .map(|step| step.iter().copied().collect())
        .collect();
    steps.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(text: &str) -> Sentence {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('/'));
        let (words, tags) = pairs.map(|(w, t)| (w.to_owned(), t.to_owned())).unzip();
        Sentence { words, tags }
    }

    #[test]
    fn endings_and_shapes() {
        assert_eq!(
            (ending("running"), ending("às")),
            ("ing".into(), "às".into())
        );
        for (word, expected) in [
            ("Paris", "Xx"),
            ("20-year", "d-x"),
            ("U.S.A.", "X.X."),
            ("", ""),
        ] {
            assert_eq!(shape(word), expected);
        }
    }

    #[test]
    fn batches_are_as_long_as_their_longest() {
        let train = [
            sentence("the/D dog/N barks/V"),
            sentence("the/D cat/N"),
            sentence("go/V"),
        ];
        let task = Tag::of(&train, 100);
        let samples = task.samples(&train);
        let data = samples.rows(&[2, 1]).unwrap();
        assert_eq!(data.inputs[0].shape(), [2, 2]);
        assert_eq!(data.targets[0].as_slice().unwrap(), [4.0, 0.0, 2.0, 3.0]);
        // Words that came once are unknown.
        assert_eq!(data.inputs[0].as_slice().unwrap(), [1.0, 0.0, 2.0, 1.0]);
        assert_eq!(samples.rows(&[0]).unwrap().targets[0].shape(), [1, 3]);
        assert_eq!(task.answer(&[0.9, 0.9, 0.1, 0.3, 0.2]), Some("N"));
        assert_eq!(task.answer(&[0.9]), None);
    }

    #[test]
    fn what_is_not_known_is_as_what_came_once() {
        let train = [sentence("the/D the/D the/D x/N y/N z/V")];
        let naive = MostFrequent::of(&train);
        assert_eq!((naive.tag("the"), naive.tag("dog")), ("D", "N"));
        assert!(!naive.knows("dog"));
    }
}
