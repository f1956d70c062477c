//! How wide text is, and the letters of a PNG.
//!
//! An SVG leaves the letters to its reader. plotters could draw those of a PNG, but sets them
//! unevenly: it rounds each one's place, and leaves out the gap on its left.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

use super::sheet::{Align, Text};
use crate::color::Rgb;

/// Height of a line of DejaVu Sans as `ab_glyph` counts it, over its font size.
const LINE: f32 = 1.164;

/// DejaVu Sans, plain and bold, which are part of the program.
fn face(bold: bool) -> Option<&'static FontRef<'static>> {
    static FACES: OnceLock<[Option<FontRef<'static>>; 2]> = OnceLock::new();
    let faces = FACES.get_or_init(|| {
        let files = [dejavu::sans::regular(), dejavu::sans::bold()];
        files.map(|file| FontRef::try_from_slice(file).ok())
    });
    faces[usize::from(bold)].as_ref()
}

/// How wide a text is, in points.
pub(super) fn width(text: &str, size: f32, bold: bool) -> f32 {
    let Some(face) = face(bold) else {
        return 0.6 * size * text.chars().count() as f32;
    };
    letters(face, text, size)
        .last()
        .map_or(0.0, |(_, _, end)| end)
}

/// Each letter of a line: what it is, where it begins, and where it ends.
fn letters<'a>(
    face: &'static FontRef<'static>,
    text: &'a str,
    size: f32,
) -> impl Iterator<Item = (ab_glyph::GlyphId, f32, f32)> + 'a {
    let scaled = face.as_scaled(PxScale::from(size * LINE));
    let (mut before, mut pen) = (None, 0.0);
    text.chars().map(move |letter| {
        let glyph = scaled.glyph_id(letter);
        let start = pen + before.map_or(0.0, |before| scaled.kern(before, glyph));
        pen = start + scaled.h_advance(glyph);
        before = Some(glyph);
        (glyph, start, pen)
    })
}

/// Draws a line of text into RGB pixels, `scale` of them a point.
pub(super) fn write(pixels: &mut [u8], (wide, high): (usize, usize), text: &Text, scale: f32) {
    let Some(face) = face(text.bold) else { return };
    let size = text.size * scale;
    let shift = match text.align {
        Align::Left => 0.0,
        Align::Middle => -0.5 * width(&text.text, size, text.bold),
        Align::Right => -width(&text.text, size, text.bold),
    };
    let (x, y) = (
        (text.x * scale).round() as i64,
        (text.y * scale).round() as i64,
    );
    let Rgb(r, g, b) = text.color;
    for (glyph, start, _) in letters(face, &text.text, size) {
        let place =
            glyph.with_scale_and_position(PxScale::from(size * LINE), point(start + shift, 0.0));
        let Some(outline) = face.outline_glyph(place) else {
            continue;
        };
        let corner = outline.px_bounds().min;
        outline.draw(|column, row, cover| {
            let along = corner.x as i64 + i64::from(column);
            let below = corner.y as i64 + i64::from(row);
            let (x, y) = match text.turned {
                true => (x + below, y - along),
                false => (x + along, y + below),
            };
            let inside = (0..wide as i64).contains(&x) && (0..high as i64).contains(&y);
            if !inside {
                return;
            }
            let at = 3 * (y as usize * wide + x as usize);
            for (pixel, ink) in pixels[at..at + 3].iter_mut().zip([r, g, b]) {
                let paper = f32::from(*pixel);
                let mixed = paper + (f32::from(ink) - paper) * cover.clamp(0.0, 1.0);
                *pixel = mixed.round() as u8;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sheet::text;
    use super::*;

    #[test]
    fn both_faces_are_there_and_longer_text_is_wider() {
        for bold in [false, true] {
            assert!(face(bold).is_some());
            assert!(width("forget gate", 12.0, bold) > width("gate", 12.0, bold));
        }
        assert!(width("gate", 12.0, true) > width("gate", 12.0, false));
        assert_eq!(width("", 12.0, false), 0.0);
    }

    #[test]
    fn letters_stand_where_they_are_put() {
        let ink = |text: Text| {
            let mut pixels = vec![255; 3 * 80 * 80];
            write(&mut pixels, (80, 80), &text, 1.0);
            let dark = (0..80 * 80).filter(|at| pixels[3 * at] < 128);
            let places: Vec<(usize, usize)> = dark.map(|at| (at % 80, at / 80)).collect();
            assert!(!places.is_empty());
            places
        };
        let line = || text(40.0, 40.0, 12.0, Rgb(0, 0, 0), "HHH");
        assert!(
            ink(line())
                .iter()
                .all(|(x, y)| *x >= 40 && *y <= 40 && *y > 28)
        );
        assert!(
            ink(line().align(Align::Right))
                .iter()
                .all(|(x, _)| *x <= 40)
        );
        // Read from below: above its place, and to the left of the baseline.
        assert!(
            ink(line().turned())
                .iter()
                .all(|(x, y)| *x <= 40 && *y <= 40)
        );
        // Partly beyond the paper.
        write(&mut [255; 300], (10, 10), &line(), 0.2);
    }
}
