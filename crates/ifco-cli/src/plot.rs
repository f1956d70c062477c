//! `ifco plot`: pictures of a recurrent layer.

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use ifco::view::color::Theme;
use ifco::view::plot::{self, Picture, PlotError, Sequence, Sort, Style};
use ifco::{Cell, DigestBuilder, Model, Opened, Trace, TraceOptions};
use ndarray::ArrayD;

use crate::failure::Failure;
use crate::labels::LabelsArgs;
use crate::opening::{self, ModelArgs};
use crate::precision::note;
use crate::predict::inputs::InputArgs;
use crate::progress::Progress;
use crate::threads::ThreadsArgs;
use crate::{interrupt, output};

const AFTER_HELP: &str = "\
The kinds:
  packing     kernel, recurrent_kernel and bias as they lie in memory, with the borders and
              names of the gates; of the model alone
  gates       every gate and state as a heat map, units × time, of one row of the input
  cell        the states and gates of a few units, a curve each, of one row of the input
  saturation  for each gate a point per unit: how often it is closed (below 0.1), how often
              open (above 0.9), over all rows (Karpathy, Johnson and Fei-Fei, 2015)

INPUT is what `ifco predict` takes. LABELS is a text file (or - for stdin), with a label per
line, one for each step; or with a line for each row of the input, or a single line, whose words
are the labels, or its characters where they fit and the words do not. Where steps are masked,
labels of the others will do.

Examples:
  ifco plot model.keras -o packing.svg                         what Keras packed, and where
  ifco plot model.keras --layer bidirectional/forward -o f.svg
  ifco plot model.keras x.npy --kind gates -o gates.png        the first row of x
  ifco plot model.keras x.npy --kind cell --units 3,7 --row 2 --labels words.txt -o cell.svg
  ifco plot model.keras x.npy --kind saturation --theme dark -o saturation.png";

/// Draw a recurrent layer: its packed weights, its gates over time, its units
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    input: InputArgs,

    /// What to draw
    #[arg(long, value_enum, default_value_t = Kind::Packing, hide_possible_values = true,
          value_name = "packing|gates|cell|saturation")]
    kind: Kind,

    /// The file to write: .svg or .png, by its name
    #[arg(short, long, value_name = "OUT", required = true)]
    output: PathBuf,

    /// The recurrent layer [default: the first]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,

    /// Which row of the input, counted from 0 (gates, cell)
    #[arg(long, value_name = "N", default_value_t = 0)]
    row: usize,

    #[command(flatten)]
    labels: LabelsArgs,

    /// The units to draw, up to six [default: the four that change most] (cell)
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    units: Vec<usize>,

    /// The order of the units from above (gates)
    #[arg(long, value_enum, default_value_t = SortBy::Unit)]
    sort: SortBy,

    /// The paper
    #[arg(long, value_enum, default_value_t = Paper::Light)]
    theme: Paper,

    /// Width and height in points [default: 960 wide, as high as it takes]
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,

    /// Pixels a point, for .png
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    scale: u8,

    /// The picture's title
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    #[command(flatten)]
    threads: ThreadsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Packing,
    Gates,
    Cell,
    Saturation,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SortBy {
    /// As in the weights
    Unit,
    /// What changes most first
    Activity,
    /// What remembers longest first
    Memory,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Paper {
    Light,
    Dark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size(u32, u32);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(['x', 'X', '×']);
        let numbers = parts.map(|(w, h)| (w.trim().parse(), h.trim().parse()));
        match numbers {
            Some((Ok(width), Ok(height))) => Ok(Size(width, height)),
            _ => Err("give width and height in points, as in 960x540".into()),
        }
    }
}

pub fn run(args: &Args) -> Result<(), Failure> {
    check_name(&args.output)?;
    args.check()?;
    args.threads.apply()?;
    let style = Style {
        theme: match args.theme {
            Paper::Light => Theme::Light,
            Paper::Dark => Theme::Dark,
        },
        size: args.size.map(|Size(width, height)| (width, height)),
        title: args.title.clone(),
    };
    let picture = match args.kind {
        Kind::Packing => args.packing(&style)?,
        _ => args.of_input(&style)?,
    };
    write(&picture, &args.output, f32::from(args.scale))?;
    let (width, height) = picture.size();
    let written = args.output.display();
    output::print(&format!(
        "{written}: {}, {width}x{height}\n",
        picture.title()
    ))
}

