//! The gradient on its way back: how large it is at every step and in every unit, beside what the
//! gates alone let through.

use ifco_cell::{Flow, GradientTrace};
use ndarray::{Array2, Axis, s};

use super::axis::{SMALL, count, number};
use super::gates::{GAP, LEFT, Paper, Sort, TOP, about, beside, hatch_masked, heat_map, order};
use super::heat::{groups, upright};
use super::lettering::width;
use super::packing::heading;
use super::sheet::{Align, Area, Sheet, text};
use super::signal::Sequence;
use super::{Picture, PlotError, Style};
use crate::color::{Rgb, Theme};

/// Colours go down to a ten-thousandth of the largest.
const DECADES: f32 = 4.0;
/// Curves go down to this share of the largest.
const LOWEST: f64 = 1e-8;
/// A gradient of which less is left has vanished.
const VANISHED: f64 = 0.01;
/// The height of the curves, and of the key above them.
const CURVES: f32 = 120.0;
const KEY: f32 = 22.0;
/// More steps than this have no dots.
const MOST_DOTS: usize = 60;

/// One array of the way back, of one sequence.
struct Array {
    name: String,
    words: &'static str,
    /// Its sizes, `(time, units)`.
    sizes: Array2<f32>,
    is_product: bool,
}

/// A curve over the steps, and what it is of.
struct Curve {
    name: String,
    /// By the input's step; `None` where it is masked.
    sizes: Vec<Option<f64>>,
}

/// Draws the gradients by the states of one sequence: how large they are at each step, and in each
/// unit. Of gates that keep a state, their product up to the last step read stands beside: what
/// they alone let through. `of` says in words what the gradient is of.
///
/// The curves are the norms over the units; that of the gates is of what they alone bring back of
/// the gradient by the last state. Colours and curves are logarithmic.
///
/// # Errors
/// When the sequence is none of this trace, the size asked for does not do, or a SimpleRNN is to be
/// sorted by memory.
///
/// ```
/// use ifco_cell::{
///     Activation, BackwardOptions, Dropout, GradientTrace, LstmCell, LstmWeights, RecurrentLayer,
///     SequenceGradient, SequenceOptions, TraceOptions,
/// };
/// use ifco_view::plot::{self, Sequence, Sort, Style};
/// use ndarray::{Array2, Array3};
///
/// let weights = LstmWeights::new(Array2::ones((1, 8)), Array2::ones((2, 8)), None)?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let x = Array3::from_shape_fn((1, 30, 1), |(_, t, _)| (t as f32).sin());
/// let trace = layer.trace(x.view(), None, None, &TraceOptions::default())?.remove(0);
/// let (_, tape) = layer.forward_for_training(x.view(), None, None, &Dropout::default())?;
/// let keep = BackwardOptions { states: true, ..BackwardOptions::default() };
/// let of_output = Array2::ones((1, 2));
/// let of_output = SequenceGradient::Last(of_output.view());
/// let states = tape.backward_with(&layer, of_output, None, &keep)?.states.unwrap();
/// let gradient = GradientTrace::new(trace, states).unwrap();
///
/// let sequence = Sequence::new(&gradient.trace, 0, None)?;
/// let (sort, style) = (Sort::Memory, Style::default());
/// let svg = plot::gradient("lstm", &sequence, &gradient, "the last h", sort, &style)?.svg()?;
/// assert!(svg.contains("∂L/∂c") && svg.contains("product of forget gates"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn gradient(
    path: &str,
    sequence: &Sequence<'_>,
    gradient: &GradientTrace,
    of: &str,
    sort: Sort,
    style: &Style,
) -> Result<Picture, PlotError> {
    let own = gradient.trace.h();
    if own.dim() != sequence.trace.h().dim() {
        let what = "the sequence is of another trace than the gradient";
        return Err(PlotError::Nothing(what.into()));
    }
    let arrays = arrays(sequence, gradient);
    let order = order(sequence, sort)?;
    let curves_below = TOP + KEY + CURVES + GAP;
    let paper = Paper::new(sequence, style, arrays.len(), curves_below)?;
    let title = style
        .title
        .clone()
        .unwrap_or_else(|| format!("{path}: the gradient on its way back"));
    let mut sheet = Sheet::new(paper.size, style.theme, &title);
    let sorted = match sort {
        Sort::Unit => String::new(),
        sort => format!("; units: {}", sort.words()),
    };
    let what = format!("L is {of}{sorted}");
    heading(&mut sheet, &title, &about(sequence, &what), paper.size.0);

    let area = Area::new(LEFT, TOP + KEY, paper.room, CURVES);
    draw_curves(&mut sheet, sequence, &curves(sequence, gradient), area);

    let mut y = curves_below;
    for array in &arrays {
        let area = paper.map(y);
        let (ink, muted) = (sheet.theme.ink(), sheet.theme.muted());
        let title = format!("{} · {}", array.name, array.words);
        sheet.text(text(area.x, area.y - 7.0, 13.0, ink, &title).bold());
        let figures = text(
            area.right(),
            area.y - 7.0,
            SMALL,
            muted,
            &figures(sequence, array),
        );
        sheet.text(figures.align(Align::Right));
        let largest = largest(sequence, array);
        let theme = sheet.theme;
        let color = |size: f32| color(theme, size, largest);
        heat_map(
            &mut sheet,
            sequence,
            array.sizes.view(),
            &order,
            area,
            &color,
        );
        let ramp = (0..101).map(|step| theme.sequential(1.0 - step as f32 / 100.0));
        let marks = [0.0, 0.5, 1.0].map(|share: f32| {
            let size = largest * 10f32.powf((share - 1.0) * DECADES);
            (share, number(size))
        });
        upright(&mut sheet, beside(area), ramp.collect(), &marks);
        y = area.bottom() + GAP;
    }
    paper.axis.draw(&mut sheet, LEFT, y - GAP + 1.0, paper.room);
    Ok(Picture { sheet })
}

