//! A sheet of paper: what a picture consists of, in points, before it becomes SVG or PNG.
//!
//! `plotters` draws it, onto either. Heat maps lie below everything else, as images with a pixel
//! a cell: a rectangle for each cell would make an SVG of many megabytes.

use super::lettering::width;
use crate::color::{Rgb, Theme};

/// x, y, width and height in points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

impl Area {
    pub fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }

    pub fn right(&self) -> f32 {
        self.x + self.width
    }

    pub fn bottom(&self) -> f32 {
        self.y + self.height
    }
}

/// Where a text stands of its x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Middle,
    Right,
}

/// A line of text; `y` is its baseline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub x: f32,
    pub y: f32,
    pub text: String,
    pub size: f32,
    pub color: Rgb,
    pub align: Align,
    pub bold: bool,
    /// Read from below, as at a vertical axis.
    pub turned: bool,
}

/// Coloured cells, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cells {
    pub columns: usize,
    pub rows: usize,
    pub colors: Vec<Rgb>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Element {
    Fill(Area, Rgb),
    Line {
        points: Vec<(f32, f32)>,
        color: Rgb,
        width: f32,
        opacity: f32,
    },
    Dot {
        x: f32,
        y: f32,
        radius: f32,
        color: Rgb,
        opacity: f32,
    },
    Text(Text),
}

/// What is on the paper.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sheet {
    pub width: u32,
    pub height: u32,
    pub theme: Theme,
    /// What the picture is, for who cannot see it.
    pub title: String,
    pub images: Vec<(Area, Cells)>,
    pub elements: Vec<Element>,
}

impl Sheet {
    pub fn new((width, height): (u32, u32), theme: Theme, title: &str) -> Self {
        Self {
            width,
            height,
            theme,
            title: printable(title),
            images: Vec::new(),
            elements: Vec::new(),
        }
    }

    pub fn image(&mut self, area: Area, cells: Cells) {
        // A kernel of no features has no cells, and an image must have some.
        if !cells.colors.is_empty() {
            self.images.push((area, cells));
        }
    }

    pub fn fill(&mut self, area: Area, color: Rgb) {
        self.elements.push(Element::Fill(area, color));
    }

    pub fn line(&mut self, points: Vec<(f32, f32)>, color: Rgb, width: f32) {
        self.faint_line(points, color, width, 1.0);
    }

    pub fn faint_line(&mut self, points: Vec<(f32, f32)>, color: Rgb, width: f32, opacity: f32) {
        self.elements.push(Element::Line {
            points,
            color,
            width,
            opacity,
        });
    }

    pub fn outline(&mut self, area: Area, color: Rgb, width: f32) {
        let (left, top, right, bottom) = (area.x, area.y, area.right(), area.bottom());
        // Half a line further, so that the corner is closed.
        let start = left - width / 2.0;
        self.line(
            vec![
                (start, top),
                (right, top),
                (right, bottom),
                (left, bottom),
                (left, top),
            ],
            color,
            width,
        );
    }

    pub fn dot(&mut self, (x, y): (f32, f32), radius: f32, color: Rgb, opacity: f32) {
        self.elements.push(Element::Dot {
            x,
            y,
            radius,
            color,
            opacity,
        });
    }

    /// A line of text, as the arguments of [`text`] make it.
    pub fn text(&mut self, text: Text) {
        self.elements.push(Element::Text(text));
    }

    /// Stripes over steps that a mask skips.
    pub fn hatch(&mut self, area: Area, color: Rgb) {
        const GAP: f32 = 6.0;
        let mut offset = GAP / 2.0;
        while offset < area.width + area.height {
            // From the lower left to the upper right, cut off at the area's borders.
            let (x0, y0) = match offset <= area.height {
                true => (area.x, area.y + offset),
                false => (area.x + offset - area.height, area.bottom()),
            };
            let (x1, y1) = match offset <= area.width {
                true => (area.x + offset, area.y),
                false => (area.right(), area.y + offset - area.width),
            };
            self.faint_line(vec![(x0, y0), (x1, y1)], color, 0.8, 0.55);
            offset += GAP;
        }
    }
}

/// A plain line of text, to the right of `x` and on the baseline `y`.
pub(super) fn text(x: f32, y: f32, size: f32, color: Rgb, text: &str) -> Text {
    Text {
        x,
        y,
        text: printable(text),
        size,
        color,
        align: Align::Left,
        bold: false,
        turned: false,
    }
}

impl Text {
    pub fn align(self, align: Align) -> Self {
        Self { align, ..self }
    }

    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub fn turned(self) -> Self {
        Self {
            turned: true,
            ..self
        }
    }
}

/// Text without what a picture cannot show or XML must not hold: control characters, and those
/// that turn the direction of what follows.
pub(super) fn printable(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push('\u{21b5}'),
            '\t' => shown.push('\u{21e5}'),
            c if is_odd(c) => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

/// The text itself, or as much of its beginning as fits, with an ellipsis.
pub(super) fn fit(text: &str, size: f32, room: f32) -> String {
    // Nothing is as narrow as a fifth of its height, so no more than this can ever fit: the
    // rest of a label of a million letters is not measured.
    let most = (room.max(0.0) / size * 5.0) as usize + 1;
    let mut shown: String = text.chars().take(most).collect();
    if shown.len() == text.len() && width(&shown, size, false) <= room {
        return shown;
    }
    while shown.pop().is_some() {
        let shorter = format!("{}…", shown.trim_end());
        if width(&shorter, size, false) <= room {
            return shorter;
        }
    }
    "…".into()
}
