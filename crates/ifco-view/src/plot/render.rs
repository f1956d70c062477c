//! A [`Sheet`] as SVG and as PNG, drawn by plotters.

use std::fmt::Write;

use base64::Engine;
use plotters::prelude::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    FontDesc, FontFamily, FontStyle, FontTransform, RGBAColor, ShapeStyle, TextStyle,
};
use plotters_backend::{BackendColor, DrawingErrorKind};

use super::PlotError;
use super::lettering;
use super::sheet::{Align, Cells, Element, Sheet, Text};
use crate::color::Rgb;

/// An SVG is shown with the reader's own font, which is hardly ever wider than DejaVu Sans, with
/// which text is measured.
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";

/// plotters counts in whole pixels: an SVG has this many of its units a point.
const SVG_SCALE: f32 = 10.0;

/// plotters smooths no thick line: a PNG is drawn larger by this, and shrunk.
const SMOOTH: usize = 3;

/// A PNG has no more pixels than this.
pub(super) const MOST_PIXELS: usize = 12_000_000;

impl Sheet {
    pub fn svg(&self) -> Result<String, PlotError> {
        let size = [self.width, self.height].map(|size| size * SVG_SCALE as u32);
        let mut drawn = String::new();
        {
            let mut backend = SVGBackend::with_string(&mut drawn, (size[0], size[1]));
            let canvas = Canvas {
                scale: SVG_SCALE,
                has_text: true,
            };
            draw(self, &mut backend, &canvas).map_err(PlotError::drawing)?;
            backend.present().map_err(PlotError::drawing)?;
        }
        // The first line is plotters' <svg …>: ours has another size, and a title.
        let body = drawn.split_once('\n').map_or("", |(_, body)| body);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
             viewBox=\"0 0 {} {}\" role=\"img\">\n<title>{}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n",
            self.width,
            self.height,
            size[0],
            size[1],
            escaped(&self.title),
            self.theme.paper(),
        );
        for (area, cells) in &self.images {
            let [x, y, width, height] =
                [area.x, area.y, area.width, area.height].map(|value| value * SVG_SCALE);
            let image = base64::engine::general_purpose::STANDARD.encode(cells.png()?);
            // Writing to a String does not fail.
            let _ = writeln!(
                svg,
                "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
                 preserveAspectRatio=\"none\" image-rendering=\"optimizeSpeed\" \
                 style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{image}\"/>",
            );
        }
        svg.push_str(body);
        Ok(svg)
    }

    /// `scale` pixels a point.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>, PlotError> {
        let [width, height] =
            [self.width, self.height].map(|size| ((size as f32 * scale).round() as usize).max(1));
        if width.saturating_mul(height) > MOST_PIXELS {
            return Err(PlotError::TooLarge {
                width,
                height,
                most: MOST_PIXELS,
            });
        }
        let (wide, high) = (width * SMOOTH, height * SMOOTH);
        let fine = scale * SMOOTH as f32;
        let Rgb(r, g, b) = self.theme.paper();
        let mut pixels = [r, g, b].repeat(wide * high);
        for (area, cells) in &self.images {
            blit(
                &mut pixels,
                (wide, high),
                cells,
                [area.x, area.y, area.right(), area.bottom()].map(|value| value * fine),
            );
        }
        {
            let size = (wide as u32, high as u32);
            let mut backend = BitMapBackend::with_buffer(&mut pixels, size);
            let canvas = Canvas {
                scale: fine,
                has_text: false,
            };
            draw(self, &mut backend, &canvas).map_err(PlotError::drawing)?;
            backend.present().map_err(PlotError::drawing)?;
        }
        for element in &self.elements {
            if let Element::Text(text) = element {
                lettering::write(&mut pixels, (wide, high), text, fine);
            }
        }
        let mut small = Vec::with_capacity(3 * width * height);
        for y in 0..height {
            for x in 0..width {
                for channel in 0..3 {
                    let mut sum = 0;
                    for dy in 0..SMOOTH {
                        for dx in 0..SMOOTH {
                            let at = (y * SMOOTH + dy) * wide + x * SMOOTH + dx;
                            sum += usize::from(pixels[3 * at + channel]);
                        }
                    }
                    small.push(((sum + SMOOTH * SMOOTH / 2) / (SMOOTH * SMOOTH)) as u8);
                }
            }
        }
        encode(png::ColorType::Rgb, None, (width, height), &small)
    }
}

impl Cells {
    /// One pixel a cell; with a palette where the colours are few enough, as they are.
    fn png(&self) -> Result<Vec<u8>, PlotError> {
        let mut palette = self.colors.clone();
        palette.sort_unstable_by_key(|&Rgb(r, g, b)| (r, g, b));
        palette.dedup();
        let size = (self.columns, self.rows);
        if palette.len() > 256 {
            let bytes: Vec<u8> = self.colors.iter().flat_map(|c| [c.0, c.1, c.2]).collect();
            return encode(png::ColorType::Rgb, None, size, &bytes);
        }
        let key = |color: &Rgb| (color.0, color.1, color.2);
        let indices: Vec<u8> = self
            .colors
            .iter()
            .map(|color| palette.binary_search_by_key(&key(color), key).unwrap_or(0) as u8)
            .collect();
        let palette = palette.iter().flat_map(|c| [c.0, c.1, c.2]).collect();
        encode(png::ColorType::Indexed, Some(palette), size, &indices)
    }
}

