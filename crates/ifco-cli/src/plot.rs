//! `ifco plot`: pictures of a recurrent layer.

mod run;

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use ifco::view::color::Theme;
use ifco::view::plot::{self, Picture, PlotError, Sequence, Sort, Style};
use ifco::{Cell, DigestBuilder, GradientTrace, Opened, Trace};

use crate::failure::Failure;
use crate::labels::{Labels, LabelsArgs};
use crate::opening::{self, ModelArgs};
use crate::precision::note;
use crate::predict::inputs::InputArgs;
use crate::threads::ThreadsArgs;
use crate::trace::gradient::OfArgs;
use crate::{interrupt, output};

use run::Run;

const AFTER_HELP: &str = "\
The kinds:
  packing     kernel, recurrent_kernel and bias as they lie in memory, with the borders and
              names of the gates; of the model alone
  gates       every gate and state as a heat map, units × time, of one row of the input
  cell        the states and gates of a few units, a curve each, of one row of the input
  gradient    the size of dL/dc and dL/dh at every step and in every unit, on the way back from
              the loss (--y) or the output (--target), and what the forget gates alone let through,
              of one row
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
  ifco plot model.keras x.npy --kind gradient --sort memory -o gradient.svg
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
          value_name = "packing|gates|cell|gradient|saturation")]
    kind: Kind,

    /// The file to write: .svg or .png, by its name
    #[arg(short, long, value_name = "OUT", required = true)]
    output: PathBuf,

    /// The recurrent layer [default: the first]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,

    /// Which row of the input, counted from 0 (gates, cell, gradient)
    #[arg(long, value_name = "N", default_value_t = 0)]
    row: usize,

    #[command(flatten)]
    labels: LabelsArgs,

    /// The units to draw, up to six [default: the four that change most] (cell)
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    units: Vec<usize>,

    /// The order of the units from above (gates, gradient)
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
    of: OfArgs,

    #[command(flatten)]
    threads: ThreadsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Packing,
    Gates,
    Cell,
    Gradient,
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
                    .help("choose --kind gates, cell, gradient or saturation to see what they do with one"),
            );
        }
        if !self.units.is_empty() && self.kind != Kind::Cell {
            return Err(Failure::usage("--units goes with --kind cell alone"));
        }
        let has_steps = matches!(self.kind, Kind::Gates | Kind::Cell | Kind::Gradient);
        if self.labels.labels.is_some() && !has_steps {
            let what = "--labels goes with --kind gates, cell and gradient: no other has steps";
            return Err(Failure::usage(what));
        }
        if self.of.is_given() && self.kind != Kind::Gradient {
            let what = "--y, --target and --at go with --kind gradient alone";
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
        let opened = match self.kind {
            Kind::Gradient => Opened::Model(self.model.open_layers()?),
            _ => self.model.open_to_run()?,
        };
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
        if self.kind == Kind::Gradient {
            let mut of = self.of.of(model, None)?;
            let batch = |gradient: &GradientTrace| gradient.trace.batch();
            let (gradient, row) = run.one_row(self.row, batch, |rows| {
                run.gradient(&self.of, &mut of, rows)
            })?;
            let labels = self.labels_of(labels, &run, (&gradient.trace, row))?;
            let sequence = Sequence::new(&gradient.trace, row, labels.as_deref())?;
            let sequence = sequence.numbered(self.row);
            let (sort, of) = (self.sort.into(), of.words(model));
            let picture = plot::gradient(&run.path, &sequence, &gradient, &of, sort, style);
            return Ok(picture?);
        }
        let (trace, row) = run.one_row(self.row, Trace::batch, |rows| run.trace(rows))?;
        let labels = self.labels_of(labels, &run, (&trace, row))?;
        let sequence = Sequence::new(&trace, row, labels.as_deref())?.numbered(self.row);
        let picture = match self.kind {
            Kind::Cell => plot::cell(&run.path, &sequence, &self.units, style)?,
            _ => plot::gates(&run.path, &sequence, self.sort.into(), style)?,
        };
        Ok(picture)
    }

    /// What the steps of a row are called.
    fn labels_of(
        &self,
        labels: Option<Labels>,
        run: &Run<'_>,
        (trace, row): (&Trace, usize),
    ) -> Result<Option<Vec<String>>, Failure> {
        match labels {
            // A row that is not there is told when it is drawn.
            Some(labels) if row < trace.batch() => {
                let counting = (0..trace.time()).filter(|&t| trace.counts(row, t)).count();
                let rows = run.rows().max(trace.batch());
                Ok(Some(labels.of((self.row, rows), (trace.time(), counting))?))
            }
            _ => Ok(None),
        }
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
