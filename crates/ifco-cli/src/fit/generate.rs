//! `ifco fit generate`: a language model.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ifco::tasks::generate::{Counts, Parts, Surprise};
use ifco::tasks::text::Level;
use ifco::tasks::{Recipe, Size};

use super::report::{Judged, Report, Score, typed};
use super::{Defaults, New, Options, judging, read_text};
use crate::failure::Failure;

const AFTER_HELP: &str = "\
TEXT is read as it is, in UTF-8. The network reads it piece by piece, characters or words, and
learns the chances of each next one. The parts to train, validate and test on lie one behind the
other in the text; what only the later ones have is unknown to the model.

Perplexity is the measure: among how many equally likely pieces one would be as uncertain. Beside
the model's stands that of taking all pieces for equally likely, of how often each comes, and of how
often each comes behind the one before.

Examples:
  ifco fit generate shakespeare.txt
  ifco fit generate shakespeare.txt --units 512 --layers 2 --dropout 0.2 --epochs 20
  ifco fit generate news.txt --level word --vocabulary 20000 --length 40
  ifco generate shakespeare.keras --prompt 'ROMEO:' --temperature 0.7";

/// Learn to write as a text is written, character by character or word by word
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The text
    text: PathBuf,

    /// The pieces it is read in: char or word
    #[arg(long, default_value_t = Level::Char)]
    level: Level,

    /// Pieces of a sample
    #[arg(long, value_name = "N", default_value = "100")]
    length: NonZeroUsize,

    /// Numbers that stand for a piece
    #[arg(long, value_name = "N", default_value = "64")]
    embedding: NonZeroUsize,

    /// The most pieces that the model knows; the most frequent ones
    #[arg(long, value_name = "N", default_value = "10000")]
    vocabulary: NonZeroUsize,

    #[command(flatten)]
    options: Options,
}

const DEFAULTS: Defaults = Defaults {
    size: Size {
        units: 256,
        layers: 1,
        dropout: 0.1,
        embedding: 64,
    },
    epochs: 10,
    batch_size: 32,
    learning_rate: 2e-3,
    patience: 2,
};

pub fn run(args: &Args) -> Result<(), Failure> {
    let output = args.options.begin(&args.text)?;
    let at_text = |failure: Failure| failure.at_file(&args.text);
    let text = read_text(&args.text)?;
    let split = args.options.split([0.9, 0.05, 0.05])?;
    let (length, most) = (args.length.get(), args.vocabulary.get());
    let parts = Parts::of(&text, args.level, length, most, &split)
        .map_err(|error| at_text(error.into()))?;
    let size = Size {
        embedding: args.embedding.get(),
        ..args.options.size(&DEFAULTS)
    };
    let recipe = Recipe::Generate(parts.task.clone());
    let fitted = New {
        architecture: parts.task.architecture(&size),
        compile: parts.task.compile(args.options.learning_rate(&DEFAULTS)),
        recipe: recipe.clone(),
        train: &parts.train,
        validation: &parts.validation,
    }
    .train(&args.options, &DEFAULTS, &output)?;

    let judge = judging(&parts.validation, &parts.test, |part| part.count());
    let mut surprise = Surprise::default();
    fitted.answers(judge, "samples", |data, answer| {
        let came = data.targets.iter().flatten();
        let chances = answer.lanes(ndarray::Axis(answer.ndim().saturating_sub(1)));
        for (chances, came) in chances.into_iter().zip(came) {
            let chance = chances.get(*came as usize).copied().unwrap_or(0.0);
            surprise.add(f64::from(chance));
        }
    })?;
    let piece = match args.level {
        Level::Char => "bits a character",
        Level::Word => "bits a word",
    };
    let of = |key, name: &str, surprise: Surprise| Judged {
        key,
        name: name.into(),
        scores: vec![
            Score::of("perplexity", "perplexity", surprise.perplexity()),
            Score::of("bits", piece, surprise.bits()),
        ],
    };
    let counts = Counts::of(parts.train.numbers(), parts.task.vocabulary.size());
    let [uniform, ones, pairs] = counts.surprises(judge);
    let next = format!("ifco generate {}", typed(&output));
    Report {
        recipe: &recipe,
        unit: "sample",
        samples: [&parts.train, &parts.validation, &parts.test].map(|part| part.count()),
        judged: vec![
            of("model", "this model", surprise),
            of("bigram", "by the piece before", pairs),
            of("unigram", "by how often each comes", ones),
            of("uniform", "all as likely", uniform),
        ],
        advice: "try more --epochs or --units, or more text",
        next: (next, "writes on; --prompt, --length, --temperature"),
    }
    .print(&args.options, &fitted, &output)
}
