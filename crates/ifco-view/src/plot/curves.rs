//! How a training went: the loss and the metrics of each epoch, beside those of the validation.

use super::axis::{SMALL, count, number, round_step, ticks};
use super::lettering::width;
use super::packing::heading;
use super::sheet::{Align, Area, Sheet, text};
use super::{Picture, PlotError, Style};

const LEFT: f32 = 64.0;
const RIGHT: f32 = 26.0;
/// Title, a line on the training, and the key.
const TOP: f32 = 88.0;
const ABOVE: f32 = 26.0;
const GAP: f32 = 12.0;
/// Below the last panel: the epochs' numbers, and what they are.
const BELOW: f32 = 40.0;
/// From the largest to the least of a curve: beyond this the axis is logarithmic.
const DECADES: f64 = 100.0;
/// More epochs than this have no dots.
const MOST_DOTS: usize = 60;

/// What was logged of each epoch of a training.
///
/// See [`curves`] for an example.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The number of the first epoch, counted from 1.
    pub first_epoch: usize,
    /// By Keras's names, `loss` or `val_loss`, a value for each epoch; NaN where one has none.
    pub logs: Vec<(String, Vec<f64>)>,
}

/// What is drawn in one panel.
struct Panel<'a> {
    name: &'a str,
    training: Option<&'a [f64]>,
    validation: Option<&'a [f64]>,
}

/// Draws the loss over the epochs and below it each metric, with what the validation has of it. The
/// least loss of the validation, or else of the training, is marked.
///
/// # Errors
/// When there is no epoch, or the size does not do.
///
/// ```
/// use ifco_view::plot::{self, History, Style};
///
/// let history = History {
///     first_epoch: 1,
///     logs: vec![
///         ("loss".into(), vec![1.0, 0.5, 0.25]),
///         ("val_loss".into(), vec![1.1, 0.7, 0.75]),
///     ],
/// };
/// let svg = plot::curves(&history, &Style::default())?.svg()?;
/// assert!(svg.contains("validation") && svg.contains("least 0.7 in epoch 2"));
/// # Ok::<(), plot::PlotError>(())
/// ```
pub fn curves(history: &History, style: &Style) -> Result<Picture, PlotError> {
    let epochs = history.logs.iter().map(|(_, values)| values.len());
    let epochs = epochs.max().unwrap_or(0);
    let panels = panels(history);
    if epochs == 0 || panels.is_empty() {
        let what = "no epoch was finished: there are no curves".into();
        return Err(PlotError::Nothing(what));
    }
    let fixed = TOP + panels.len() as f32 * (ABOVE + GAP) + BELOW;
    let least = (360, (fixed + 40.0 * panels.len() as f32) as u32);
    let (paper_width, paper_height) = style.size(least)?;
    // The loss is what the training follows.
    let shares = panels.len() as f32 + 0.8;
    let share = match paper_height {
        Some(height) => (height as f32 - fixed) / shares,
        None => 130.0,
    };
    let paper_height = paper_height.unwrap_or_else(|| (fixed + shares * share).ceil() as u32);
    let room = paper_width as f32 - LEFT - RIGHT;

    let title = style.title.clone().unwrap_or_else(|| "Training".into());
    let mut sheet = Sheet::new((paper_width, paper_height), style.theme, &title);
    let about = count(epochs, "epoch");
    heading(&mut sheet, &title, &about, paper_width);
    let validates = panels.iter().any(|panel| panel.validation.is_some());
    key(&mut sheet, validates);

    let mut y = TOP;
    for (index, panel) in panels.iter().enumerate() {
        let height = share * if index == 0 { 1.8 } else { 1.0 };
        let area = Area::new(LEFT, y + ABOVE, room, height);
        draw(
            &mut sheet,
            panel,
            index == 0,
            history.first_epoch,
            epochs,
            area,
        );
        y = area.bottom() + GAP;
    }
    epoch_axis(&mut sheet, history.first_epoch, epochs, y - GAP, room);
    Ok(Picture { sheet })
}

