//! How often each unit's gates are closed, and how often open: after Karpathy, Johnson and
//! Fei-Fei, "Visualizing and Understanding Recurrent Networks" (2015).

use ifco_cell::{ArrayDigest, Digest};

use super::axis::{SMALL, count, number, ticks};
use super::lettering::width;
use super::packing::heading;
use super::sheet::{Align, Area, Sheet, text};
use super::{Picture, PlotError, Style};

const LEFT: f32 = 58.0;
const RIGHT: f32 = 26.0;
const TOP: f32 = 96.0;
const BOTTOM: f32 = 52.0;
const BETWEEN: f32 = 52.0;
/// Draws for each gate a point per unit: to the right the share of steps at which it is closed
/// (left-saturated, below 0.1), upwards that at which it is open (right-saturated, above 0.9).
///
/// # Errors
/// When no step was counted, or the size does not do.
///
/// ```
/// use ifco_cell::{
///     Activation, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions, TraceOptions,
/// };
/// use ifco_view::plot::{self, Style};
/// use ndarray::{Array1, Array2, Array3};
///
/// // A bias of 9 keeps every gate of the one unit open.
/// let bias = Some(Array1::from_elem(4, 9.0));
/// let weights = LstmWeights::new(Array2::zeros((1, 4)), Array2::zeros((1, 4)), bias)?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let x = Array3::zeros((2, 5, 1));
/// let trace = &layer.trace(x.view(), None, None, &TraceOptions::default())?[0];
///
/// let svg = plot::saturation("lstm", &trace.digest(), &Style::default())?.svg()?;
/// assert!(svg.contains("forget gate") && svg.contains("10 steps"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn saturation(path: &str, digest: &Digest, style: &Style) -> Result<Picture, PlotError> {
    let gates: Vec<&ArrayDigest> = digest.arrays.iter().filter(|array| array.is_gate).collect();
    if gates.is_empty() {
        let kind = digest.kind.name();
        let why = format!("a {kind} has no gates that could be saturated");
        return Err(PlotError::Nothing(why));
    }
    if digest.counted == 0 {
        let why = "no step counted: the input is empty, or all of it is masked";
        return Err(PlotError::Nothing(why.into()));
    }
    let panels = gates.len() as f32;
    let (paper_width, paper_height) = style.size((200 * panels as u32, 300))?;
    let room = paper_width as f32 - LEFT - RIGHT;
    let mut side = ((room - (panels - 1.0) * BETWEEN) / panels).min(320.0);
    if let Some(height) = paper_height {
        side = side.min(height as f32 - TOP - BOTTOM);
    }
    let paper_height = paper_height.unwrap_or((TOP + side + BOTTOM).ceil() as u32);
    let title = style
        .title
        .clone()
        .unwrap_or_else(|| format!("{path}: which gates are saturated"));
    let mut sheet = Sheet::new((paper_width, paper_height), style.theme, &title);
    let about = format!(
        "{}, a point for each of {}; {} of all rows of the input",
        digest.kind.name(),
        count(digest.units, "unit"),
        count(digest.counted, "step"),
    );
    heading(&mut sheet, &title, &about, paper_width);
    let mut x = LEFT;
    for (n, gate) in gates.into_iter().enumerate() {
        let shares: Vec<(f32, f32)> = gate
            .units
            .iter()
            .map(|unit| (unit.below as f32, unit.above as f32))
            .collect();
        let area = Area::new(x, TOP, side, side);
        panel(&mut sheet, gate, &shares, area, n == 0);
        x += side + BETWEEN;
    }
    Ok(Picture { sheet })
}

fn panel(sheet: &mut Sheet, gate: &ArrayDigest, shares: &[(f32, f32)], area: Area, is_first: bool) {
    let theme = sheet.theme;
    let (ink, muted, grid) = (theme.ink(), theme.muted(), theme.grid());
    let title = format!("{} · {}", gate.name, gate.words);
    sheet.text(text(area.x, area.y - 10.0, 13.0, ink, &title).bold());
    let at = |(closed, open): (f32, f32)| {
        (
            area.x + closed * area.width,
            area.bottom() - open * area.height,
        )
    };
    for tick in ticks(0.0, 1.0, 6) {
        sheet.line(vec![at((tick, 0.0)), at((tick, 1.0 - tick))], grid, 1.0);
        sheet.line(vec![at((0.0, tick)), at((1.0 - tick, tick))], grid, 1.0);
        let (x, y) = at((tick, 0.0));
        let label = text(x, y + 6.0 + 0.9 * SMALL, SMALL, muted, &number(tick));
        sheet.text(label.align(Align::Middle));
        let (x, y) = at((0.0, tick));
        let label = text(x - 6.0, y + 0.36 * SMALL, SMALL, muted, &number(tick));
        sheet.text(label.align(Align::Right));
    }
    // Closed and open at the same step cannot be: nothing lies beyond.
    sheet.line(vec![at((0.0, 1.0)), at((1.0, 0.0))], muted, 1.0);
    sheet.line(
        vec![at((0.0, 1.0)), at((0.0, 0.0)), at((1.0, 0.0))],
        muted,
        1.0,
    );
    let name = format!("share of steps with {} < 0.1", gate.name);
    let middle = area.x + area.width / 2.0;
    let name = text(middle, area.bottom() + 38.0, SMALL, muted, &name);
    sheet.text(name.align(Align::Middle));
    if is_first {
        let middle = area.y + area.height / 2.0;
        let name = text(
            18.0,
            middle,
            SMALL,
            muted,
            "share of steps with the gate > 0.9",
        );
        sheet.text(name.align(Align::Middle).turned());
    }
    let (radius, opacity) = match shares.len() {
        0..=64 => (4.2, 0.75),
        65..=256 => (3.2, 0.6),
        _ => (2.4, 0.45),
    };
    for &share in shares {
        sheet.dot(at(share), radius, theme.curve(0), opacity);
    }
    name_the_notable(sheet, shares, area, radius);
}

/// The units that are saturated most, as far as their names do not collide.
fn name_the_notable(sheet: &mut Sheet, shares: &[(f32, f32)], area: Area, radius: f32) {
    const MOST: usize = 6;
    let mut ranked: Vec<usize> = (0..shares.len()).collect();
    let sum = |unit: usize| shares[unit].0 + shares[unit].1;
    ranked.sort_by(|&a, &b| sum(b).total_cmp(&sum(a)).then(a.cmp(&b)));
    let mut taken: Vec<Area> = Vec::new();
    for unit in ranked {
        let (closed, open) = shares[unit];
        if taken.len() == MOST || sum(unit) < 0.25 {
            break;
        }
        let label = format!("unit {unit}");
        let wide = width(&label, SMALL, false);
        let (x, y) = (
            area.x + closed * area.width,
            area.bottom() - open * area.height,
        );
        // To the right; where that leaves the panel, to the left.
        let (left, align) = match x + radius + 4.0 + wide <= area.right() + 20.0 {
            true => (x + radius + 4.0, Align::Left),
            false => (x - radius - 4.0 - wide, Align::Right),
        };
        let place = Area::new(left - 2.0, y - 7.0, wide + 4.0, 14.0);
        let collides = |other: &Area| {
            place.x < other.right()
                && other.x < place.right()
                && place.y < other.bottom()
                && other.y < place.bottom()
        };
        if taken.iter().any(collides) {
            continue;
        }
        let anchor = if align == Align::Left {
            left
        } else {
            left + wide
        };
        let label = text(anchor, y + 0.36 * SMALL, SMALL, sheet.theme.ink(), &label);
        sheet.text(label.align(align));
        taken.push(place);
    }
}
