//! Numbers and labels along the sides of a picture.

use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;

use super::lettering::width;
use super::sheet::{Align, Sheet, fit, text};
use crate::words::thousands;

/// Size of the numbers at axes.
pub(super) const SMALL: f32 = 11.0;

/// At most so many round numbers between `low` and `high`.
pub(super) fn ticks(low: f32, high: f32, most: usize) -> Vec<f32> {
    let (low, high) = (f64::from(low), f64::from(high));
    RangedCoordf64::from(low..high)
        .key_points(most)
        .into_iter()
        // A sum of steps misses zero by a hair; and -0.0 would be printed with its sign.
        .map(|tick| {
            if tick.abs() < 1e-9 * (high - low) {
                0.0
            } else {
                tick as f32
            }
        })
        .collect()
}

/// A number in few digits, with a true minus: `0.25`, `−1.5`, `2e-7`.
pub(super) fn number(value: f32) -> String {
    let magnitude = value.abs();
    let text = if value == 0.0 {
        "0".into()
    } else if !value.is_finite() {
        value.to_string()
    } else if !(1e-3..1e5).contains(&magnitude) {
        format!("{value:.1e}").replace(".0e", "e")
    } else {
        let digits = (2.0 - magnitude.log10().floor()).clamp(0.0, 5.0) as usize;
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').into(),
            false => text,
        }
    };
    text.replace('-', "−")
}

/// `1 unit`, `2 units`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(number))
}

/// The smallest of 1, 2, 5, 10, 20, … that is `least` or more.
pub(super) fn round_step(least: f32) -> usize {
    let mut step = 1_usize;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle().take(45) {
        if step as f32 >= least {
            break;
        }
        step = (step as f32 * factor) as usize;
    }
    step
}

/// The numbers of rows beside a heat map: row `n` says `names[n]`, or its index.
pub(super) fn row_numbers(
    sheet: &mut Sheet,
    (right, top, height): (f32, f32, f32),
    rows: usize,
    names: Option<&[usize]>,
) {
    if rows == 0 {
        return;
    }
    let each = height / rows as f32;
    let color = sheet.theme.muted();
    for row in (0..rows).step_by(round_step((SMALL + 2.0) / each)) {
        let shown = names.and_then(|names| names.get(row)).unwrap_or(&row);
        let y = top + (row as f32 + 0.5) * each + 0.36 * SMALL;
        let label = text(right - 5.0, y, SMALL, color, &shown.to_string());
        sheet.text(label.align(Align::Right));
    }
}

/// What stands below the steps of a sequence.
pub(super) struct TimeAxis<'a> {
    labels: Option<&'a [String]>,
    steps: usize,
    /// One label for so many steps.
    every: usize,
    turned: bool,
    /// How much room it takes below the picture, its name included.
    pub height: f32,
}

impl<'a> TimeAxis<'a> {
    /// No label is longer than this, in points.
    const LONGEST: f32 = 92.0;

    /// Without `labels` the steps are numbered from 0.
    pub fn new(labels: Option<&'a [String]>, steps: usize, room: f32) -> Self {
        let each = room / steps.max(1) as f32;
        let widest = match labels {
            Some(labels) => labels
                .iter()
                .take(steps)
                .map(|label| width(&fit(label, SMALL, Self::LONGEST), SMALL, false))
                .fold(0.0, f32::max),
            None => width(&steps.to_string(), SMALL, false),
        };
        let least = (widest + 7.0) / each;
        // Every label upright where not every second fits level, as long as there is room.
        let turned = labels.is_some() && least > 1.0 && each >= SMALL + 1.0;
        let every = match (turned, labels) {
            (true, _) => 1,
            (false, Some(_)) if least <= 1.0 => 1,
            (false, _) => round_step(least),
        };
        let label_height = if turned { widest } else { SMALL };
        Self {
            labels,
            steps,
            every,
            turned,
            height: label_height + 28.0,
        }
    }

    /// Below a picture whose lower left corner is here.
    pub fn draw(&self, sheet: &mut Sheet, left: f32, top: f32, room: f32) {
        let each = room / self.steps.max(1) as f32;
        let (ink, muted) = (sheet.theme.ink(), sheet.theme.muted());
        for step in (0..self.steps).step_by(self.every) {
            let x = left + (step as f32 + 0.5) * each;
            let label = match self.labels {
                Some(labels) => match labels.get(step) {
                    Some(label) => fit(label, SMALL, Self::LONGEST),
                    None => continue,
                },
                None => step.to_string(),
            };
            if label.is_empty() {
                continue;
            }
            sheet.line(vec![(x, top), (x, top + 3.0)], muted, 1.0);
            sheet.text(match self.turned {
                true => text(x + 0.36 * SMALL, top + 6.0, SMALL, ink, &label)
                    .align(Align::Right)
                    .turned(),
                false => text(x, top + 5.0 + 0.9 * SMALL, SMALL, ink, &label).align(Align::Middle),
            });
        }
        let name = match self.labels {
            Some(_) => "step, by its label",
            None => "step",
        };
        let name = text(
            left + room / 2.0,
            top + self.height - 8.0,
            SMALL,
            muted,
            name,
        );
        sheet.text(name.align(Align::Middle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_few_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (-1.5, "−1.5"),
            (100.0, "100"),
            (12345.6, "12346"),
            (2e-7, "2e−7"),
            (f32::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(1, "unit"), "1 unit");
    }

    #[test]
    fn round_numbers() {
        assert_eq!(ticks(0.0, 1.0, 6), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        let steps: Vec<usize> = [0.1, 1.5, 3.0, 6.0, 11.0, 30.0, 600.0]
            .map(round_step)
            .to_vec();
        assert_eq!(steps, [1, 2, 5, 10, 20, 50, 1000]);
        assert!(ticks(-0.55, 0.55, 5).contains(&0.0));
    }

    #[test]
    fn labels_are_thinned_as_far_as_they_must() {
        let labels: Vec<String> = (0..400).map(|n| format!("label {n}")).collect();
        let axis = |steps| TimeAxis::new(Some(&labels), steps, 800.0);
        assert_eq!((axis(10).every, axis(10).turned), (1, false));
        assert_eq!((axis(50).every, axis(50).turned), (1, true));
        assert!(axis(400).every >= 20 && !axis(400).turned);
    }
}
