//! Every gate and state as a heat map, units × time.

use std::ops::Range;

use ndarray::ArrayView2;

use super::axis::{SMALL, TimeAxis, row_numbers};
use super::heat::groups;
use super::packing::heading;
use super::sheet::{Align, Area, Cells, Sheet, text};
use super::signal::{Sequence, Signal, signals};
use super::{Picture, PlotError, Style};
use crate::color::{Rgb, Theme};

pub(super) const LEFT: f32 = 58.0;
const RIGHT: f32 = 78.0;
pub(super) const TOP: f32 = 66.0;
/// Above each heat map: its name.
const ABOVE: f32 = 26.0;
pub(super) const GAP: f32 = 8.0;

/// The order of the units in a picture, from above.
///
/// ```
/// use ifco_view::plot::Sort;
/// assert_eq!(Sort::default(), Sort::Unit);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// As in the weights.
    #[default]
    Unit,
    /// The one whose state changes most from step to step first.
    Activity,
    /// The one that keeps its state longest first: by the mean of the forget gate, or of a GRU's
    /// update gate.
    Memory,
}

impl Sort {
    /// Which comes first.
    pub(super) fn words(self) -> &'static str {
        match self {
            Sort::Unit => "in the order of the weights",
            Sort::Activity => "the most active first",
            Sort::Memory => "the one that remembers longest first",
        }
    }
}

/// Room for heat maps, one below the other, over the axis of time.
pub(super) struct Paper<'a> {
    pub axis: TimeAxis<'a>,
    /// Width and height.
    pub size: (u32, u32),
    /// How wide a heat map is, in points.
    pub room: f32,
    /// How high.
    each: f32,
}

impl<'a> Paper<'a> {
    /// For so many, the first of them below `top`.
    pub fn new(
        sequence: &'a Sequence<'_>,
        style: &Style,
        maps: usize,
        top: f32,
    ) -> Result<Self, PlotError> {
        let (width, _) = style.size((360, 0)).map_err(|error| match error {
            // The height is judged below, when the axis is known.
            PlotError::Size {
                width,
                height,
                longest,
                ..
            } => PlotError::Size {
                width,
                height,
                least: (360, 200),
                longest,
            },
            other => other,
        })?;
        let room = width as f32 - LEFT - RIGHT;
        let axis = TimeAxis::new(sequence.labels.as_deref(), sequence.steps(), room);
        let count = maps as f32;
        let fixed = top + count * (ABOVE + GAP) + axis.height + 8.0;
        let (_, height) = style.size((360, (fixed + 24.0 * count) as u32))?;
        let each = match height {
            Some(height) => (height as f32 - fixed) / count,
            None => (sequence.units() as f32 * 5.0).clamp(44.0, 128.0),
        };
        let height = height.unwrap_or_else(|| (fixed + count * each).ceil() as u32);
        let size = (width, height);
        Ok(Self {
            axis,
            size,
            room,
            each,
        })
    }

    /// The place of a heat map whose name stands below `y`.
    pub fn map(&self, y: f32) -> Area {
        Area::new(LEFT, y + ABOVE, self.room, self.each)
    }
}

/// The place of the colours' scale beside a heat map.
pub(super) fn beside(map: Area) -> Area {
    let height = (map.height - 6.0).max(10.0);
    Area::new(map.right() + 12.0, map.y + 3.0, 9.0, height)
}

/// An array over time, `(time, units)`, with the units in this order.
pub(super) fn heat_map(
    sheet: &mut Sheet,
    sequence: &Sequence<'_>,
    values: ArrayView2<'_, f32>,
    order: &[usize],
    area: Area,
    color: &dyn Fn(f32) -> Rgb,
) {
    // The values of a projected h are no units.
    let of_units = values.ncols() == order.len();
    let own: Vec<usize> = (0..values.ncols()).collect();
    let order = if of_units { order } else { &own };
    let cells = means(sequence, values, order, area, (sheet.theme, color));
    sheet.image(area, cells);
    hatch_masked(sheet, sequence, area);
    sheet.outline(area, sheet.theme.muted(), 0.8);
    let place = (area.x, area.y, area.height);
    row_numbers(sheet, place, order.len(), Some(order));
    if area.height >= 40.0 {
        let name = if of_units { "unit" } else { "value" };
        let middle = area.y + area.height / 2.0;
        let name = text(16.0, middle, SMALL, sheet.theme.muted(), name);
        sheet.text(name.align(Align::Middle).turned());
    }
}

/// Draws the gates and states of one sequence over its steps, a heat map each.
///
/// Steps that a mask skips are hatched. Where there are more units or steps than points on the
/// paper, a point shows the mean of its neighbourhood.
///
/// # Errors
/// When the size asked for does not do, or a SimpleRNN is to be sorted by memory.
///
/// [`Sequence`] has an example.
pub fn gates(
    path: &str,
    sequence: &Sequence<'_>,
    sort: Sort,
    style: &Style,
) -> Result<Picture, PlotError> {
    let signals = signals(sequence.trace.kind());
    let order = order(sequence, sort)?;
    let paper = Paper::new(sequence, style, signals.len(), TOP)?;

    let what = if signals.len() == 1 {
        "hidden state"
    } else {
        "gates and states"
    };
    let title = style
        .title
        .clone()
        .unwrap_or_else(|| format!("{path}: {what} over time"));
    let mut sheet = Sheet::new(paper.size, style.theme, &title);
    let about = about(sequence, &format!("units: {}", sort.words()));
    heading(&mut sheet, &title, &about, paper.size.0);

    let mut y = TOP;
    for signal in &signals {
        let Some(values) = sequence.values(signal.key) else {
            continue;
        };
        let scale = sequence.scale(signal, style.theme);
        let area = paper.map(y);
        name(&mut sheet, signal, sequence, values, area);
        let color = |value| scale.color(value);
        heat_map(&mut sheet, sequence, values, &order, area, &color);
        scale.draw_upright(&mut sheet, beside(area));
        y = area.bottom() + GAP;
    }
    paper.axis.draw(&mut sheet, LEFT, y - GAP + 1.0, paper.room);
    Ok(Picture { sheet })
}

