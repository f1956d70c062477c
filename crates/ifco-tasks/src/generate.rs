//! The next piece of a text, a character or a word, from all before it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use ifco_train::{Data, FitError, Random, Samples};
use ndarray::Array2;
use serde_json::{Value, json};

use crate::layers::{Graph, Recurrent, Size, compile};
use crate::text::{Level, Vocabulary};
use crate::{DataError, Split};

/// What a language model needs to know of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generate {
    /// Into what the text is cut.
    pub level: Level,
    /// The pieces that it knows.
    pub vocabulary: Vocabulary,
}

impl Generate {
    /// The network, in Keras's words: it reads sequences of any length, and gives the chances of
    /// what comes next behind each of their pieces.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ifco_tasks::generate::Generate;
    /// use ifco_tasks::{Size, text::{Level, Vocabulary}};
    ///
    /// let vocabulary = Vocabulary::of(["a", "b"], 100, 1);
    /// let task = Generate { level: Level::Char, vocabulary };
    /// let size = Size { units: 4, layers: 2, dropout: 0.1, embedding: 3 };
    /// let mut model = Model::from_config(&task.architecture(&size), Generation::Keras3)?;
    /// ifco_train::initialize(&mut model, 0)?;
    /// let mut session = model.session()?;
    /// assert_eq!(session.step(&[2.0]).len(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn architecture(&self, size: &Size) -> Value {
        let pieces = self.vocabulary.size();
        let mut graph = Graph::default();
        graph.input("pieces", &[None], "int32");
        let embedding = json!({"input_dim": pieces, "output_dim": size.embedding});
        let width = Some(size.embedding);
        graph.add(
            "Embedding",
            "embedding",
            embedding,
            &["pieces"],
            &[None, width],
        );
        let kind = Recurrent {
            all_steps: true,
            both_ways: false,
        };
        let last = graph.recurrent(size, "embedding", None, kind);
        let next = json!({"units": pieces, "activation": "softmax"});
        graph.add("Dense", "next", next, &[&last], &[None, Some(pieces)]);
        graph.model("generator", "next")
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

    /// The text as numbers.
    pub fn numbers(&self, text: &str) -> Vec<u32> {
        let pieces = self.level.pieces(text);
        pieces.map(|piece| self.vocabulary.number(piece)).collect()
    }
}

/// A text in three parts, one behind the other, and the model's task, whose vocabulary is that of
/// the part that trains.
#[derive(Debug)]
pub struct Parts {
    /// The task.
    pub task: Generate,
    /// To train on.
    pub train: Stretches,
    /// To judge each epoch by.
    pub validation: Stretches,
    /// To judge the model by; perhaps none.
    pub test: Stretches,
}

impl Parts {
    /// Cuts a text into pieces and parts: `length` pieces a sample, `most` in the vocabulary.
    ///
    /// # Errors
    /// When the text is too short.
    pub fn of(
        text: &str,
        level: Level,
        length: usize,
        most: usize,
        split: &Split,
    ) -> Result<Self, DataError> {
        let pieces: Vec<&str> = level.pieces(text).collect();
        let parts = split.parts(pieces.len())?;
        let vocabulary = Vocabulary::of(pieces[parts[0].clone()].iter().copied(), most, 1);
        let numbers = pieces
            .iter()
            .map(|piece| vocabulary.number(piece))
            .collect();
        let numbers: Arc<Vec<u32>> = Arc::new(numbers);
        let stretches = parts.map(|range| Stretches {
            numbers: Arc::clone(&numbers),
            range,
            length: length.max(1),
        });
        let [train, validation, test] = stretches;
        for (part, what) in [(&train, "train"), (&validation, "validate")] {
            if part.count() == 0 {
                let what = format!(
                    "the part of the text to {what} on has {}, and a sample has {length} and the \
                     one behind them",
                    part.range.len()
                );
                let help = "give more text, a shorter --length, or another --split";
                return Err(DataError::new(what).help(help));
            }
        }
        let task = Generate { level, vocabulary };
        Ok(Self {
            task,
            train,
            validation,
            test,
        })
    }
}

/// Stretches of a text, one behind the other, each wanted shifted by one piece.
#[derive(Debug, Clone)]
pub struct Stretches {
    numbers: Arc<Vec<u32>>,
    range: Range<usize>,
    length: usize,
}

impl Stretches {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.range.len().saturating_sub(1) / self.length
    }

    /// The part of the text as numbers.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers[self.range.clone()]
    }

    /// Each piece that is to be foretold, with the one before it.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        let wanted = self.count() * self.length;
        let pairs = self.numbers().windows(2).take(wanted);
        pairs.map(|pair| (pair[0], pair[1]))
    }
}