/// The cell state first, beside it what its gates let through.
fn arrays(sequence: &Sequence<'_>, gradient: &GradientTrace) -> Vec<Array> {
    let named = gradient.arrays().into_iter().map(|(name, values)| {
        let (place, name, words) = match name {
            "dc" => (0, "∂L/∂c", "gradient by the cell state"),
            "dh" => (2, "∂L/∂h", "gradient by the hidden state"),
            "forget_product" => (1, "f…f", "product of forget gates up to the last step read"),
            _ => (3, "z…z", "product of update gates up to the last step read"),
        };
        let sizes = values.index_axis_move(Axis(0), sequence.row).mapv(f32::abs);
        let array = Array {
            name: name.into(),
            words,
            sizes,
            is_product: !name.starts_with('∂'),
        };
        (place, array)
    });
    let mut named: Vec<(u8, Array)> = named.collect();
    named.sort_by_key(|(place, _)| *place);
    named.into_iter().map(|(_, array)| array).collect()
}

/// The steps that count, as they are read.
fn read(sequence: &Sequence<'_>) -> Vec<usize> {
    let mut steps: Vec<usize> = (0..sequence.steps())
        .filter(|&step| sequence.counts(step))
        .collect();
    if sequence.trace.reads_backward {
        steps.reverse();
    }
    steps
}

