//! The fused arrays of a layer as they lie in memory, with the borders and names of its gates.

use ifco_cell::Cell;

use super::axis::{SMALL, count, number, row_numbers};
use super::heat::{Scale, furthest, groups};
use super::lettering::width;
use super::sheet::{Align, Area, Cells, Sheet, fit, text};
use super::{Picture, PlotError, Style};
use crate::parts::{Fused, Part, fused, parts};
use crate::words::thousands;

const LEFT: f32 = 58.0;
const RIGHT: f32 = 26.0;
/// From the paper's top to the first array: title, a line on the layer, the gates' names.
const TOP: f32 = 104.0;
/// Above each array: its name, and its gates' slices.
const ABOVE: f32 = 42.0;
/// More between those that do not have the same columns, for the columns' numbers.
const BELOW: f32 = 12.0;
/// Between arrays.
const GAP: f32 = 14.0;
/// Column numbers and the scale of colours.
const BOTTOM: f32 = 74.0;
/// An array's row is at least this high when there are few.
const LEAST_ROW: f32 = 16.0;

/// Draws `kernel`, `recurrent_kernel` and `bias` of the cell that is called `path`.
///
/// Each number is a cell of colour, where there is room for it; of larger arrays each point
/// shows the number of its neighbourhood that is furthest from 0.
///
/// # Errors
/// When the size asked for is too small or too large.
///
/// ```
/// use ifco_cell::{Activation, SimpleRnnCell, SimpleRnnWeights};
/// use ifco_view::plot::{self, Style};
/// use ndarray::Array2;
///
/// let weights = SimpleRnnWeights::new(Array2::ones((3, 2)), Array2::ones((2, 2)), None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Tanh).into();
/// let style = Style { size: Some((600, 400)), ..Style::default() };
/// assert_eq!(plot::packing("rnn", &cell, &style)?.size(), (600, 400));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn packing(path: &str, cell: &Cell, style: &Style) -> Result<Picture, PlotError> {
    let (arrays, parts) = (fused(cell), parts(cell));
    let of_their_own = arrays.iter().filter(|array| !array.is_by_gate).count();
    let fixed = TOP + arrays.len() as f32 * (ABOVE + GAP) + of_their_own as f32 * BELOW + BOTTOM;
    let least = arrays.len() as u32 * 24 + fixed.ceil() as u32;
    let (paper_width, paper_height) = style.size((480, least))?;
    let room = paper_width as f32 - LEFT - RIGHT;
    let mut heights = natural_heights(&arrays, room);
    if let Some(height) = paper_height {
        let factor = (height as f32 - fixed) / heights.iter().sum::<f32>();
        heights.iter_mut().for_each(|each| *each *= factor);
    }
    let paper_height =
        paper_height.unwrap_or_else(|| (fixed + heights.iter().sum::<f32>()).ceil() as u32);

    let title = style
        .title
        .clone()
        .unwrap_or_else(|| format!("{path}: how its weights are packed"));
    let mut sheet = Sheet::new((paper_width, paper_height), style.theme, &title);
    let values = || arrays.iter().flat_map(|array| array.values.iter().copied());
    let scale = Scale::of(style.theme, values());
    heading(&mut sheet, &title, &about(cell, &arrays), paper_width);
    gate_names(&mut sheet, &parts, room);

    let mut y = TOP;
    let mut is_summary = false;
    for (n, (array, height)) in arrays.iter().zip(heights).enumerate() {
        let whole = [Part {
            letter: None,
            name: array.name,
            columns: 0..array.values.ncols(),
        }];
        let parts = if array.is_by_gate { &parts[..] } else { &whole };
        array_names(&mut sheet, array, parts, y, room);
        y += ABOVE;
        let area = Area::new(LEFT, y, room, height);
        is_summary |= heat_map(&mut sheet, array, parts, area, &scale);
        y += height + GAP;
        // Below the last of the arrays that have the same columns.
        if arrays
            .get(n + 1)
            .is_none_or(|next| !array.is_by_gate || !next.is_by_gate)
        {
            column_numbers(&mut sheet, parts, y - GAP, room);
            y += BELOW;
        }
    }
    y -= BELOW;
    scale_and_notes(&mut sheet, &scale, values(), is_summary, y + 22.0, room);
    Ok(Picture { sheet })
}

