//! `ifco view`: a page on which one sees the model think.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ifco::{Model, Opened};
use ifco_view::page::{Page, PageError, ServeError, ServeOptions, Vocabulary, serve};

use crate::failure::Failure;
use crate::labels::LabelsArgs;
use crate::opening::{ARCHITECTURE_HELP, ModelArgs};
use crate::predict::inputs::InputArgs;
use crate::progress::Progress;
use crate::threads::ThreadsArgs;
use crate::{interrupt, output};

const AFTER_HELP: &str = "\
The page shows the packing of the weights, one step of the cell with its numbers, every gate
through time, and the model with its predictions; editing the input there runs the model again.
It is served to this machine alone, at an address with a random token; Ctrl-C ends it.

INPUT is what `ifco predict` takes; the page shows one row of it at a time. --text is an input
as text instead, once for each input of the model:
  a model over tokens (an Embedding reads the input)
      with --vocabulary   words between blanks, or single characters where the vocabulary's
                          tokens are; padded with 0 to the model's length
      without             the tokens' numbers (\"12 5 7\"), or characters by their Unicode codes
  a model over numbers    a line for each step, features separated by commas

Without INPUT and --text there is the packing, and an empty input to fill in.

Examples:
  ifco view model.keras x.npy --open                  opens the browser
  ifco view model.keras series.csv --labels days.txt  a name for each step, one a line
  ifco view model.keras --text \"who is there\" --vocabulary vocabulary.txt
  ifco view model.keras x.npy --export page.html      one file, which needs no server
  ifco view w.weights.h5                              weights alone: their packing";

/// See a model think: its gates, step by step, on a page in the browser
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    input: InputArgs,

    /// An input as text; once for each input of the model
    #[arg(long, value_name = "TEXT", conflicts_with = "inputs")]
    text: Vec<String>,

    /// The model's tokens, one a line; the first is number 0
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,

    #[command(flatten)]
    labels: LabelsArgs,

    /// The row of the input to show first, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0, requires = "inputs")]
    row: usize,

    /// Write the page to one file of HTML instead of serving it
    #[arg(long, value_name = "PAGE.html", conflicts_with_all = ["port", "open"])]
    export: Option<PathBuf>,

    /// The port to serve at [default: any that is free]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    port: u16,

    /// Open the page in the browser: $BROWSER, or the desktop's
    #[arg(long)]
    open: bool,

    #[command(flatten)]
    threads: ThreadsArgs,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    args.threads.apply()?;
    let page = page(args)?;
    match &args.export {
        Some(path) => export(&page, path),
        None => serve_page(args, page),
    }
}

fn page(args: &Args) -> Result<Page, Failure> {
    let file = &args.model.model;
    let title = file
        .file_name()
        .unwrap_or(file.as_os_str())
        .to_string_lossy();
    let at_model = |error: PageError| Failure::from(error).at_file(file);
    let has_input = !args.input.inputs.is_empty() || !args.text.is_empty();
    let opened = match has_input {
        true => args.model.open_to_run()?,
        // Of weights that no model can be made of, there is the packing to see.
        false => args.model.open_to_see()?,
    };
    let mut page = match opened {
        Opened::Weights(_) if has_input => {
            return Err(at_model(PageError::NoModel).help(ARCHITECTURE_HELP));
        }
        Opened::Weights(weights) => Page::of_weights(&title, weights.cells()),
        Opened::Model(model) => {
            let inputs = read_inputs(args, &model)?;
            let layers = ifco::in_keras_layers(&model).and_then(Result::ok);
            let mut page = Page::of_model(&title, *model);
            if let Some(layers) = layers {
                page = page.with_way_back(layers);
            }
            if let Some(path) = &args.vocabulary {
                page = page.with_vocabulary(Vocabulary::parse(&read_text(path)?));
            }
            match inputs {
                Some(inputs) => {
                    let page = page
                        .with_row(args.row)
                        .and_then(|page| page.with_inputs(inputs));
                    page.map_err(at_model)?
                }
                None if !args.text.is_empty() => page.with_texts(&args.text).map_err(at_model)?,
                None => page,
            }
        }
    };
    if let Some(labels) = args.labels.read()? {
        let (rows, steps) = (page.rows(), page.steps());
        let of = move |row, steps| labels.of((row, rows), (steps, steps));
        if !steps.iter().any(|&steps| of(args.row, steps).is_ok()) {
            of(args.row, steps.first().copied().unwrap_or(0))?;
        }
        page = page.with_labels(move |row, steps| of(row, steps).ok());
    }
    Ok(page)
}

fn read_inputs(args: &Args, model: &Model) -> Result<Option<Vec<ndarray::ArrayD<f32>>>, Failure> {
    match args.input.inputs.is_empty() {
        true => Ok(None),
        false => args.input.read(model.inputs()).map(Some),
    }
}

/// Files of labels and tokens are small.
const LARGEST_TEXT: u64 = 64 << 20;

fn read_text(path: &Path) -> Result<String, Failure> {
    let unreadable = |error| Failure::new(format_args!("cannot read it: {error}")).at_file(path);
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let read = file.take(LARGEST_TEXT + 1).read_to_string(&mut text);
    if read.map_err(unreadable)? as u64 > LARGEST_TEXT {
        let what = format_args!("it is larger than {} MB", LARGEST_TEXT >> 20);
        return Err(Failure::new(what).at_file(path));
    }
    Ok(text)
}

fn export(page: &Page, path: &Path) -> Result<(), Failure> {
    let mut progress = None;
    let html = page.export_watched(&mut |done, parts| {
        let progress = progress.get_or_insert_with(|| Progress::new(parts as u64, "parts"));
        progress.show(done as u64);
    })?;
    drop(progress);
    Ok(interrupt::write_whole(|| {
        ifco::arrays::write_file(path, |file| Ok(file.write_all(html.as_bytes())?))
    })?)
}

fn serve_page(args: &Args, page: Page) -> Result<(), Failure> {
    let options = ServeOptions { port: args.port };
    let ready = |url: &str| {
        // Whoever started it with a pipe that has gone can still open the page.
        let _ = output::print(&format!("{url}\n"));
        eprintln!("the page is served to this machine alone; Ctrl-C ends it");
        if args.open
            && let Err(why) = open_browser(url)
        {
            eprintln!("no browser could be opened ({why}): open the address yourself");
        }
    };
    match serve(page, options, ready) {
        Ok(never) => match never {},
        Err(error) => Err(error.into()),
    }
}

/// Opens the address in the browser of `$BROWSER`, or in the desktop's.
fn open_browser(url: &str) -> Result<(), String> {
    if let Some(browser) = std::env::var_os("BROWSER").filter(|name| !name.is_empty()) {
        let opened = open::with_detached(url, browser.to_string_lossy());
        return opened.map_err(|error| format!("{}: {error}", browser.to_string_lossy()));
    }
    // Without a desktop the programs that open things start, fail, and say so to nobody.
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"];
    if cfg!(target_os = "linux") && !desktop.into_iter().any(is_set) {
        return Err("there is no desktop here".into());
    }
    open::that_detached(url).map_err(|error| error.to_string())
}

impl From<PageError> for Failure {
    fn from(error: PageError) -> Self {
        let help = error.help();
        let failure = Failure::new(error);
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let help = error.help();
        let failure = Failure::new(error);
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}