/// Whether the name says which kind of picture to write.
pub fn check_name(path: &Path) -> Result<(), Failure> {
    Format::of(path).map(|_| ())
}

/// Writes a picture, as SVG or as PNG of so many pixels a point, by the file's name.
pub fn write(picture: &Picture, path: &Path, scale: f32) -> Result<(), Failure> {
    let bytes = match Format::of(path)? {
        Format::Svg => picture.svg().map(String::into_bytes),
        Format::Png => picture.png(scale),
    };
    let bytes = bytes.map_err(Failure::from)?;
    interrupt::write_whole(|| ifco::arrays::write_file(path, |file| Ok(file.write_all(&bytes)?)))?;
    Ok(())
}

impl Args {
    /// What does not go together, before anything is opened.
    fn check(&self) -> Result<(), Failure> {
        let name = self.kind.to_possible_value();
        let name = name.as_ref().map_or("", |value| value.get_name());
        if self.kind != Kind::Packing && self.input.inputs.is_empty() {
            return Err(Failure::usage(format_args!(
                "--kind {name} shows what the layer does with an input, and none is given"
            ))
            .help(format_args!(
                "ifco plot {} x.npy --kind {name} -o {}",
                self.model.model.display(),
                self.output.display()
            )));
        }
        if self.kind == Kind::Packing && !self.input.inputs.is_empty() {
            return Err(
                Failure::usage("--kind packing shows the weights, and takes no input")
                    .help("choose --kind gates, cell or saturation to see what they do with one"),
            );
        }
        if !self.units.is_empty() && self.kind != Kind::Cell {
            return Err(Failure::usage("--units goes with --kind cell alone"));
        }
        if self.labels.labels.is_some() && !matches!(self.kind, Kind::Gates | Kind::Cell) {
            let what = "--labels goes with --kind gates and --kind cell: no other has steps";
            return Err(Failure::usage(what));
        }
        Ok(())
    }

    fn packing(&self, style: &Style) -> Result<Picture, Failure> {
        let opened = self.model.open()?;
        let (path, cell) = self.choose(&opened)?;
        Ok(plot::packing(&path, &cell, style)?)
    }

    fn of_input(&self, style: &Style) -> Result<Picture, Failure> {
        let opened = self.model.open_to_run()?;
        let model = self.model.whole(&opened)?;
        let (path, cell) = self.choose(&opened)?;
        let run = Run {
            inputs: self.input.read(model.inputs())?,
            model,
            path,
            files: self.files(),
        };
        if self.kind == Kind::Saturation {
            let digest = run
                .digest(DigestBuilder::new(cell.kind(), cell.units()))?
                .finish();
            return Ok(plot::saturation(&run.path, &digest, style)?);
        }
        let labels = self.labels.read()?;
        let (trace, row) = run.one_row(self.row)?;
        let labels = match labels {
            // A row that is not there is told below.
            Some(labels) if row < trace.batch() => {
                let counting = (0..trace.time()).filter(|&t| trace.counts(row, t)).count();
                let rows = run.rows().max(trace.batch());
                Some(labels.of((self.row, rows), (trace.time(), counting))?)
            }
            _ => None,
        };
        let sequence = Sequence::new(&trace, row, labels.as_deref())?.numbered(self.row);
        let picture = match self.kind {
            Kind::Cell => plot::cell(&run.path, &sequence, &self.units, style)?,
            _ => plot::gates(&run.path, &sequence, self.sort.into(), style)?,
        };
        Ok(picture)
    }

    fn files(&self) -> String {
        format!("{} on {}", self.model.model.display(), self.input.names())
    }

    /// The cell that is meant; where several are, the first, and a word on it.
    fn choose<'a>(&self, opened: &'a Opened) -> Result<(String, Cow<'a, Cell>), Failure> {
        let mut cells = opening::cells(opened);
        if let Some(name) = &self.layer {
            cells = opening::select(opened, cells, name)
                .map_err(|failure| failure.at_file(&self.model.model))?;
        }
        if cells.len() > 1 {
            let paths: Vec<&str> = cells.iter().map(|(path, _)| path.as_str()).collect();
            note(format_args!(
                "note: drawing {}; --layer NAME draws another of {}",
                paths[0],
                paths.join(", ")
            ));
        }
        let first = cells.into_iter().next();
        first.ok_or_else(|| opening::no_cells(opened).at_file(&self.model.model))
    }
}