fn curves(sequence: &Sequence<'_>, gradient: &GradientTrace) -> Vec<Curve> {
    let row = sequence.row;
    let norm = |step: usize, of: &dyn Fn(usize) -> f32, size: usize| {
        let squares = (0..size).map(|unit| f64::from(of(unit)).powi(2));
        sequence.counts(step).then(|| squares.sum::<f64>().sqrt())
    };
    let curve = |name: &str, of: &dyn Fn(usize, usize) -> f32, size: usize| Curve {
        name: name.into(),
        sizes: (0..sequence.steps())
            .map(|step| norm(step, &|unit| of(step, unit), size))
            .collect(),
    };
    let mut curves = Vec::new();
    let (dh, dc) = (gradient.dh(), gradient.dc());
    let (state, gates) = match dc {
        Some(dc) => (dc, "‖∂L/∂c‖ by the forget gates alone"),
        None => (dh, "‖∂L/∂h‖ by the update gates alone"),
    };
    if let Some(dc) = dc {
        curves.push(curve(
            "‖∂L/∂c‖",
            &|step, unit| dc[[row, step, unit]],
            dc.dim().2,
        ));
    }
    curves.push(curve(
        "‖∂L/∂h‖",
        &|step, unit| dh[[row, step, unit]],
        dh.dim().2,
    ));
    let last = read(sequence).last().copied();
    if let (Some(product), Some(last)) = (gradient.trace.carousel(), last) {
        let last = state.slice(s![row, last, ..]);
        let of = |step: usize, unit: usize| product[[row, step, unit]] * last[unit];
        curves.push(curve(gates, &of, last.len()));
    }
    curves
}

/// The largest size of the steps that count; 1 where all are 0.
fn largest(sequence: &Sequence<'_>, array: &Array) -> f32 {
    let rows = array.sizes.outer_iter().enumerate();
    let counting = rows.filter(|(step, _)| sequence.counts(*step));
    let sizes = counting.flat_map(|(_, row)| row.to_vec());
    let largest = sizes.filter(|size| size.is_finite()).fold(0.0, f32::max);
    if largest > 0.0 { largest } else { 1.0 }
}

fn color(theme: Theme, size: f32, largest: f32) -> Rgb {
    match size.is_finite() {
        true => theme.sequential(1.0 + (size / largest).log10() / DECADES),
        false => theme.alarm(),
    }
}

/// An array in a few words.
fn figures(sequence: &Sequence<'_>, array: &Array) -> String {
    let sizes: Vec<f64> = read(sequence)
        .into_iter()
        .rev()
        .map(|step| {
            let units = array.sizes.row(step).mapv(f64::from);
            match array.is_product {
                true => units.mean().unwrap_or(f64::NAN),
                false => units.dot(&units).sqrt(),
            }
        })
        .collect();
    let Some(first) = sizes.last().copied() else {
        return String::new();
    };
    let flow = Flow {
        name: "",
        by_distance: sizes,
        first,
        half_lives: Vec::new(),
    };
    let first = number(first as f32);
    if array.is_product {
        return format!("mean {first} at the first step read");
    }
    let ends = format!(
        "norm {} at the last step read, {first} at the first",
        number(flow.last() as f32)
    );
    match flow.vanishes(VANISHED) {
        Some(back) if flow.largest().1 > 0.0 => {
            format!("{ends}; below 1 % from {} back", count(back, "step"))
        }
        _ => ends,
    }
}

/// The sizes over time, with their key above, on a logarithmic axis.
fn draw_curves(sheet: &mut Sheet, sequence: &Sequence<'_>, curves: &[Curve], area: Area) {
    let (ink, muted, grid) = (sheet.theme.ink(), sheet.theme.muted(), sheet.theme.grid());
    let mut x = LEFT;
    for (n, curve) in curves.iter().enumerate() {
        let color = sheet.theme.curve(n);
        let y = area.y - 10.0;
        sheet.line(vec![(x, y - 4.0), (x + 18.0, y - 4.0)], color, 3.0);
        sheet.text(text(x + 24.0, y, 12.0, ink, &curve.name));
        x += 24.0 + width(&curve.name, 12.0, false) + 20.0;
    }
    hatch_masked(sheet, sequence, area);
    let all = curves.iter().flat_map(|curve| curve.sizes.iter().flatten());
    let all = all.copied().filter(|size| size.is_finite() && *size > 0.0);
    let (least, most) = all.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), size| {
        (least.min(size), most.max(size))
    });
    // Where nothing is above 0 there is an axis all the same.
    let (least, most) = match most > 0.0 {
        true => (least.max(most * LOWEST), most),
        false => (0.1, 1.0),
    };
    let air = (0.06 * (most / least).log10()).max(0.05);
    let (low, high) = (least.log10() - air, most.log10() + air);
    let y_of = |size: f64| {
        let share = (size.max(least / 10.0).log10() - low) / (high - low);
        area.bottom() - (share.clamp(0.0, 1.0) as f32) * area.height
    };
    for tick in ticks(low, high) {
        let y = y_of(tick);
        sheet.line(vec![(area.x, y), (area.right(), y)], grid, 1.0);
        let label = text(
            area.x - 6.0,
            y + 0.36 * SMALL,
            SMALL,
            muted,
            &number(tick as f32),
        );
        sheet.text(label.align(Align::Right));
    }
    for (n, curve) in curves.iter().enumerate() {
        let color = sheet.theme.curve(n);
        for points in pieces(&curve.sizes, area.width as usize) {
            let points = points.into_iter().map(|(step, size)| {
                let x = area.x + (step + 0.5) / sequence.steps() as f32 * area.width;
                (x, y_of(size))
            });
            let points: Vec<(f32, f32)> = points.collect();
            if sequence.steps() <= MOST_DOTS {
                points
                    .iter()
                    .for_each(|point| sheet.dot(*point, 2.4, color, 1.0));
            }
            if points.len() > 1 {
                sheet.line(points, color, 1.8);
            }
        }
    }
    let (left, bottom) = (area.x, area.bottom());
    let sides = vec![(left, area.y), (left, bottom), (area.right(), bottom)];
    sheet.line(sides, muted, 1.0);
}

