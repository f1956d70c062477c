//! What is written of each epoch beside the model: as numbers, for TensorBoard, as a picture.

use std::path::{Path, PathBuf};

use ifco::view::plot::{self, History, Style};

use crate::destination::check_place;
use crate::failure::Failure;
use crate::precision::note;

#[derive(clap::Args)]
pub struct Records {
    /// Write a line for each epoch, as Keras's CSVLogger
    #[arg(long, value_name = "CSV")]
    pub csv_log: Option<PathBuf>,

    /// At the end, draw the loss and the metrics of each epoch: .svg or .png
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Write the loss and the metrics of each epoch for TensorBoard, in DIR/train and DIR/validation
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}

impl Records {
    /// Whether the files can be written, before any work. `taken` are those of the training itself.
    pub fn check(&self, taken: &[&Path], replaces: bool) -> Result<(), Failure> {
        if let Some(plot) = &self.plot {
            crate::plot::check_name(plot)?;
        }
        let mut files = self.csv_log.iter().chain(&self.plot);
        files.try_for_each(|path| check_place(path, taken, replaces))
    }

    /// Draws the curves, where they are wanted.
    pub fn draw(&self, history: &History, model: &Path) -> Result<(), Failure> {
        let Some(path) = &self.plot else {
            return Ok(());
        };
        if history.logs.is_empty() {
            note(format_args!(
                "no epoch came to its end: there are no curves to draw"
            ));
            return Ok(());
        }
        let name = model.file_name().unwrap_or(model.as_os_str());
        let style = Style {
            title: Some(format!("How {} was trained", name.display())),
            ..Style::default()
        };
        crate::plot::write(&plot::curves(history, &style)?, path, 2.0)
    }
}
