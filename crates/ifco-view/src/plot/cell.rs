//! Chosen units over time: a curve each, through every gate and state.

use ndarray::ArrayView2;

use super::axis::{SMALL, TimeAxis, number, ticks};
use super::gates::{LEFT, about, hatch_masked};
use super::heat::groups;
use super::lettering::width;
use super::packing::heading;
use super::sheet::{Align, Area, Sheet, text};
use super::signal::{Sequence, Signal};
use super::{Picture, PlotError, Style};

const RIGHT: f32 = 26.0;
/// Title, a line on the layer, and the key to the curves.
const TOP: f32 = 88.0;
const ABOVE: f32 = 24.0;
const GAP: f32 = 8.0;
/// As many as there are colours.
const MOST_UNITS: usize = 6;

/// Draws the states and gates of some units over the steps of one sequence; without `units`, of
/// the four that changed most. The values of a projected h are those of no unit: of these the four
/// that changed most are drawn.
///
/// # Errors
/// When there is no such unit, more than six are asked for, or the size does not do.
///
/// ```
/// use ifco_cell::{
///     Activation, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions, TraceOptions,
/// };
/// use ifco_view::plot::{self, Sequence, Style};
/// use ndarray::{Array2, Array3};
///
/// let weights = LstmWeights::new(Array2::ones((1, 8)), Array2::zeros((2, 8)), None)?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let x = Array3::from_shape_fn((1, 50, 1), |(_, t, _)| (t as f32 / 5.0).sin());
/// let trace = &layer.trace(x.view(), None, None, &TraceOptions::default())?[0];
///
/// let sequence = Sequence::new(trace, 0, None)?;
/// let svg = plot::cell("lstm", &sequence, &[1], &Style::default())?.svg()?;
/// assert!(svg.contains("unit 1") && svg.contains("cell state"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cell(
    path: &str,
    sequence: &Sequence<'_>,
    units: &[usize],
    style: &Style,
) -> Result<Picture, PlotError> {
    let signals = in_order(sequence);
    let (chosen, how) = match units {
        [] => (liveliest(&sequence.changes()), "those that changed most"),
        units => (checked(sequence, units)?, "as chosen"),
    };
    let room = |paper_width: u32| paper_width as f32 - LEFT - RIGHT;
    let paper_width = style
        .size
        .map_or(Style::WIDTH, |(width, _)| width.clamp(360, Style::LONGEST));
    let axis = TimeAxis::new(
        sequence.labels.as_deref(),
        sequence.steps(),
        room(paper_width),
    );
    let count = signals.len() as f32;
    let fixed = TOP + count * (ABOVE + GAP) + axis.height + 8.0;
    let (paper_width, paper_height) = style.size((360, (fixed + 30.0 * count) as u32))?;
    let room = room(paper_width);
    // The states are what one follows: they get more room than the gates.
    let shares: f32 = signals.iter().map(share).sum();
    let unit_height = match paper_height {
        Some(height) => (height as f32 - fixed) / shares,
        None => 74.0,
    };
    let paper_height = paper_height.unwrap_or_else(|| (fixed + shares * unit_height).ceil() as u32);

    let title = style
        .title
        .clone()
        .unwrap_or_else(|| format!("{path}: what its units do, step by step"));
    let mut sheet = Sheet::new((paper_width, paper_height), style.theme, &title);
    let about = about(sequence, &format!("units: {how}"));
    heading(&mut sheet, &title, &about, paper_width);
    key(
        &mut sheet,
        ("unit", &chosen),
        (LEFT, 79.0),
        LEFT + room + 20.0,
    );

    let mut y = TOP;
    for signal in &signals {
        let Some(values) = sequence.values(signal.key) else {
            continue;
        };
        let area = Area::new(LEFT, y + ABOVE, room, share(signal) * unit_height);
        if signal.key == "h" && sequence.is_projected() {
            // Its values are those of no unit.
            let chosen = liveliest(&sequence.changes_of("h"));
            panel(&mut sheet, sequence, signal, values, &chosen, area);
            let names = chosen.iter().map(|value| width_in_key("value", *value));
            let left = area.right() + 20.0 - names.sum::<f32>();
            let place = (left, area.y - 7.0);
            key(&mut sheet, ("value", &chosen), place, area.right() + 20.0);
        } else {
            panel(&mut sheet, sequence, signal, values, &chosen, area);
        }
        y = area.bottom() + GAP;
    }
    axis.draw(&mut sheet, LEFT, y - GAP + 1.0, room);
    Ok(Picture { sheet })
}

fn share(signal: &Signal) -> f32 {
    match signal.key {
        "c" | "h" => 1.5,
        _ => 1.0,
    }
}

/// The states first, below them what made them.
fn in_order(sequence: &Sequence<'_>) -> Vec<Signal> {
    let mut signals = sequence.signals();
    signals.sort_by_key(|signal| match signal.key {
        "c" => 0,
        "h" => 1,
        _ => 2,
    });
    signals
}

/// The four that change most.
fn liveliest(changes: &[f64]) -> Vec<usize> {
    let mut ranked: Vec<(f64, usize)> = changes.iter().copied().zip(0..).collect();
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut chosen: Vec<usize> = ranked.into_iter().take(4).map(|(_, unit)| unit).collect();
    chosen.sort_unstable();
    chosen
}

