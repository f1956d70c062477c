//! The digest for programs. Its schema is docs/trace.md: what stands there stays.

use ifco::{ArrayDigest, Change};
use serde_json::{Value, json};

use super::{Report, flow};
use crate::output::json_number;

/// Raised when a field goes or changes its meaning; new fields do not raise it.
const SCHEMA: u32 = 1;

/// `of` is what the gradients are of, where there are any.
pub fn report(file: &str, reports: &[Report], of: &str) -> Value {
    let cells: Vec<Value> = reports.iter().map(|report| cell(report, of)).collect();
    json!({ "schema": SCHEMA, "file": file, "cells": cells })
}

fn cell(report: &Report, of: &str) -> Value {
    let digest = &report.digest;
    let memory = digest.memory.as_ref().map(|memory| {
        let units: Vec<Value> = memory.steps.iter().copied().map(json_number).collect();
        json!({ "gate": memory.gate, "median": json_number(memory.median()), "units": units })
    });
    let changes: Vec<Value> = digest.changes.iter().map(change).collect();
    json!({
        "path": report.path,
        "class": digest.kind.name(),
        "units": digest.units,
        "sequences": report.sequences,
        "steps": report.time,
        "counted": digest.counted,
        "masked": digest.masked,
        "reads_backward": report.reads_backward,
        "arrays": digest.arrays.iter().map(array).collect::<Vec<Value>>(),
        "memory": memory,
        "changes": { "state": digest.state(), "units": changes },
        "gradient": report.flow.as_ref().map(|flow| flow::json(flow, of)),
    })
}

fn array(array: &ArrayDigest) -> Value {
    let share = |share: Option<f64>| share.map(json_number);
    let each = |of: fn(&ifco::UnitDigest) -> f64| -> Vec<Value> {
        array
            .units
            .iter()
            .map(|unit| json_number(of(unit)))
            .collect()
    };
    json!({
        "name": array.name,
        "words": array.words,
        "mean": json_number(array.mean),
        "min": json_number(f64::from(array.min)),
        "max": json_number(f64::from(array.max)),
        "below": share(array.below()),
        "above": share(array.above()),
        "units": {
            "mean": each(|unit| unit.mean),
            "below": each(|unit| unit.below),
            "above": each(|unit| unit.above),
        },
    })
}

fn change(change: &Change) -> Value {
    json!({
        "unit": change.unit,
        "mean": json_number(change.mean),
        "largest": json_number(f64::from(change.largest)),
        "sequence": change.sequence,
        "step": change.step,
    })
}
