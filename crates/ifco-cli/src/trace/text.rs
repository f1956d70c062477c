//! The digest for people.

use std::fmt::Write;

use ifco::{ArrayDigest, Digest};

use super::{Report, flow};
use crate::output::{count, short, table, thousands};

/// Writes a line; to a `String` that does not fail.
macro_rules! line {
    ($text:expr, $($arguments:tt)*) => {{ let _ = writeln!($text, $($arguments)*); }};
}
pub(super) use line;

/// So many units are named.
const NAMED: usize = 3;

/// A share of steps from which on something is said to be so most of the time.
const MOSTLY: f64 = 0.5;

/// `of` is what the gradients are of, where there are any.
pub fn report(reports: &[Report], of: &str) -> String {
    let mut text = String::new();
    for (index, report) in reports.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        cell(&mut text, report);
        if let Some(flow) = &report.flow {
            text.push('\n');
            flow::text(&mut text, flow, of);
        }
    }
    text
}

fn cell(text: &mut String, report: &Report) {
    let digest = &report.digest;
    let direction = match report.reads_backward {
        true => ", read backward",
        false => "",
    };
    let masked = match digest.masked {
        0 => String::new(),
        masked => {
            let of = digest.counted + masked;
            format!(", {} of {} masked", thousands(masked), thousands(of))
        }
    };
    line!(
        text,
        "{}: {}, {}, {} of {}{masked}{direction}\n",
        report.path,
        digest.kind.name(),
        count(digest.units, "unit"),
        count(report.sequences, "sequence"),
        count(report.time, "step"),
    );
    if digest.counted == 0 {
        line!(text, "  no step counts: there is nothing to tell");
        return;
    }
    let header = ["", "array", "mean", "min", "max", "< 0.1", "> 0.9"];
    let rows = digest.arrays.iter().map(row).collect();
    text.push_str(&table(&header, &[2, 3, 4, 5, 6], rows));
    text.push('\n');
    if let Some(memory) = &digest.memory {
        let longest = memory.longest().into_iter().take(NAMED);
        let longest = longest.enumerate().map(|(place, (unit, steps))| {
            let of = if place == 0 && steps.is_finite() {
                " steps"
            } else {
                ""
            };
            format!("unit {unit} ({}{of})", self::steps(steps))
        });
        line!(
            text,
            "  memory 1/(1 - {}): {} steps in the median unit; longest {}",
            memory.gate,
            steps(memory.median()),
            longest.collect::<Vec<_>>().join(", "),
        );
    }
    for (place, change) in digest.changes.iter().take(NAMED).enumerate() {
        let start = if place == 0 { "changed most:" } else { "" };
        let sequence = match report.sequences {
            0 | 1 => String::new(),
            _ => format!(" of sequence {}", change.sequence),
        };
        line!(
            text,
            "  {start:13} unit {}, |Δ{}| {} a step, {} at step {}{sequence}",
            change.unit,
            digest.state(),
            short(change.mean),
            short(f64::from(change.largest)),
            change.step,
        );
    }
    text.push('\n');
    for said in words(digest, report.time) {
        line!(text, "  - {said}");
    }
}

fn row(array: &ArrayDigest) -> Vec<String> {
    let share = |share: Option<f64>| share.map_or(String::new(), percent);
    vec![
        array.name.into(),
        array.words.into(),
        short(array.mean),
        short(f64::from(array.min)),
        short(f64::from(array.max)),
        share(array.below()),
        share(array.above()),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn steps(steps: f64) -> String {
    match steps.is_infinite() {
        true => "without end".into(),
        false => short(steps),
    }
}

/// What it means, in words.
fn words(digest: &Digest, time: usize) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(array) = digest.arrays.iter().find(|array| !array.mean.is_finite()) {
        said.push(format!(
            "{} holds what is not a finite number: look at the input and the weights",
            array.name
        ));
        return said;
    }
    if let Some(memory) = &digest.memory {
        let median = memory.median();
        if median > time as f64 {
            said.push("half of the units remember longer than the input lasts".into());
        } else if median < 2.0 {
            said.push("half of the units have all but forgotten after two steps".into());
        } else {
            said.push(format!(
                "half of the units have a third or less left of what they knew {} steps ago",
                median.ceil(),
            ));
        }
    }
    for array in &digest.arrays {
        let (Some((shut, open)), Some(below), Some(above)) =
            (meaning(array.name), array.below(), array.above())
        else {
            continue;
        };
        if above >= MOSTLY {
            said.push(format!(
                "the {} is mostly open ({}): {open}",
                array.words,
                percent(above)
            ));
        } else if below >= MOSTLY {
            said.push(format!(
                "the {} is mostly shut ({}): {shut}",
                array.words,
                percent(below)
            ));
        }
        for (what, stuck) in [("shut", true), ("open", false)] {
            let units = array.units.iter().enumerate().filter(|(_, unit)| {
                let share = if stuck { unit.below } else { unit.above };
                share >= 1.0
            });
            let units: Vec<usize> = units.map(|(unit, _)| unit).collect();
            if !units.is_empty() && units.len() < array.units.len() {
                said.push(format!(
                    "the {} is {what} at every step in {}",
                    array.words,
                    named(&units)
                ));
            }
        }
    }
    let still: Vec<usize> = digest
        .changes
        .iter()
        .filter(|change| change.largest < 1e-3)
        .map(|change| change.unit)
        .collect();
    if !still.is_empty() {
        said.push(format!(
            "{} never changes by as much as 0.001 in {}",
            digest.state(),
            named(&still)
        ));
    }
    said
}

/// What it means that a gate is shut, and that it is open.
fn meaning(gate: &str) -> Option<(&'static str, &'static str)> {
    Some(match gate {
        "i" => (
            "little of the candidates enters",
            "the candidates enter as they are",
        ),
        "f" => (
            "most of the cell state is dropped",
            "most of the cell state is kept",
        ),
        "o" => (
            "little of the cell state is shown",
            "the cell state is shown as it is",
        ),
        "z" => (
            "the hidden state is mostly replaced",
            "the hidden state is mostly kept",
        ),
        "r" => (
            "the candidates see little of the hidden state",
            "the candidates see all of the hidden state",
        ),
        _ => return None,
    })
}

/// `unit 3`, `units 3, 5, 8`, `12 units (3, 5, 8, …)`.
pub(super) fn named(units: &[usize]) -> String {
    let mut sorted = units.to_vec();
    sorted.sort_unstable();
    let list: Vec<String> = sorted.iter().take(8).map(usize::to_string).collect();
    let list = list.join(", ");
    match sorted.len() {
        1 => format!("unit {list}"),
        2..=8 => format!("units {list}"),
        count => format!("{count} units ({list}, …)"),
    }
}
