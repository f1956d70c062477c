//! Pictures of a recurrent layer, as SVG or PNG.
//!
//! Each function gives a [`Picture`]; [`Picture::svg`] and [`Picture::png`] make the file's bytes.
//! The same input gives the same bytes, on every machine: the font of a PNG is inside.
//!
//! ```
//! use ifco_cell::{Activation, LstmCell, LstmWeights};
//! use ifco_view::plot::{self, Style};
//! use ndarray::{Array1, Array2};
//!
//! let (features, units) = (3, 8);
//! let weights = LstmWeights::new(
//!     Array2::from_shape_fn((features, 4 * units), |(i, j)| (i as f32 - 1.0) * (j as f32).sin()),
//!     Array2::zeros((units, 4 * units)),
//!     Some(Array1::ones(4 * units)),
//! )?;
//! let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid).into();
//!
//! let picture = plot::packing("lstm", &cell, &Style::default())?;
//! let svg = picture.svg()?;
//! assert!(svg.contains("forget gate") && svg.contains("kernel[:, 8:16]"));
//! let png = picture.png(2.0)?; // two pixels a point
//! assert!(png.starts_with(b"\x89PNG"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod axis;
mod cell;
mod curves;
mod gates;
mod gradient;
mod heat;
mod lettering;
mod packing;
mod render;
mod saturation;
mod sheet;
mod signal;

use std::fmt;

pub use cell::cell;
pub use curves::{History, curves};
pub use gates::{Sort, gates};
pub use gradient::gradient;
pub use packing::packing;
pub use saturation::saturation;
use sheet::Sheet;
pub use signal::Sequence;

use crate::color::Theme;

/// How a picture is to look.
///
/// ```
/// use ifco_view::color::Theme;
/// use ifco_view::plot::Style;
/// let style = Style { theme: Theme::Dark, ..Style::default() };
/// assert_eq!(style.size, None); // as large as what it shows asks for
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Style {
    /// Light or dark paper.
    pub theme: Theme,
    /// Width and height in points; without it 960 wide, and as high as it takes.
    pub size: Option<(u32, u32)>,
    /// The title; without it the layer's name and what is shown.
    pub title: Option<String>,
}

impl Style {
    /// Width where none is asked for.
    const WIDTH: u32 = 960;
    /// Neither side of a picture is longer than this, in points.
    const LONGEST: u32 = 10_000;

    /// The width, and the height where it is given; at least `least`.
    fn size(&self, least: (u32, u32)) -> Result<(u32, Option<u32>), PlotError> {
        let Some((width, height)) = self.size else {
            return Ok((Self::WIDTH, None));
        };
        let fits = |size: u32, least: u32| (least..=Self::LONGEST).contains(&size);
        if fits(width, least.0) && fits(height, least.1) {
            return Ok((width, Some(height)));
        }
        Err(PlotError::Size {
            width,
            height,
            least,
            longest: Self::LONGEST,
        })
    }
}

/// A picture, ready to be written as SVG or PNG.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    sheet: Sheet,
}

impl Picture {
    /// Width and height in points: those of the SVG.
    pub fn size(&self) -> (u32, u32) {
        (self.sheet.width, self.sheet.height)
    }

    /// What it shows, in a sentence.
    pub fn title(&self) -> &str {
        &self.sheet.title
    }

    /// The picture as an SVG document; texts in it are text.
    ///
    /// # Errors
    /// When drawing fails, which is a defect of ifco.
    pub fn svg(&self) -> Result<String, PlotError> {
        self.sheet.svg()
    }

    /// The picture as a PNG file with so many pixels a point.
    ///
    /// # Errors
    /// When it would have more than twelve million pixels.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>, PlotError> {
        self.sheet.png(scale)
    }
}

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The size asked for does not hold what is to be shown, or is enormous.
    #[error(
        "a picture of {width}x{height} points was asked for; this one can be {}x{} to {longest}x{longest}",
        .least.0, .least.1
    )]
    Size {
        /// In points.
        width: u32,
        /// In points.
        height: u32,
        /// The smallest width and height at which it can be read.
        least: (u32, u32),
        /// The longest side.
        longest: u32,
    },
    /// A PNG of too many pixels.
    #[error("a PNG of {width}x{height} pixels was asked for, more than {} million", .most / 1_000_000)]
    TooLarge {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
        /// How many pixels there may be in all.
        most: usize,
    },
    /// Labels that cannot be given to the steps.
    #[error("there {} for {steps} steps{}", are(*.found), not_masked(*.counting, *.steps))]
    Labels {
        /// How many there are.
        found: usize,
        /// How many steps the sequence has.
        steps: usize,
        /// How many of them no mask skips.
        counting: usize,
    },
    /// There is nothing of this kind to show.
    #[error("{0}")]
    Nothing(String),
    /// plotters or the PNG encoder failed.
    #[error("the picture cannot be drawn: {0}")]
    Drawing(String),
}

impl PlotError {
    fn drawing(error: impl fmt::Display) -> Self {
        PlotError::Drawing(error.to_string())
    }
}

fn are(labels: usize) -> String {
    match labels {
        1 => "is 1 label".into(),
        labels => format!("are {labels} labels"),
    }
}

fn not_masked(counting: usize, steps: usize) -> String {
    match counting == steps {
        true => String::new(),
        false => format!(", {counting} of which are not masked"),
    }
}