/// Square cells where that is neither flat nor endless.
fn natural_heights(arrays: &[Fused<'_>], room: f32) -> Vec<f32> {
    arrays
        .iter()
        .map(|array| {
            let (rows, columns) = array.values.dim();
            let cell = (room / columns as f32).min(34.0);
            let few = LEAST_ROW * rows.min(2) as f32;
            (rows as f32 * cell).clamp(few, room / 2.0)
        })
        .collect()
}

fn about(cell: &Cell, arrays: &[Fused<'_>]) -> String {
    let missing = |array: &Fused<'_>| array.without.map_or(0, |_| cell.units());
    let weights = |array: &Fused<'_>| array.values.len() - missing(array);
    let parameters: usize = arrays.iter().map(weights).sum();
    let has_bias = arrays.iter().any(|array| array.name == "bias");
    let bias = if has_bias { "" } else { ", no bias" };
    format!(
        "{}, {}, {}, {}{bias}",
        cell.kind().name(),
        count(cell.units(), "unit"),
        count(cell.features(), "feature"),
        count(parameters, "weight"),
    )
}

/// Title and a line below it.
pub(super) fn heading(sheet: &mut Sheet, title: &str, about: &str, paper_width: u32) {
    let room = paper_width as f32 - LEFT - RIGHT;
    let (ink, muted) = (sheet.theme.ink(), sheet.theme.muted());
    // Bold is wider than what `fit` measures.
    let title = fit(title, 17.0, room * 0.88);
    sheet.text(text(LEFT, 32.0, 17.0, ink, &title).bold());
    sheet.text(text(LEFT, 52.0, 12.0, muted, &fit(about, 12.0, room)));
}

/// Where a column stands.
fn x_of(column: usize, columns: usize, room: f32) -> f32 {
    LEFT + room * column as f32 / columns.max(1) as f32
}

fn columns(parts: &[Part]) -> usize {
    parts.last().map_or(0, |part| part.columns.end)
}

/// The gates' names over their columns.
fn gate_names(sheet: &mut Sheet, parts: &[Part], room: f32) {
    let all = columns(parts);
    for (n, part) in parts.iter().enumerate() {
        let Some(letter) = part.letter else { continue };
        let (left, right) = (
            x_of(part.columns.start, all, room),
            x_of(part.columns.end, all, room),
        );
        let color = sheet.theme.curve(n);
        sheet.fill(Area::new(left + 1.0, 92.0, right - left - 2.0, 4.0), color);
        let middle = (left + right) / 2.0;
        let name = format!("{letter} · {}", part.name);
        let size = if width(&name, 14.0, true) + 8.0 < right - left {
            14.0
        } else {
            11.0
        };
        let name = text(middle, 84.0, size, sheet.theme.ink(), &name);
        sheet.text(name.bold().align(Align::Middle));
    }
}

/// An array's name and shape, and below it the slice of each gate.
fn array_names(sheet: &mut Sheet, array: &Fused<'_>, parts: &[Part], y: f32, room: f32) {
    let (ink, muted) = (sheet.theme.ink(), sheet.theme.muted());
    sheet.text(text(LEFT, y + 16.0, 13.0, ink, array.name).bold());
    let rows = match (array.name, array.values.nrows()) {
        ("kernel", _) => "a row for each feature of the input",
        ("recurrent_kernel", _) => match array.rows {
            "unit" => "a row for each unit of h one step before",
            _ => "a row for each value of the projected h one step before",
        },
        ("peepholes", _) => "i and f see c one step before, o the new c",
        ("projection", _) => "a row for each unit, a column for each value of h",
        (name, _) if name.ends_with("norm") => "row 0 is γ, row 1 is β",
        (_, 2) => "row 0 for the input, row 1 for h",
        _ => "",
    };
    let about = match rows {
        "" => array.shape.clone(),
        rows => format!("{}, {rows}", array.shape),
    };
    let x = LEFT + width(array.name, 13.0, true) + 12.0;
    sheet.text(text(x, y + 16.0, 12.0, muted, &about));
    let all = columns(parts);
    for (n, part) in parts.iter().enumerate() {
        let (left, right) = (
            x_of(part.columns.start, all, room),
            x_of(part.columns.end, all, room),
        );
        let slice = match part.letter {
            _ if array.without == Some(n) => "none".into(),
            Some(_) if array.name == "peepholes" => format!("peepholes[{}]", n.min(2)),
            Some(_) => array.slice(&part.columns),
            None => array.name.into(),
        };
        symbol_and_slice(
            sheet,
            array.letter,
            part.letter,
            &slice,
            (left, right, y + ABOVE - 7.0),
        );
    }
}

/// `W_f` as in the equations, and where it is, in the middle between left and right.
fn symbol_and_slice(
    sheet: &mut Sheet,
    letter: &str,
    gate: Option<char>,
    slice: &str,
    (left, right, baseline): (f32, f32, f32),
) {
    let (ink, muted) = (sheet.theme.ink(), sheet.theme.muted());
    let gate = gate.map(String::from).unwrap_or_default();
    let of = |text: &str, size| width(text, size, false);
    let wide = width(letter, 13.0, true) + width(&gate, 9.5, true);
    // `recurrent_kernel[:, 24:48]` shrinks to its brackets where there is little room.
    let all = right - left - wide - 14.0;
    let short = slice.find('[').map_or(slice, |at| &slice[at..]);
    let slice = if of(slice, SMALL) <= all {
        slice
    } else {
        short
    };
    let slice = fit(slice, SMALL, all);
    let mut x = (left + right - wide - 8.0 - of(&slice, SMALL)) / 2.0;
    sheet.text(text(x, baseline, 13.0, ink, letter).bold());
    x += width(letter, 13.0, true);
    if !gate.is_empty() {
        sheet.text(text(x, baseline + 3.5, 9.5, ink, &gate).bold());
    }
    x += width(&gate, 9.5, true) + 8.0;
    sheet.text(text(x, baseline, SMALL, muted, &slice));
}

/// Says whether cells stand for several numbers.
fn heat_map(
    sheet: &mut Sheet,
    array: &Fused<'_>,
    parts: &[Part],
    area: Area,
    scale: &Scale,
) -> bool {
    let (rows, columns) = array.values.dim();
    let each = (area.width / parts.len().max(1) as f32) as usize;
    // In groups that no gate's border runs through.
    let column_groups: Vec<_> = parts
        .iter()
        .flat_map(|part| groups(part.columns.clone(), each))
        .collect();
    let row_groups = groups(0..rows, area.height as usize);
    let is_summary = column_groups.len() < columns || row_groups.len() < rows;
    let mut cells = furthest(array.values.view(), &row_groups, &column_groups, scale);
    if let Some(part) = array.without.and_then(|gate| parts.get(gate)) {
        let blank = sheet.theme.blank();
        let across = column_groups.len();
        for (n, color) in cells.colors.iter_mut().enumerate() {
            if part.columns.contains(&column_groups[n % across].start) {
                *color = blank;
            }
        }
    }
    if !is_summary {
        write_numbers(sheet, array, parts, area, &cells);
    }
    sheet.image(area, cells);
    let ink = sheet.theme.ink();
    for part in parts {
        let (left, right) = (
            x_of(part.columns.start, columns, area.width),
            x_of(part.columns.end, columns, area.width),
        );
        sheet.outline(Area::new(left, area.y, right - left, area.height), ink, 1.6);
    }
    if !array.rows.is_empty() || rows > 1 {
        row_numbers(sheet, (area.x, area.y, area.height), rows, None);
    }
    if !array.rows.is_empty() && area.height >= width(array.rows, SMALL, false) + 4.0 {
        let middle = area.y + area.height / 2.0;
        let name = text(16.0, middle, SMALL, sheet.theme.muted(), array.rows);
        sheet.text(name.align(Align::Middle).turned());
    }
    is_summary
}

/// The numbers themselves, where each has the room.
fn write_numbers(sheet: &mut Sheet, array: &Fused<'_>, parts: &[Part], area: Area, cells: &Cells) {
    let (rows, columns) = array.values.dim();
    let (wide, high) = (area.width / columns as f32, area.height / rows as f32);
    if wide < 44.0 || high < 15.0 {
        return;
    }
    let without = array.without.and_then(|gate| parts.get(gate));
    for ((row, column), &value) in array.values.indexed_iter() {
        if without.is_some_and(|part| part.columns.contains(&column)) {
            continue;
        }
        let below = cells.colors[row * columns + column];
        // Whichever of ink and paper stands out more.
        let (ink, paper) = (sheet.theme.ink(), sheet.theme.paper());
        let contrast = |color: crate::color::Rgb| (color.lightness() - below.lightness()).abs();
        let color = if contrast(ink) >= contrast(paper) {
            ink
        } else {
            paper
        };
        let x = area.x + (column as f32 + 0.5) * wide;
        let y = area.y + (row as f32 + 0.5) * high + 0.36 * SMALL;
        sheet.text(text(x, y, SMALL, color, &number(value)).align(Align::Middle));
    }
}

/// Numbers at the gates' borders.
fn column_numbers(sheet: &mut Sheet, parts: &[Part], y: f32, room: f32) {
    let all = columns(parts);
    let muted = sheet.theme.muted();
    let borders = parts.iter().map(|part| part.columns.start).chain([all]);
    for column in borders {
        let x = x_of(column, all, room);
        sheet.line(vec![(x, y), (x, y + 4.0)], muted, 1.0);
        let label = text(x, y + 6.0 + 0.9 * SMALL, SMALL, muted, &column.to_string());
        sheet.text(label.align(Align::Middle));
    }
    let label = text(16.0, y + 6.0 + 0.9 * SMALL, SMALL, muted, "column");
    if width("column", SMALL, false) < LEFT - 24.0 {
        sheet.text(label.align(Align::Left));
    }
}

fn scale_and_notes(
    sheet: &mut Sheet,
    scale: &Scale,
    values: impl Iterator<Item = f32>,
    is_summary: bool,
    y: f32,
    room: f32,
) {
    let (mut beyond, mut largest, mut not_finite) = (0, 0.0_f32, 0);
    for value in values {
        if !value.is_finite() {
            not_finite += 1;
        } else if value.abs() > scale.limit {
            beyond += 1;
            if value.abs() > largest.abs() {
                largest = value;
            }
        }
    }
    let bar = Area::new(LEFT + 52.0, y + 6.0, (room * 0.28).min(240.0), 10.0);
    scale.draw_level(sheet, bar, "weight");
    let mut notes = Vec::new();
    if not_finite > 0 {
        notes.push(format!("{} not finite, in pink", thousands(not_finite)));
    }
    if beyond > 0 {
        let beyond = thousands(beyond);
        notes.push(format!(
            "{beyond} beyond the scale, the furthest {}",
            number(largest)
        ));
    }
    if is_summary {
        notes.push("a point shows the weight furthest from 0 around it".into());
    }
    let x = bar.right() + 34.0;
    let mut baseline = bar.y + bar.height / 2.0 + 0.36 * SMALL;
    let muted = sheet.theme.muted();
    for note in notes {
        let note = fit(&note, SMALL, LEFT + room - x);
        sheet.text(text(x, baseline, SMALL, muted, &note));
        baseline += 14.0;
    }
}