/// A model, what it is to run on, and the cell to be looked at.
struct Run<'a> {
    model: &'a Model,
    inputs: Vec<ArrayD<f32>>,
    path: String,
    files: String,
}

impl Run<'_> {
    fn rows(&self) -> usize {
        self.model.rows(&self.inputs)
    }

    /// The trace of some rows of the input.
    fn trace(&self, rows: Range<usize>) -> Result<Trace, Failure> {
        let inputs = self.inputs.iter().zip(self.model.inputs());
        let views: Vec<_> = inputs
            .map(|(input, port)| port.take_rows(input.view(), rows.clone()))
            .collect();
        let found = self
            .model
            .trace_all(&[&self.path], &views, &TraceOptions::default())
            .map_err(|error| Failure::from(error).at(&self.files))?;
        let calls = found.traces.len();
        let first = found.traces.into_iter().next();
        let (_, trace) = first.ok_or_else(|| {
            let what = format!(
                "the model's outputs do not need {:?}: it does not run",
                self.path
            );
            Failure::new(what).at(&self.files)
        })?;
        if calls > 1 && rows.start == 0 {
            note(format_args!(
                "note: the model calls {} {calls} times; this is the first",
                self.path
            ));
        }
        Ok(trace)
    }

    /// A trace that holds the row, and where in it.
    fn one_row(&self, row: usize) -> Result<(Trace, usize), Failure> {
        let rows = self.rows();
        let is_alone = row < rows
            && self.model.static_batch_size().is_none()
            && !self
                .model
                .layers()
                .iter()
                .any(|entry| entry.layer.is_stateful());
        if is_alone {
            let trace = self.trace(row..row + 1)?;
            // Inside TimeDistributed a row of the input is several sequences.
            if trace.batch() == 1 {
                return Ok((trace, 0));
            }
        }
        Ok((self.trace(0..rows)?, row))
    }

    /// All rows, a few at a time: the gates of many need more memory than their shares.
    fn digest(&self, mut digest: DigestBuilder) -> Result<DigestBuilder, Failure> {
        let rows = self.rows();
        let fixed = self.model.static_batch_size();
        let batch = fixed.unwrap_or(Model::DEFAULT_BATCH_SIZE).max(1);
        let mut progress = Progress::new(rows as u64, "rows");
        for start in (0..rows).step_by(batch) {
            let end = rows.min(start + batch);
            digest.add(&self.trace(start..end)?, start, 0);
            progress.show(end as u64);
        }
        Ok(digest)
    }
}

#[derive(Clone, Copy)]
enum Format {
    Svg,
    Png,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().map(|ext| ext.to_ascii_lowercase());
        match extension.as_deref().and_then(|ext| ext.to_str()) {
            Some("svg") => Ok(Format::Svg),
            Some("png") => Ok(Format::Png),
            _ => Err(Failure::usage(format_args!(
                "the name {:?} does not say which kind of picture to write",
                path.display().to_string()
            ))
            .help("end it in .svg or .png")),
        }
    }
}

impl From<SortBy> for Sort {
    fn from(sort: SortBy) -> Self {
        match sort {
            SortBy::Unit => Sort::Unit,
            SortBy::Activity => Sort::Activity,
            SortBy::Memory => Sort::Memory,
        }
    }
}

impl From<PlotError> for Failure {
    fn from(error: PlotError) -> Self {
        let failure = Failure::new(&error);
        match error {
            PlotError::Size { .. } => failure.help("choose another --size, or leave it out"),
            PlotError::TooLarge { .. } => {
                failure.help("choose a smaller --size or --scale, or write .svg")
            }
            PlotError::Labels { .. } => failure.help("give a label for each step"),
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("960x540".parse(), Ok(Size(960, 540)));
        assert_eq!("960 × 540".parse(), Ok(Size(960, 540)));
        for wrong in ["960", "960x", "x", "-1x5", "1e3x5"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
