//! `ifco generate`: text, written by a language model piece by piece.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use ifco::tasks::Recipe;
use ifco::tasks::generate::Sampler;
use serde_json::json;

use crate::failure::Failure;
use crate::output::print;

const AFTER_HELP: &str = "\
The model reads the prompt and then what it writes itself, one piece after another, with the
memory of a single step: a text may be as long as one likes.

A temperature of 1 draws from the chances as the model gives them; below 1 the likelier pieces
come more often, and at 0 always the likeliest. The same seed writes the same text.

Examples:
  ifco fit generate shakespeare.txt
  ifco generate shakespeare.keras
  ifco generate shakespeare.keras --prompt 'ROMEO:' --length 2000 --temperature 0.6 --seed 3";

/// Write text with a model of `ifco fit generate`
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// A .keras that `ifco fit generate` made
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// What the text begins with
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "\n",
        hide_default_value = true
    )]
    prompt: String,

    /// How many characters or words to write
    #[arg(long, value_name = "N", default_value_t = 500)]
    length: usize,

    /// How freely to draw: 0 takes the likeliest
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = temperature)]
    temperature: f64,

    /// Draw among so many of the likeliest alone
    #[arg(long, value_name = "N")]
    top_k: Option<std::num::NonZeroUsize>,

    /// What is drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

fn temperature(text: &str) -> Result<f64, String> {
    let temperature: Option<f64> = text.parse().ok();
    let temperature = temperature.filter(|t| *t >= 0.0 && t.is_finite());
    temperature.ok_or_else(|| "expected a number from 0 on".into())
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let at_model = |failure: Failure| failure.at_file(&args.model);
    let Some(Recipe::Generate(task)) = ifco::open_recipe(&args.model)? else {
        let what = "the file does not tell what text its model writes";
        let help = "`ifco fit generate TEXT` makes a model that does";
        return Err(at_model(Failure::new(what).help(help)));
    };
    let model = ifco::open(&args.model)?;
    let mut session = model
        .session()
        .map_err(|error| at_model(Failure::new(error)))?;
    if session.output_len() != task.vocabulary.size() || session.input_len() != 1 {
        let what = "the ifco.json in the file is that of another model: their sizes differ";
        return Err(at_model(
            Failure::new(what).help("make the model again with `ifco fit`"),
        ));
    }
    let prompt = task.numbers(&args.prompt);
    let Some((last, before)) = prompt.split_last() else {
        let what = "the prompt is empty, and the model needs something to begin with";
        return Err(Failure::usage(what).help("leave --prompt out, or give it some text"));
    };
    for number in before {
        session.step(&[*number as f32]);
    }
    let mut sampler = Sampler::new(args.seed, args.temperature, args.top_k.map(|n| n.get()));
    let mut out = io::stdout().lock();
    let mut text = String::new();
    if !args.json {
        // The line that stands for no prompt is not worth showing.
        out.write_all(args.prompt.trim_start_matches('\n').as_bytes())?;
    }
    let start = Instant::now();
    let mut number = *last as usize;
    for _ in 0..args.length {
        number = sampler.draw(session.step(&[number as f32]));
        let piece = task.vocabulary.piece(number).unwrap_or_default();
        match args.json {
            true => text.push_str(piece),
            false => {
                out.write_all(piece.as_bytes())?;
                out.flush()?;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if !args.json {
        out.write_all(b"\n")?;
        return Ok(out.flush()?);
    }
    drop(out);
    print(&format!(
        "{}\n",
        json!({
            "schema": 1,
            "file": args.model.display().to_string(),
            "prompt": args.prompt,
            "text": text,
            "pieces": args.length,
            "temperature": args.temperature,
            "seed": args.seed,
            "seconds": seconds,
        })
    ))
}
