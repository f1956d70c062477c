//! `ifco stream`: a model step by step, over input that need not end.

mod raw;
mod state;
mod text;
mod wav;

use std::io::{self, BufReader, BufWriter, IsTerminal};
use std::path::PathBuf;

use ifco::{Precision, Session, SessionError};

use crate::failure::Failure;
use crate::opening::ModelArgs;
use crate::output::count;
use crate::precision::{note_without_effect, parser};

const AFTER_HELP: &str = "\
Each step is answered at once, in memory that does not grow: what comes out of a step is what
predict gives for the last step of all that came so far. The model's layers must allow that;
Bidirectional, for one, has to see the end first.

Without files, steps come from stdin and answers go to stdout:
  text    a line of numbers for each step, separated by commas, semicolons or tabs; blank
          lines, lines that start with # and one header line are skipped
  --raw   float32, little endian, step after step without anything between

With IN.wav and OUT.wav each sample is a step: 8 to 32 bits or float, any length, any rate. A
model of one value hears each channel on its own, from states of its own; a model of as many
values as there are channels hears them together. Models of amplifiers are made for one sample
rate; if the file tells it and IN.wav has another, a note says so.

Ctrl-C ends a sound file early, and what was written until then is a whole file. Input on
stdin ends where it ends (Ctrl-D in a terminal).

Examples:
  ifco stream model.keras < sensor.csv                       a line in, a line out
  tail -f sensor.csv | ifco stream model.keras --json        as lines come, for a program
  ifco stream amp.nam guitar.wav amp.wav                     through a model of an amplifier
  ffmpeg -i in.mp3 -ac 1 -f f32le - | ifco stream amp.keras --raw > out.f32
  ifco stream model.keras --state s.npz < monday.csv         keep the states ...
  ifco stream model.keras --initial-state s.npz < tuesday.csv    ... and go on from them";

/// Run a model step by step: text, raw numbers or sound, of any length
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// A sound file to read, and the one to write
    #[arg(value_names = ["IN.wav", "OUT.wav"], num_args = 2)]
    files: Option<Vec<PathBuf>>,

    /// Read and write float32 numbers, little endian, instead of text
    #[arg(long, conflicts_with_all = ["files", "json"])]
    raw: bool,

    /// Print a line of JSON for each step; of a sound file, what was done
    #[arg(long)]
    json: bool,

    /// The samples of OUT.wav [default: those of IN.wav]
    #[arg(long, value_enum, requires = "files")]
    format: Option<wav::Format>,

    /// Which output of the model, if it has several
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    /// Begin with the states in this file, which --state wrote
    #[arg(long, value_name = "FILE.npz")]
    initial_state: Option<PathBuf>,

    /// How the recurrent layers keep their weights while they run: bf16 and int8 are faster and
    /// less exact; `ifco predict --precision` tells how far from f32 the outputs are
    #[arg(long, value_name = "P", default_value_t = Precision::F32, value_parser = parser())]
    precision: Precision,

    /// Save the states at the end
    #[arg(long, value_name = "FILE.npz")]
    state: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(path) = &args.state {
        state::check_name(path)?;
    }
    let mut model = args.model.open_layers()?;
    if args.precision != Precision::F32 {
        note_without_effect(&model, args.precision);
        model.set_precision(args.precision);
    }
    let open = || -> Result<Session, Failure> {
        let session = match &args.output {
            Some(name) => model.session_for(name),
            None => model.session(),
        };
        session.map_err(|error| Failure::from(error).at_file(&args.model.model))
    };
    if let Some([from, to]) = args.files.as_deref() {
        return wav::run(args, (from, to), model.about().sample_rate, &open);
    }
    let mut sessions = [open()?];
    state::load(args, &mut sessions)?;
    let [session] = &mut sessions;
    let stdin = io::stdin();
    if stdin.is_terminal() && !args.raw {
        let numbers = count(session.input_len(), "number");
        eprintln!("one line for each step, {numbers} on it; Ctrl-D ends");
    }
    let mut input = BufReader::with_capacity(1 << 16, stdin.lock());
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match args.raw {
        true => raw::run(session, &mut input, &mut output)?,
        false => text::run(session, &mut input, &mut output, args.json)?,
    }
    state::save(args, &sessions)
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let help = error.help();
        let failure = Failure::new(error);
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// Where something is wrong with what came in.
const STDIN: &str = "stdin";

fn unreadable(error: io::Error) -> Failure {
    Failure::new(format_args!("the input cannot be read: {error}")).at(STDIN)
}