/// Powers of ten on the axis; between neighbours also 2 and 5 times one.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.ceil() as i32, high.floor() as i32);
    if last - first >= 2 {
        let every = (last - first) as usize / 5 + 1;
        let powers = (first..=last).rev().step_by(every);
        return powers.map(|power| 10f64.powi(power)).collect();
    }
    let powers = first - 1..=last;
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power)));
    all.filter(|tick| (low..=high).contains(&tick.log10()))
        .collect()
}

/// A curve as (step, size) in pieces where steps are masked or sizes are no numbers; with more
/// steps than points on the paper, the geometric mean of each group of steps.
fn pieces(sizes: &[Option<f64>], points: usize) -> Vec<Vec<(f32, f64)>> {
    let mut pieces = vec![Vec::new()];
    for group in groups(0..sizes.len(), points) {
        let found: Vec<f64> = group
            .clone()
            .filter_map(|step| sizes[step])
            .filter(|size| size.is_finite())
            .collect();
        if found.is_empty() {
            pieces.push(Vec::new());
            continue;
        }
        let logarithms: f64 = found.iter().map(|size| size.ln()).sum();
        let middle = (group.start + group.end - 1) as f32 / 2.0;
        let size = (logarithms / found.len() as f64).exp();
        if let Some(piece) = pieces.last_mut() {
            piece.push((middle, size));
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_powers_of_ten_or_between_them() {
        let near = |found: Vec<f64>, right: &[f64]| {
            assert_eq!(found.len(), right.len(), "{found:?}");
            let pairs = found.iter().zip(right);
            pairs.for_each(|(found, right)| assert!((found / right - 1.0).abs() < 1e-9));
        };
        near(ticks(-3.2, 0.1), &[1.0, 0.1, 0.01, 1e-3]);
        near(ticks(-0.4, 0.4), &[0.5, 1.0, 2.0]);
        assert!(ticks(-8.1, 0.1).len() <= 6);
    }

    #[test]
    fn curves_break_where_steps_are_masked() {
        let sizes = [
            Some(1.0),
            None,
            Some(0.5),
            Some(f64::NAN),
            Some(0.25),
            Some(0.1),
        ];
        let pieces = pieces(&sizes, 100);
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 1, 2]);
        // Of more steps than points: the mean of the logarithms.
        let sizes: Vec<Option<f64>> = (0..10).map(|step| Some(10f64.powi(-(step % 2)))).collect();
        let grouped = super::pieces(&sizes, 5);
        assert_eq!(grouped[0].len(), 5);
        assert!((grouped[0][0].1 - 0.1_f64.sqrt()).abs() < 1e-12 && grouped[0][0].0 == 0.5);
    }
}