impl Samples for Stretches {
    fn samples(&self) -> Result<usize, FitError> {
        Ok(self.count())
    }

    fn rows(&self, rows: &[usize]) -> Result<Data, FitError> {
        let numbers = self.numbers();
        let of = |ahead: usize| {
            let piece = |(sample, step): (usize, usize)| {
                numbers[rows[sample] * self.length + step + ahead] as f32
            };
            Array2::from_shape_fn((rows.len(), self.length), piece).into_dyn()
        };
        Ok(Data::new(of(0), of(1)))
    }
}

/// The mean surprise at what comes, as perplexity: among how many equally likely pieces one would
/// be as surprised.
///
/// ```
/// let mut surprise = ifco_tasks::generate::Surprise::default();
/// surprise.add(0.25);
/// surprise.add(0.25);
/// assert_eq!((surprise.perplexity().round(), surprise.bits()), (4.0, 2.0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Surprise {
    sum: f64,
    count: usize,
}

impl Surprise {
    /// What came had this chance.
    pub fn add(&mut self, chance: f64) {
        // Keras's epsilon: what was taken for impossible is not infinitely surprising.
        self.sum -= chance.max(1e-7).ln();
        self.count += 1;
    }

    /// The exponential of the mean surprise.
    pub fn perplexity(&self) -> f64 {
        (self.sum / self.count.max(1) as f64).exp()
    }

    /// The mean surprise in bits.
    pub fn bits(&self) -> f64 {
        self.sum / self.count.max(1) as f64 / std::f64::consts::LN_2
    }
}

/// How often pieces, and pairs of them, come in the training part: chances that need no model.
#[derive(Debug)]
pub struct Counts {
    /// Of each number.
    ones: Vec<u32>,
    total: u32,
    pairs: HashMap<(u32, u32), u32>,
    /// How often something comes behind each, and how many different pieces that are.
    followers: HashMap<u32, (u32, u32)>,
}

impl Counts {
    /// Of a text as numbers below `size`.
    pub fn of(numbers: &[u32], size: usize) -> Self {
        let mut counts = Self {
            ones: vec![0; size],
            total: 0,
            pairs: HashMap::new(),
            followers: HashMap::new(),
        };
        for number in numbers {
            if let Some(count) = counts.ones.get_mut(*number as usize) {
                *count += 1;
                counts.total += 1;
            }
        }
        let mut seen = HashSet::new();
        for pair in numbers.windows(2) {
            let pair = (pair[0], pair[1]);
            *counts.pairs.entry(pair).or_insert(0) += 1;
            let (all, different) = counts.followers.entry(pair.0).or_insert((0, 0));
            *all += 1;
            *different += u32::from(seen.insert(pair));
        }
        counts
    }

    /// How likely a piece is, each counted once more than it came. Nothing never comes.
    pub fn one(&self, piece: u32) -> f64 {
        let count = self.ones.get(piece as usize).copied().unwrap_or(0);
        (f64::from(count) + 1.0) / (f64::from(self.total) + self.pieces())
    }

    /// How likely it is behind another: what was seen there, and for what was not the chances of
    /// single pieces (Witten and Bell, 1991).
    pub fn behind(&self, before: u32, piece: u32) -> f64 {
        let Some((all, different)) = self.followers.get(&before) else {
            return self.one(piece);
        };
        let count = self.pairs.get(&(before, piece)).copied().unwrap_or(0);
        let unseen = f64::from(*different) * self.one(piece);
        (f64::from(count) + unseen) / f64::from(all + different)
    }

    /// How many different pieces may come.
    pub fn pieces(&self) -> f64 {
        self.ones.len().saturating_sub(1) as f64
    }

    /// The surprise of a part of the text, if all pieces were as likely; by single pieces; by pairs.
    pub fn surprises(&self, part: &Stretches) -> [Surprise; 3] {
        let mut surprises = [Surprise::default(); 3];
        for (before, piece) in part.pairs() {
            surprises[0].add(self.pieces().recip());
            surprises[1].add(self.one(piece));
            surprises[2].add(self.behind(before, piece));
        }
        surprises
    }
}

/// Draws pieces from a model's chances.
///
/// ```
/// use ifco_tasks::generate::Sampler;
/// let chances = [0.5, 0.0, 0.1, 0.4];
/// // Nothing and the unknown, 0 and 1, are never drawn.
/// assert_eq!(Sampler::new(7, 0.0, None).draw(&chances), 3);
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    random: Random,
    temperature: f64,
    most: Option<usize>,
    /// Kept from step to step, so that a step needs no memory.
    order: Vec<(f64, usize)>,
}