/// The loss first, the others as they were logged; each with its validation.
fn panels(history: &History) -> Vec<Panel<'_>> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    for (name, values) in &history.logs {
        let (name, validates) = match name.strip_prefix("val_") {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let index = panels.iter().position(|panel| panel.name == name);
        let index = index.unwrap_or_else(|| {
            panels.push(Panel {
                name,
                training: None,
                validation: None,
            });
            panels.len() - 1
        });
        match validates {
            true => panels[index].validation = Some(values),
            false => panels[index].training = Some(values),
        }
    }
    panels.sort_by_key(|panel| panel.name != "loss");
    panels
}

/// Which colour is which.
fn key(sheet: &mut Sheet, validates: bool) {
    let mut x = LEFT;
    for (n, label) in ["training", "validation"].into_iter().enumerate() {
        if n == 1 && !validates {
            break;
        }
        let color = sheet.theme.curve(n);
        sheet.line(vec![(x, 75.0), (x + 18.0, 75.0)], color, 3.0);
        sheet.text(text(x + 24.0, 79.0, 12.0, sheet.theme.ink(), label));
        x += 24.0 + width(label, 12.0, false) + 20.0;
    }
}

/// Where values stand in a panel.
struct Range {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

impl Range {
    fn of(panel: &Panel<'_>) -> Self {
        let both = panel.training.iter().chain(&panel.validation);
        let values = both.flat_map(|values| values.iter());
        let values = values.copied().filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return Self::spread(-1.0, 1.0, false);
        }
        match low > 0.0 && high / low > DECADES {
            true => Self::spread(low.log10(), high.log10(), true),
            false => Self::spread(low, high, false),
        }
    }

    /// With some air.
    fn spread(low: f64, high: f64, is_logarithmic: bool) -> Self {
        let (low, high) = (low.max(-1e37), high.min(1e37));
        let air = match low == high {
            true => 0.5 * low.abs().max(1e-3),
            false => 0.06 * (high - low),
        };
        Self {
            low: low - air,
            high: high + air,
            is_logarithmic,
        }
    }

    /// From 0, the lowest, to 1.
    fn place(&self, value: f64) -> f32 {
        let value = match self.is_logarithmic {
            true => value.log10(),
            false => value,
        };
        (((value - self.low) / (self.high - self.low)) as f32).clamp(0.0, 1.0)
    }

    fn ticks(&self, most: usize) -> Vec<f64> {
        if !self.is_logarithmic {
            let ticks = ticks(self.low as f32, self.high as f32, most);
            return ticks.into_iter().map(f64::from).collect();
        }
        let (low, high) = (self.low.ceil() as i32, self.high.floor() as i32);
        let every = (high - low).max(0) as usize / most + 1;
        (low..=high)
            .step_by(every)
            .map(|power| 10f64.powi(power))
            .collect()
    }
}

fn draw(
    sheet: &mut Sheet,
    panel: &Panel<'_>,
    is_loss: bool,
    first: usize,
    epochs: usize,
    area: Area,
) {
    let (ink, muted, grid) = (sheet.theme.ink(), sheet.theme.muted(), sheet.theme.grid());
    let range = Range::of(panel);
    let at = |epoch: usize, value: f64| {
        let x = area.x + (epoch as f32 + 0.5) / epochs as f32 * area.width;
        (x, area.bottom() - range.place(value) * area.height)
    };
    sheet.text(text(area.x, area.y - 8.0, 13.0, ink, panel.name).bold());
    for tick in range.ticks(if area.height > 90.0 { 5 } else { 3 }) {
        let (_, y) = at(0, tick);
        sheet.line(vec![(area.x, y), (area.right(), y)], grid, 1.0);
        let label = number(tick as f32);
        let label = text(area.x - 6.0, y + 0.36 * SMALL, SMALL, muted, &label);
        sheet.text(label.align(Align::Right));
    }
    for (n, values) in [panel.training, panel.validation].into_iter().enumerate() {
        let color = sheet.theme.curve(n);
        let values = values.unwrap_or_default();
        // In pieces where an epoch has no value.
        for piece in values.split(|value| !value.is_finite()) {
            // Both lie in `values`: the place of a piece is the distance of its start.
            let before = (piece.as_ptr() as usize - values.as_ptr() as usize) / size_of::<f64>();
            let places = piece.iter().enumerate();
            let points: Vec<(f32, f32)> = places
                .map(|(epoch, value)| at(before + epoch, *value))
                .collect();
            if epochs <= MOST_DOTS {
                points
                    .iter()
                    .for_each(|point| sheet.dot(*point, 2.4, color, 1.0));
            }
            if points.len() > 1 {
                sheet.line(points, color, 1.8);
            }
        }
    }
    if is_loss {
        let n = usize::from(panel.validation.is_some());
        let values = panel.validation.or(panel.training).unwrap_or_default();
        let places = values.iter().copied().enumerate();
        let finite = places.filter(|(_, value)| value.is_finite());
        if let Some((epoch, value)) = finite.min_by(|one, other| one.1.total_cmp(&other.1)) {
            let color = sheet.theme.curve(n);
            sheet.dot(at(epoch, value), 4.6, color, 1.0);
            let told = format!("least {} in epoch {}", number(value as f32), first + epoch);
            let told = text(area.right(), area.y - 8.0, 12.0, color, &told);
            sheet.text(told.align(Align::Right));
        }
    }
    let (left, bottom) = (area.x, area.bottom());
    let sides = vec![(left, area.y), (left, bottom), (area.right(), bottom)];
    sheet.line(sides, muted, 1.0);
}