/// The line below the title: what is shown of what.
pub(super) fn about(sequence: &Sequence<'_>, what: &str) -> String {
    use super::axis::count;
    let masked = (0..sequence.steps())
        .filter(|&step| !sequence.counts(step))
        .count();
    let masked = match masked {
        0 => String::new(),
        masked => format!(" ({masked} masked, hatched)"),
    };
    let backward = match sequence.trace.reads_backward {
        true => ", read from the last to the first",
        false => "",
    };
    let projected = match sequence.is_projected() {
        true => match sequence.trace.h().dim().2 {
            1 => "; h is projected to 1 value".into(),
            values => format!("; h is projected to {values} values"),
        },
        false => String::new(),
    };
    format!(
        "{}, {}; row {} of the input, {}{masked}{backward}; {what}{projected}",
        sequence.trace.kind().name(),
        count(sequence.units(), "unit"),
        sequence.number,
        count(sequence.steps(), "step"),
    )
}

/// The units as they are to be sorted.
pub(super) fn order(sequence: &Sequence<'_>, sort: Sort) -> Result<Vec<usize>, PlotError> {
    let units = 0..sequence.units();
    let key = sequence
        .signals()
        .iter()
        .find(|signal| signal.key == "f" || signal.key == "z")
        .map(|signal| signal.key);
    let mut ranked: Vec<(f64, usize)> = match (sort, key) {
        (Sort::Unit, _) => return Ok(units.collect()),
        (Sort::Activity, _) => sequence.changes().into_iter().zip(units).collect(),
        (Sort::Memory, Some(key)) => units.map(|unit| (sequence.mean(key, unit), unit)).collect(),
        (Sort::Memory, None) => {
            let why = "a SimpleRNN has no gate that tells how long it remembers";
            return Err(PlotError::Nothing(why.into()));
        }
    };
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    Ok(ranked.into_iter().map(|(_, unit)| unit).collect())
}

/// The array's name, and its values in a few figures.
fn name(
    sheet: &mut Sheet,
    signal: &Signal,
    sequence: &Sequence<'_>,
    values: ArrayView2<'_, f32>,
    area: Area,
) {
    let (ink, muted) = (sheet.theme.ink(), sheet.theme.muted());
    let baseline = area.y - 7.0;
    let title = format!("{} · {}", signal.key, signal.name);
    sheet.text(text(area.x, baseline, 13.0, ink, &title).bold());
    let counting = || {
        let steps = (0..sequence.steps()).filter(|&step| sequence.counts(step));
        steps.flat_map(|step| values.row(step).to_vec())
    };
    let (mut all, mut sum, mut low, mut high) = (0_usize, 0.0_f64, 0_usize, 0_usize);
    let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
    for value in counting() {
        all += 1;
        sum += f64::from(value);
        low += usize::from(value < 0.1);
        high += usize::from(value > 0.9);
        (least, most) = (least.min(value), most.max(value));
    }
    if all == 0 {
        return;
    }
    let number = super::axis::number;
    let share = |part: usize| format!("{:.0} %", 100.0 * part as f64 / all as f64);
    let figures = match signal.is_gate {
        true => format!(
            "mean {:.2}, closed (< 0.1) {}, open (> 0.9) {}",
            sum / all as f64,
            share(low),
            share(high)
        ),
        false => format!("from {} to {}", number(least), number(most)),
    };
    sheet.text(text(area.right(), baseline, SMALL, muted, &figures).align(Align::Right));
}

/// A cell for each group of units and steps, coloured by the mean over the steps that count.
fn means(
    sequence: &Sequence<'_>,
    values: ArrayView2<'_, f32>,
    order: &[usize],
    area: Area,
    (theme, color): (Theme, &dyn Fn(f32) -> Rgb),
) -> Cells {
    let columns: Vec<Range<usize>> = groups(0..sequence.steps(), area.width as usize);
    let rows: Vec<Range<usize>> = groups(0..order.len(), area.height as usize);
    let mut colors = Vec::with_capacity(rows.len() * columns.len());
    for row in &rows {
        for column in &columns {
            let (mut sum, mut all) = (0.0_f64, 0_usize);
            for step in column.clone().filter(|&step| sequence.counts(step)) {
                for &unit in &order[row.clone()] {
                    sum += f64::from(values[[step, unit]]);
                    all += 1;
                }
            }
            colors.push(match all {
                0 => theme.blank(),
                all => color((sum / all as f64) as f32),
            });
        }
    }
    Cells {
        columns: columns.len(),
        rows: rows.len(),
        colors,
    }
}

/// Stripes over the steps that a mask skips.
pub(super) fn hatch_masked(sheet: &mut Sheet, sequence: &Sequence<'_>, area: Area) {
    let each = area.width / sequence.steps() as f32;
    for (start, end) in sequence.masked() {
        let width = (end - start) as f32 * each;
        // Below a point there is nothing to see.
        if width >= 1.0 {
            let x = area.x + start as f32 * each;
            let color = sheet.theme.muted();
            sheet.hatch(Area::new(x, area.y, width, area.height), color);
        }
    }
}