fn checked(sequence: &Sequence<'_>, units: &[usize]) -> Result<Vec<usize>, PlotError> {
    let mut chosen = Vec::new();
    for &unit in units {
        if unit >= sequence.units() {
            return Err(PlotError::Nothing(format!(
                "there is no unit {unit}: the layer has {}, counted from 0",
                sequence.units()
            )));
        }
        if !chosen.contains(&unit) {
            chosen.push(unit);
        }
    }
    if chosen.len() > MOST_UNITS {
        return Err(PlotError::Nothing(format!(
            "{} units in one picture cannot be told apart: choose {MOST_UNITS} at most",
            chosen.len()
        )));
    }
    Ok(chosen)
}

/// Which colour is which unit, or value, from a place on to the right end of the room.
fn key(
    sheet: &mut Sheet,
    (what, numbers): (&str, &[usize]),
    (mut x, baseline): (f32, f32),
    end: f32,
) {
    for (n, number) in numbers.iter().enumerate() {
        let color = sheet.theme.curve(n);
        let wide = width_in_key(what, *number);
        // Sums of widths differ in their last bits.
        if x + wide > end + 0.5 {
            break;
        }
        let y = baseline - 4.0;
        sheet.line(vec![(x, y), (x + 18.0, y)], color, 3.0);
        let label = format!("{what} {number}");
        sheet.text(text(x + 24.0, baseline, 12.0, sheet.theme.ink(), &label));
        x += wide;
    }
}

/// With its line before and the gap behind it.
fn width_in_key(what: &str, number: usize) -> f32 {
    24.0 + width(&format!("{what} {number}"), 12.0, false) + 20.0
}

/// One array: axis, curves, and its name above.
fn panel(
    sheet: &mut Sheet,
    sequence: &Sequence<'_>,
    signal: &Signal,
    values: ArrayView2<'_, f32>,
    units: &[usize],
    area: Area,
) {
    let (ink, muted, grid) = (sheet.theme.ink(), sheet.theme.muted(), sheet.theme.grid());
    let title = format!("{} · {}", signal.key, signal.name);
    sheet.text(text(area.x, area.y - 7.0, 13.0, ink, &title).bold());
    hatch_masked(sheet, sequence, area);

    let (low, high) = range(sequence, signal, values, units);
    let y_of = |value: f32| area.bottom() - (value - low) / (high - low) * area.height;
    for tick in ticks(low, high, if area.height > 90.0 { 5 } else { 3 }) {
        let y = y_of(tick);
        let (color, wide) = if tick == 0.0 {
            (muted, 1.0)
        } else {
            (grid, 1.0)
        };
        sheet.line(vec![(area.x, y), (area.right(), y)], color, wide);
        let label = text(area.x - 6.0, y + 0.36 * SMALL, SMALL, muted, &number(tick));
        sheet.text(label.align(Align::Right));
    }
    for (n, &unit) in units.iter().enumerate() {
        let color = sheet.theme.curve(n);
        for points in curves(sequence, values, unit, area.width as usize) {
            let points: Vec<(f32, f32)> = points
                .into_iter()
                .map(|(step, value)| {
                    let x = area.x + (step + 0.5) / sequence.steps() as f32 * area.width;
                    (x, y_of(value.clamp(low, high)))
                })
                .collect();
            if sequence.steps() <= 60 {
                for &point in &points {
                    sheet.dot(point, 2.4, color, 1.0);
                }
            }
            if points.len() > 1 {
                sheet.line(points, color, 1.8);
            }
        }
    }
    sheet.line(vec![(area.x, area.y), (area.x, area.bottom())], muted, 1.0);
}

/// What the axis spans: 0 to 1 for a gate, otherwise what is there, with some air.
fn range(
    sequence: &Sequence<'_>,
    signal: &Signal,
    values: ArrayView2<'_, f32>,
    units: &[usize],
) -> (f32, f32) {
    let (mut low, mut high) = (0.0_f32, 0.0_f32);
    for step in (0..sequence.steps()).filter(|&step| sequence.counts(step)) {
        for &unit in units {
            let value = values[[step, unit]];
            if value.is_finite() {
                (low, high) = (low.min(value), high.max(value));
            }
        }
    }
    if signal.is_gate && low >= 0.0 && high <= 1.0 {
        return (-0.04, 1.04);
    }
    // Sums of the largest floats are not finite.
    let (low, high) = (low.max(-1e37), high.min(1e37));
    match low == high {
        true => (-1.0, 1.0),
        false => (low - 0.06 * (high - low), high + 0.06 * (high - low)),
    }
}

/// A unit's curve as (step, value), in pieces where steps are masked or values are no numbers;
/// with more steps than points on the paper, the least and the most of each group of steps.
fn curves(
    sequence: &Sequence<'_>,
    values: ArrayView2<'_, f32>,
    unit: usize,
    points: usize,
) -> Vec<Vec<(f32, f32)>> {
    let mut pieces = vec![Vec::new()];
    for group in groups(0..sequence.steps(), points) {
        let mut found: Vec<(usize, f32)> = group
            .filter(|&step| sequence.counts(step))
            .map(|step| (step, values[[step, unit]]))
            .filter(|(_, value)| value.is_finite())
            .collect();
        if found.is_empty() {
            pieces.push(Vec::new());
            continue;
        }
        if found.len() > 2 {
            let by_value = |one: &&(usize, f32), other: &&(usize, f32)| one.1.total_cmp(&other.1);
            let ends = [found.iter().min_by(by_value), found.iter().max_by(by_value)];
            let mut ends: Vec<(usize, f32)> = ends.into_iter().flatten().copied().collect();
            ends.sort_by_key(|(step, _)| *step);
            found = ends;
        }
        if let Some(piece) = pieces.last_mut() {
            piece.extend(found.into_iter().map(|(step, value)| (step as f32, value)));
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}
