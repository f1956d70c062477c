//! The digest of a gradient through time, for people and for programs.

use std::fmt::Write;

use ifco::{Flow, FlowDigest};
use serde_json::{Value, json};

use super::text::{line, named};
use crate::output::{count, json_number, short, table};

/// A gradient is said to vanish where less than this share of its largest is left.
const VANISHED: f64 = 0.01;

/// A gradient is said to explode where its first step has so many times what the last one has.
const EXPLODED: f64 = 100.0;

/// A half-life that is longer is without end, for all that can be told.
const ENDLESS: f64 = 1e6;

/// So many units are named.
const NAMED: usize = 3;

pub fn text(text: &mut String, digest: &FlowDigest, of: &str) {
    line!(text, "  gradient of {of}, by steps back from the last\n");
    let steps = digest.flows.iter().map(|flow| flow.by_distance.len());
    let steps = steps.max().unwrap_or(0);
    if steps == 0 {
        line!(text, "  no step counts: there is nothing to tell");
        return;
    }
    let mut header = vec!["".to_string(), "steps back".to_string()];
    header.extend(digest.flows.iter().map(|flow| match flow.name {
        "dh" => "|∂L/∂h|".into(),
        "dc" => "|∂L/∂c|".into(),
        product => product.replace('_', " "),
    }));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let right: Vec<usize> = (1..header.len()).collect();
    let rows = distances(steps).into_iter().map(|distance| {
        let sizes = digest.flows.iter();
        let sizes = sizes.map(|flow| short(flow.by_distance[distance]));
        [String::new(), distance.to_string()]
            .into_iter()
            .chain(sizes)
            .collect()
    });
    text.push_str(&table(&header, &right, rows.collect()));
    text.push('\n');
    for flow in &digest.flows {
        let units = flow.longest();
        if units.is_empty() {
            continue;
        }
        let longest = units.iter().take(NAMED);
        let longest = longest.map(|(unit, steps)| format!("unit {unit} ({})", half_life(*steps)));
        line!(
            text,
            "  half-life of {}: {} in the median unit; longest {}",
            flow.name.replace('_', " "),
            match flow.median_half_life() {
                steps if steps.abs() >= ENDLESS || steps < 0.0 => half_life(steps),
                steps => format!("{} steps", short(steps)),
            },
            longest.collect::<Vec<_>>().join(", "),
        );
    }
    text.push('\n');
    for said in words(digest) {
        line!(text, "  - {said}");
    }
}

/// 0, 1, 2, 4, 8, … and the last.
fn distances(steps: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |step: &usize| step.checked_mul(2));
    let powers = powers.take_while(|step| step + 1 < steps);
    let mut distances: Vec<usize> = std::iter::once(0).chain(powers).collect();
    if steps > 1 {
        distances.push(steps - 1);
    }
    distances
}

fn half_life(steps: f64) -> String {
    if steps.abs() >= ENDLESS {
        "without end".into()
    } else if steps < 0.0 {
        format!("none, it doubles every {} steps", short(-steps))
    } else {
        short(steps)
    }
}

/// What it means, in words.
fn words(digest: &FlowDigest) -> Vec<String> {
    let mut said = Vec::new();
    let gradients = digest
        .flows
        .iter()
        .filter(|flow| flow.name.starts_with('d'));
    for flow in gradients {
        let name = match flow.name {
            "dc" => "∂L/∂c",
            _ => "∂L/∂h",
        };
        let (place, largest) = flow.largest();
        if flow.by_distance.iter().any(|size| !size.is_finite()) {
            said.push(format!("{name} holds what is not a finite number"));
            continue;
        }
        if largest == 0.0 {
            said.push(format!(
                "{name} is 0 at every step: nothing reaches this layer"
            ));
            continue;
        }
        if let Some(from) = flow.vanishes(VANISHED) {
            said.push(format!(
                "{name} vanishes: from {} back on less than 1 % of its largest is left",
                count(from, "step")
            ));
        } else if flow.ratio() > EXPLODED {
            said.push(format!(
                "{name} explodes: the first step has {} times what the last one has",
                short(flow.ratio())
            ));
        } else {
            said.push(format!(
                "{name} reaches the first step: {} there, {} at the last one ({} of it)",
                short(flow.first),
                short(flow.last()),
                match flow.ratio() {
                    ratio if ratio.is_finite() => short(ratio),
                    _ => "beyond any multiple".into(),
                }
            ));
        }
        if place > 0 {
            said.push(format!("{name} is largest {} back", count(place, "step")));
        }
        let dead = flow.half_lives.iter().enumerate();
        let dead: Vec<usize> = dead
            .filter(|(_, steps)| steps.is_nan() && flow.by_distance.len() > 1)
            .map(|(unit, _)| unit)
            .collect();
        if !dead.is_empty() && dead.len() < flow.half_lives.len() {
            said.push(format!(
                "{name} is 0 at all but one step in {}",
                named(&dead)
            ));
        }
        let growing: Vec<usize> = flow
            .longest()
            .into_iter()
            .take_while(|(_, steps)| *steps < 0.0 && *steps > -ENDLESS)
            .map(|(unit, _)| unit)
            .collect();
        if !growing.is_empty() && growing.len() < flow.half_lives.len() {
            said.push(format!(
                "{name} grows on its way back in {}",
                named(&growing)
            ));
        }
    }
    said
}

pub fn json(digest: &FlowDigest, of: &str) -> Value {
    let flow = |flow: &Flow| {
        let numbers =
            |numbers: &[f64]| -> Vec<Value> { numbers.iter().copied().map(json_number).collect() };
        json!({
            "name": flow.name,
            "by_distance": numbers(&flow.by_distance),
            "first": json_number(flow.first),
            "last": json_number(flow.last()),
            "ratio": json_number(flow.ratio()),
            "vanishes": flow.vanishes(VANISHED),
            "half_life": {
                "median": json_number(flow.median_half_life()),
                "units": numbers(&flow.half_lives),
            },
        })
    };
    json!({ "of": of, "arrays": digest.flows.iter().map(flow).collect::<Vec<Value>>() })
}
