//! Numbers as colours.

use std::ops::Range;

use ndarray::ArrayView2;

use super::axis::{SMALL, number};
use super::sheet::{Align, Area, Cells, Sheet, text};
use crate::color::{Rgb, Theme};

/// Which numbers have which colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub theme: Theme,
    /// From -limit to limit; otherwise from 0.
    pub has_sign: bool,
    /// Above 0; what lies beyond has the colour of the end.
    pub limit: f32,
    /// Whether anything lies beyond.
    pub is_exceeded: bool,
}

impl Scale {
    /// So many colours on each side of 0: an image of them has a palette.
    const LEVELS: f32 = 100.0;

    /// Of numbers that have a sign, out to the largest of them; where few lie far out, to where
    /// 99.5 % of them end.
    pub fn of(theme: Theme, values: impl Iterator<Item = f32>) -> Self {
        let mut sizes: Vec<f32> = values.map(f32::abs).filter(|v| v.is_finite()).collect();
        sizes.sort_unstable_by(f32::total_cmp);
        let largest = sizes.last().copied().unwrap_or(0.0);
        let most = sizes
            .get((sizes.len() * 199 / 200).min(sizes.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0);
        let limit = match largest > 1.6 * most && most > 0.0 {
            true => most,
            false => largest,
        };
        Self {
            theme,
            has_sign: true,
            limit: if limit > 0.0 { limit } else { 1.0 },
            is_exceeded: largest > limit,
        }
    }

    pub fn color(&self, value: f32) -> Rgb {
        if !value.is_finite() {
            return self.theme.alarm();
        }
        let share = (value / self.limit * Self::LEVELS).round() / Self::LEVELS;
        match self.has_sign {
            true => self.theme.diverging(share),
            false => self.theme.sequential(share),
        }
    }

    /// Colours from the lowest to the highest.
    fn ramp(&self, steps: usize) -> Vec<Rgb> {
        let low = if self.has_sign { -1.0 } else { 0.0 };
        (0..steps)
            .map(|step| {
                let share = low + (1.0 - low) * step as f32 / (steps - 1) as f32;
                self.color(share * self.limit)
            })
            .collect()
    }

    /// The numbers at both ends and in the middle, and where on the scale they stand.
    fn marks(&self) -> [(f32, String); 3] {
        let low = if self.has_sign { -self.limit } else { 0.0 };
        let sign = |sign: &'static str| if self.is_exceeded { sign } else { "" };
        // Nothing is below the 0 of a scale without a sign.
        let below = if self.has_sign { sign("≤ ") } else { "" };
        [
            (0.0, format!("{below}{}", number(low))),
            (0.5, number((low + self.limit) / 2.0)),
            (1.0, format!("{}{}", sign("≥ "), number(self.limit))),
        ]
    }

    /// What the colours mean, from left to right, with numbers below.
    pub fn draw_level(&self, sheet: &mut Sheet, area: Area, name: &str) {
        let colors = self.ramp(121);
        sheet.image(
            area,
            Cells {
                columns: colors.len(),
                rows: 1,
                colors,
            },
        );
        let (ink, muted) = (sheet.theme.ink(), sheet.theme.muted());
        sheet.outline(area, muted, 0.8);
        let baseline = area.y + area.height / 2.0 + 0.36 * SMALL;
        let name = text(area.x - 8.0, baseline, SMALL, ink, name);
        sheet.text(name.align(Align::Right));
        for (share, label) in self.marks() {
            let x = area.x + share * area.width;
            let mark = vec![(x, area.bottom()), (x, area.bottom() + 3.0)];
            sheet.line(mark, muted, 1.0);
            let label = text(x, area.bottom() + 5.0 + 0.9 * SMALL, SMALL, muted, &label);
            sheet.text(label.align(Align::Middle));
        }
    }

    /// The same from below to above, with numbers to the right.
    pub fn draw_upright(&self, sheet: &mut Sheet, area: Area) {
        let mut colors = self.ramp(101);
        colors.reverse();
        upright(sheet, area, colors, &self.marks());
    }
}

/// A ramp of colours from above, with marks at their shares of its height.
pub(super) fn upright(sheet: &mut Sheet, area: Area, colors: Vec<Rgb>, marks: &[(f32, String)]) {
    let cells = Cells {
        columns: 1,
        rows: colors.len(),
        colors,
    };
    sheet.image(area, cells);
    let muted = sheet.theme.muted();
    sheet.outline(area, muted, 0.8);
    for (share, label) in marks {
        let y = area.bottom() - share * area.height;
        sheet.line(vec![(area.right(), y), (area.right() + 3.0, y)], muted, 1.0);
        let label = text(area.right() + 6.0, y + 0.36 * SMALL, SMALL, muted, label);
        sheet.text(label);
    }
}

/// `count` things in at most `most` groups, each of neighbours.
pub(super) fn groups(things: Range<usize>, most: usize) -> Vec<Range<usize>> {
    let count = things.len();
    let groups = count.min(most.max(1));
    (0..groups)
        .map(|group| {
            let bound = |group: usize| things.start + group * count / groups;
            bound(group)..bound(group + 1)
        })
        .collect()
}

/// A cell for each group of rows and columns, coloured by the number in it that is furthest
/// from 0: weights of both signs would cancel out in a mean.
pub(super) fn furthest(
    values: ArrayView2<'_, f32>,
    rows: &[Range<usize>],
    columns: &[Range<usize>],
    scale: &Scale,
) -> Cells {
    let mut colors = Vec::with_capacity(rows.len() * columns.len());
    for row_group in rows {
        for column_group in columns {
            let mut found = 0.0_f32;
            for row in row_group.clone() {
                for column in column_group.clone() {
                    let value = values[[row, column]];
                    // What is not finite is what one is looking for.
                    if found.is_finite() && (!value.is_finite() || value.abs() > found.abs()) {
                        found = value;
                    }
                }
            }
            colors.push(scale.color(found));
        }
    }
    Cells {
        columns: columns.len(),
        rows: rows.len(),
        colors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn groups_cover_all_once() {
        assert_eq!(groups(4..8, 100), [4..5, 5..6, 6..7, 7..8]);
        let groups = groups(10..1010, 7);
        assert_eq!(groups.len(), 7);
        assert_eq!((groups[0].start, groups[6].end), (10, 1010));
        assert!(groups.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn the_furthest_number_of_a_group_is_shown() {
        let scale = Scale {
            theme: Theme::Light,
            has_sign: true,
            limit: 2.0,
            is_exceeded: false,
        };
        let values = array![[0.5, -2.0, 1.0, f32::NAN], [0.25, 0.0, 1.0, 9.0]];
        let cells = furthest(values.view(), &groups(0..2, 2), &[0..2, 2..4], &scale);
        let alarm = Theme::Light.alarm();
        let second = [scale.color(0.25), scale.color(9.0)];
        assert_eq!(
            cells.colors,
            [scale.color(-2.0), alarm, second[0], second[1]]
        );
    }

    #[test]
    fn few_outliers_do_not_make_the_rest_pale() {
        let mut values = vec![0.1_f32; 1000];
        assert_eq!(Scale::of(Theme::Light, values.iter().copied()).limit, 0.1);
        values.push(50.0);
        values.push(f32::INFINITY);
        let scale = Scale::of(Theme::Light, values.into_iter());
        assert_eq!((scale.limit, scale.is_exceeded), (0.1, true));
        assert_eq!(scale.marks()[2].1, "≥ 0.1");
        assert_eq!(Scale::of(Theme::Light, std::iter::empty()).limit, 1.0);
    }
}
