//! `ifco fit tag`: a label for each word.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ifco::arrays::ArrayFileError;
use ifco::records::conllu;
use ifco::tasks::tag::{MostFrequent, Right, Sentence, Tag, steps};
use ifco::tasks::{DataError, Recipe, Size};

use super::report::{Judged, Report, Score, typed};
use super::{Defaults, New, Options, at_random, judging, read_text};
use crate::failure::Failure;

const AFTER_HELP: &str = "\
DATA is CoNLL-U, as Universal Dependencies are: a line for each word, ten columns with tabs between
them, of which the second is the word and the fourth its part of speech; an empty line behind each
sentence.

The network is told of each word which it is, how it ends and what it looks like, and reads each
sentence both ways. Sentences are parted at random, by the seed; with --test all of DATA trains and
validates. Beside the model stands each word's most frequent label in the training part, and for
words that are not in it the one of words that come once.

Examples:
  ifco fit tag en_ewt-ud-train.conllu --test en_ewt-ud-test.conllu
  ifco fit tag corpus.conllu --units 128 --epochs 30 -o tagger.keras
  ifco predict tagger.keras text.txt                a sentence a line, a space between words";

/// Label each word of a sentence: parts of speech
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Tagged sentences, CoNLL-U
    data: PathBuf,

    /// More of them, to test on
    #[arg(long, value_name = "CONLLU")]
    test: Option<PathBuf>,

    /// Numbers that stand for a word
    #[arg(long, value_name = "N", default_value = "64")]
    embedding: NonZeroUsize,

    /// The most words that the model knows; the most frequent ones
    #[arg(long, value_name = "N", default_value = "20000")]
    vocabulary: NonZeroUsize,

    #[command(flatten)]
    options: Options,
}

const DEFAULTS: Defaults = Defaults {
    size: Size {
        units: 64,
        layers: 1,
        dropout: 0.3,
        embedding: 64,
    },
    epochs: 20,
    batch_size: 32,
    learning_rate: 2e-3,
    patience: 3,
};

pub fn run(args: &Args) -> Result<(), Failure> {
    let output = args.options.begin(&args.data)?;
    let all = read(&args.data)?;
    let (shares, test_apart) = ([0.8, 0.1, 0.1], args.test.is_some());
    let parts = at_random(&args.options, all.len(), shares, test_apart)
        .map_err(|failure| failure.at_file(&args.data))?;
    let pick = |part: Vec<usize>| {
        part.iter()
            .map(|i| all[*i].clone())
            .collect::<Vec<Sentence>>()
    };
    let [train, validation, rest] = parts.map(pick);
    let test = match &args.test {
        Some(path) => read(path)?,
        None => rest,
    };
    let task = Tag::of(&train, args.vocabulary.get());
    let size = Size {
        embedding: args.embedding.get(),
        ..args.options.size(&DEFAULTS)
    };
    let recipe = Recipe::Tag(task.clone());
    let fitted = New {
        architecture: task.architecture(&size),
        compile: task.compile(args.options.learning_rate(&DEFAULTS)),
        recipe: recipe.clone(),
        train: &task.samples(&train),
        validation: &task.samples(&validation),
    }
    .train(&args.options, &DEFAULTS, &output)?;

    let judge = judging(&validation, &test, Vec::len);
    let naive = MostFrequent::of(&train);
    let mut model = Judge::default();
    let mut without = Judge::default();
    let mut sentences = judge.iter();
    fitted.answers(&task.samples(judge), "sentences", |_, answer| {
        let rows = answer.shape().first().copied().unwrap_or(0);
        for (row, sentence) in (0..rows).zip(sentences.by_ref()) {
            let words = sentence.words.iter().zip(&sentence.tags);
            for ((word, tag), chances) in words.zip(steps(answer, row)) {
                let is_known = naive.knows(word);
                model.add(is_known, task.answer(&chances) == Some(tag));
                without.add(is_known, naive.tag(word) == tag);
            }
        }
    })?;
    let next = format!("ifco predict {} -", typed(&output));
    Report {
        recipe: &recipe,
        unit: "sentence",
        samples: [train.len(), validation.len(), test.len()],
        judged: vec![
            model.judged("model", "this model"),
            without.judged("most_frequent", "each word's most frequent label"),
        ],
        advice: "try more --epochs or more sentences",
        next: (next, "labels the words that you type, a sentence a line"),
    }
    .print(&args.options, &fitted, &output)
}

/// How many words were labelled rightly, and how many of those that training had not.
#[derive(Default)]
struct Judge {
    all: Right,
    unknown: Right,
}

impl Judge {
    fn add(&mut self, is_known: bool, is_right: bool) {
        self.all.add(is_right);
        if !is_known {
            self.unknown.add(is_right);
        }
    }

    fn judged(&self, key: &'static str, name: &str) -> Judged {
        Judged {
            key,
            name: name.into(),
            scores: vec![
                Score::share("accuracy", "accuracy", self.all.share()),
                Score::share("accuracy_unknown", "of unknown words", self.unknown.share()),
            ],
        }
    }
}

fn read(path: &Path) -> Result<Vec<Sentence>, Failure> {
    let text = read_text(path)?;
    let words =
        conllu::parse(&text).map_err(|error: ArrayFileError| Failure::from(error).at_file(path))?;
    let sentence = |words: &Vec<conllu::Word<'_>>| Sentence {
        words: words.iter().map(|word| word.form.to_owned()).collect(),
        tags: words.iter().map(|word| word.upos.to_owned()).collect(),
    };
    let all: Vec<Sentence> = words.iter().map(sentence).collect();
    if all
        .iter()
        .flat_map(|sentence| &sentence.tags)
        .all(|tag| tag == "_")
    {
        let what = DataError::new("no word has a part of speech in column 4");
        return Err(Failure::from(what.help("give a tagged file")).at_file(path));
    }
    Ok(all)
}