/// The epochs' numbers.
fn epoch_axis(sheet: &mut Sheet, first: usize, epochs: usize, top: f32, room: f32) {
    let each = room / epochs as f32;
    let widest = width(&(first + epochs).to_string(), SMALL, false);
    let every = round_step((widest + 8.0) / each);
    let (ink, muted) = (sheet.theme.ink(), sheet.theme.muted());
    // Round numbers, and the first.
    let named = (first..first + epochs).filter(|epoch| epoch % every == 0 || *epoch == first);
    let mut right = f32::NEG_INFINITY;
    for epoch in named {
        let x = LEFT + ((epoch - first) as f32 + 0.5) * each;
        let label = epoch.to_string();
        let half = width(&label, SMALL, false) / 2.0;
        if x - half < right + 6.0 {
            continue;
        }
        right = x + half;
        sheet.line(vec![(x, top), (x, top + 3.0)], muted, 1.0);
        sheet.text(text(x, top + 5.0 + 0.9 * SMALL, SMALL, ink, &label).align(Align::Middle));
    }
    let name = text(LEFT + room / 2.0, top + BELOW - 8.0, SMALL, muted, "epoch");
    sheet.text(name.align(Align::Middle));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(logs: &[(&str, &[f64])]) -> History {
        let logs = logs
            .iter()
            .map(|(name, values)| (name.to_string(), values.to_vec()));
        History {
            first_epoch: 1,
            logs: logs.collect(),
        }
    }

    #[test]
    fn the_loss_is_first_and_each_metric_has_its_validation() {
        let history = history(&[
            ("accuracy", &[0.1]),
            ("loss", &[2.0]),
            ("val_accuracy", &[0.2]),
        ]);
        let panels = panels(&history);
        let names: Vec<&str> = panels.iter().map(|panel| panel.name).collect();
        assert_eq!(names, ["loss", "accuracy"]);
        assert!(panels[0].validation.is_none() && panels[1].validation.is_some());
    }

    #[test]
    fn many_decades_are_logarithmic() {
        let panel = |values| Panel {
            name: "loss",
            training: Some(values),
            validation: None,
        };
        let range = Range::of(&panel(&[100.0, 1.0, 0.01]));
        assert!(range.is_logarithmic);
        assert!((range.place(1.0) - 0.5).abs() < 1e-6);
        assert_eq!(range.ticks(5), [0.01, 0.1, 1.0, 10.0, 100.0]);
        assert!(!Range::of(&panel(&[2.0, 1.0])).is_logarithmic);
        let same = Range::of(&panel(&[2.0, 2.0]));
        assert!(same.low < 2.0 && same.high > 2.0);
    }

    #[test]
    fn what_is_no_number_is_left_out_and_nothing_is_no_picture() {
        let odd = history(&[("loss", &[1.0, f64::NAN, 0.5, f64::INFINITY])]);
        let svg = curves(&odd, &Style::default()).unwrap().svg().unwrap();
        assert!(svg.contains("least 0.5 in epoch 3") && !svg.contains("NaN"));
        let none = curves(&history(&[("loss", &[])]), &Style::default());
        assert!(matches!(none, Err(PlotError::Nothing(_))));
    }
}