impl Sampler {
    /// Draws from this seed. A `temperature` of 1 takes the chances as they are; one below 1 makes
    /// likely pieces likelier, and 0 always takes the likeliest. With `most`, only so many of the
    /// likeliest are drawn.
    pub fn new(seed: u64, temperature: f64, most: Option<usize>) -> Self {
        Self {
            random: Random::new(seed),
            temperature,
            most,
            order: Vec::new(),
        }
    }

    /// The number of the next piece.
    pub fn draw(&mut self, chances: &[f32]) -> usize {
        let known = Vocabulary::UNKNOWN as usize + 1;
        let likeliest = |one: &(f64, usize), other: &(f64, usize)| {
            other.0.total_cmp(&one.0).then(one.1.cmp(&other.1))
        };
        self.order.clear();
        let chances = chances.iter().enumerate().skip(known);
        let chances = chances.map(|(number, chance)| (f64::from(*chance), number));
        self.order.extend(chances);
        let Some(best) = self.order.iter().copied().min_by(likeliest) else {
            return Vocabulary::UNKNOWN as usize;
        };
        if let Some(most) = self.most.filter(|most| *most < self.order.len()) {
            self.order
                .select_nth_unstable_by(most.max(1) - 1, likeliest);
            self.order.truncate(most.max(1));
        }
        if self.temperature <= 0.0 || best.0.is_nan() || best.0 <= 0.0 {
            return best.1;
        }
        let mut sum = 0.0;
        for (weight, _) in &mut self.order {
            // Beside the likeliest, so that none overflows.
            *weight = (*weight / best.0).powf(self.temperature.recip());
            sum += *weight;
        }
        let mut left = self.random.uniform() * sum;
        for (weight, number) in &self.order {
            left -= weight;
            if left < 0.0 {
                return *number;
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<Parts, DataError> {
        let split = Split::new([0.5, 0.25, 0.25])?;
        Parts::of(text, Level::Char, 3, 100, &split)
    }

    #[test]
    fn stretches_lie_in_their_part() {
        let parts = parts("abcabcabcabcabcabcabcabc?!?!?!?!?!?!?!?!?!?!?!?!").unwrap();
        // What the training part has not is unknown.
        assert_eq!(parts.task.vocabulary.entries(), ["a", "b", "c"]);
        assert_eq!((parts.train.count(), parts.validation.count()), (7, 3));
        let data = parts.train.rows(&[1, 0]).unwrap();
        assert_eq!(
            data.inputs[0].as_slice().unwrap(),
            [2.0, 3.0, 4.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(
            data.targets[0].as_slice().unwrap(),
            [3.0, 4.0, 2.0, 3.0, 4.0, 2.0]
        );
        assert!(
            parts
                .test
                .numbers()
                .iter()
                .all(|n| *n == Vocabulary::UNKNOWN)
        );
        assert!(self::parts("abc").is_err());
    }

    #[test]
    fn chances_sum_to_one() {
        let numbers = [2, 3, 4, 2, 3, 2, 2, 5];
        let counts = Counts::of(&numbers, 7);
        // Of all but nothing.
        let ones: f64 = (1..7).map(|piece| counts.one(piece)).sum();
        assert!((ones - 1.0).abs() < 1e-12, "{ones}");
        for before in [2, 3, 4, 5, 6] {
            let sum: f64 = (1..7).map(|piece| counts.behind(before, piece)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{before}: {sum}");
        }
    }

    #[test]
    fn draws_as_often_as_the_chances_say() {
        let chances = [0.3, 0.1, 0.3, 0.2, 0.1];
        let often = |temperature, most| {
            let mut sampler = Sampler::new(1, temperature, most);
            let mut counts = [0i64; 5];
            (0..6000).for_each(|_| counts[sampler.draw(&chances)] += 1);
            counts
        };
        let counts = often(1.0, None);
        for (count, expected) in counts.into_iter().zip([0, 0, 3000, 2000, 1000]) {
            assert!((count - expected).abs() < 150, "{counts:?}");
        }
        let [_, _, first, second, third] = often(0.5, None); // squares: 9, 4, 1
        assert!(
            (first - 3857).abs() < 150 && (second - 1714).abs() < 150,
            "{first} {third}"
        );
        assert_eq!(often(1.0, Some(2))[4], 0);
        assert_eq!(often(0.0, None)[2], 6000);
        // Whatever a broken model gives, it is no panic.
        assert_eq!(Sampler::new(1, 1.0, None).draw(&[0.0; 4]), 2);
        Sampler::new(1, 1.0, Some(0)).draw(&[f32::NAN; 4]);
        assert_eq!(Sampler::new(1, 1.0, None).draw(&[1.0]), 1);
    }
}