fn encode(
    color: png::ColorType,
    palette: Option<Vec<u8>>,
    (width, height): (usize, usize),
    bytes: &[u8],
) -> Result<Vec<u8>, PlotError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    let mut writer = encoder.write_header().map_err(PlotError::drawing)?;
    writer.write_image_data(bytes).map_err(PlotError::drawing)?;
    writer.finish().map_err(PlotError::drawing)?;
    Ok(file)
}

/// Cells into the pixels from `[left, top, right, bottom]`.
fn blit(pixels: &mut [u8], (wide, high): (usize, usize), cells: &Cells, area: [f32; 4]) {
    let [left, top, right, bottom] = area.map(|value| value.round().max(0.0) as usize);
    let (across, down) = (right.saturating_sub(left), bottom.saturating_sub(top));
    for y in top..bottom.min(high) {
        let row = (y - top) * cells.rows / down.max(1);
        for x in left..right.min(wide) {
            let column = (x - left) * cells.columns / across.max(1);
            let at = 3 * (y * wide + x);
            if let Some(&Rgb(r, g, b)) = cells.colors.get(row * cells.columns + column) {
                pixels[at..at + 3].copy_from_slice(&[r, g, b]);
            }
        }
    }
}

/// How points become the units of a backend.
struct Canvas {
    /// Units a point.
    scale: f32,
    /// Whether the backend writes the text.
    has_text: bool,
}

impl Canvas {
    fn at(&self, x: f32, y: f32) -> (i32, i32) {
        let unit = |value: f32| (value * self.scale).round() as i32;
        (unit(x), unit(y))
    }
}

fn draw<B: DrawingBackend>(
    sheet: &Sheet,
    backend: &mut B,
    canvas: &Canvas,
) -> Result<(), DrawingErrorKind<B::ErrorType>> {
    for element in &sheet.elements {
        match element {
            Element::Fill(area, color) => {
                let from = canvas.at(area.x, area.y);
                let to = canvas.at(area.right(), area.bottom());
                backend.draw_rect(from, to, &plain(*color, 1.0), true)?;
            }
            Element::Line {
                points,
                color,
                width,
                opacity,
            } => {
                let style = ShapeStyle {
                    color: rgba(*color, *opacity),
                    filled: false,
                    stroke_width: (width * canvas.scale).round().max(1.0) as u32,
                };
                backend.draw_path(points.iter().map(|&(x, y)| canvas.at(x, y)), &style)?;
            }
            Element::Dot {
                x,
                y,
                radius,
                color,
                opacity,
            } => {
                let radius = (radius * canvas.scale).round().max(1.0) as u32;
                backend.draw_circle(canvas.at(*x, *y), radius, &plain(*color, *opacity), true)?;
            }
            Element::Text(text) if canvas.has_text => draw_text(text, backend, canvas)?,
            Element::Text(_) => {}
        }
    }
    Ok(())
}

fn draw_text<B: DrawingBackend>(
    text: &Text,
    backend: &mut B,
    canvas: &Canvas,
) -> Result<(), DrawingErrorKind<B::ErrorType>> {
    // plotters' sizes are those of SVG times this, and its texts begin above the baseline.
    const SIZE: f64 = 1.24;
    const RISE: f32 = 0.76;
    let size = f64::from(text.size * canvas.scale) * SIZE;
    let style = match text.bold {
        true => FontStyle::Bold,
        false => FontStyle::Normal,
    };
    let mut font = FontDesc::new(FontFamily::Name(FONT), size, style);
    let rise = RISE * text.size;
    let (x, y) = match text.turned {
        true => (text.x - rise, text.y),
        false => (text.x, text.y - rise),
    };
    if text.turned {
        font = font.transform(FontTransform::Rotate270);
    }
    let align = match text.align {
        Align::Left => HPos::Left,
        Align::Middle => HPos::Center,
        Align::Right => HPos::Right,
    };
    let Rgb(r, g, b) = text.color;
    let style = TextStyle {
        font,
        color: BackendColor {
            alpha: 1.0,
            rgb: (r, g, b),
        },
        pos: Pos::new(align, VPos::Top),
    };
    backend.draw_text(&text.text, &style, canvas.at(x, y))
}

fn rgba(Rgb(r, g, b): Rgb, opacity: f32) -> RGBAColor {
    RGBAColor(r, g, b, f64::from(opacity))
}

fn plain(color: Rgb, opacity: f32) -> ShapeStyle {
    ShapeStyle {
        color: rgba(color, opacity),
        filled: true,
        stroke_width: 0,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
