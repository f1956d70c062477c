//! The report for programs. What stands here stays; new fields may come.

use ifco::Precision;
use ifco::machine::{Bound, Limits};
use serde_json::{Map, Value, json};

use super::layers::LayerTime;
use super::{BatchReport, Report};
use crate::precision::Difference;

/// Raised when a field goes or changes its meaning; new fields do not raise it.
const SCHEMA: u32 = 1;

/// A cache that the machine does not have is not there.
pub fn machine(limits: &Limits) -> Value {
    let bandwidth: Map<String, Value> = limits
        .levels
        .iter()
        .map(|limit| (limit.level.to_string(), number(limit.bandwidth_gbs)))
        .collect();
    json!({
        "isa": limits.isa,
        "threads": limits.threads,
        "fma_gflops": number(limits.fma_gflops),
        "bandwidth_gbs": bandwidth,
    })
}

pub fn report(report: &Report<'_>) -> Value {
    let inputs: Vec<Value> = report
        .model
        .inputs()
        .iter()
        .zip(&report.shapes)
        .map(|(port, shape)| {
            // The batch is that of each measurement.
            let size = |(axis, size): (usize, &usize)| match port.batch_axis == Some(axis) {
                true => Value::Null,
                false => json!(size),
            };
            let shape: Vec<Value> = shape.iter().enumerate().map(size).collect();
            json!({ "name": port.name, "shape": shape })
        })
        .collect();
    let difference = &report.difference;
    let precision = difference.map_or(Precision::F32, |difference| difference.precision);
    let batches: Vec<Value> = report.batches.iter().map(batch).collect();
    json!({
        "schema": SCHEMA,
        "file": report.file,
        "name": report.model.name(),
        "machine": machine(&report.limits),
        "inputs": inputs,
        "precision": precision.name(),
        "difference_from_f32": difference.as_ref().map(Difference::json),
        "interrupted": report.is_interrupted,
        "batches": batches,
    })
}

fn batch(report: &BatchReport) -> Value {
    let all = report.seconds_of_all_layers();
    let layers: Vec<Value> = report.layers.iter().map(|time| layer(time, all)).collect();
    let latency = &report.latency;
    json!({
        "batch": report.batch,
        "time": report.time(),
        "predictions": latency.predictions,
        "latency_seconds": {
            "min": latency.min,
            "p50": latency.p50,
            "p90": latency.p90,
            "p99": latency.p99,
            "max": latency.max,
        },
        "sequences_per_second": report.sequences_per_second(),
        "steps_per_second": report.steps_per_second(),
        "layers": layers,
    })
}

fn layer(layer: &LayerTime, all: f64) -> Value {
    let recurrent = layer.recurrent.as_ref().map(|recurrent| {
        json!({
            "units": recurrent.units,
            "time": recurrent.time,
            "recurrent_bytes": recurrent.recurrent_bytes,
            "gflops": layer.gflops(),
            "limit_gflops": recurrent.limit_gflops(),
            "share_of_limit": layer.share_of_limit(),
            "limited_by": match recurrent.bound {
                Bound::Arithmetic => "arithmetic".into(),
                Bound::Weights(level) => level.to_string(),
            },
        })
    });
    json!({
        "path": layer.path,
        "class": layer.class,
        "seconds": layer.seconds,
        "share_of_time": layer.seconds / all,
        "recurrent": recurrent,
    })
}

/// Four digits are more than the measurement gives.
fn number(value: f64) -> Value {
    let digits = 10_f64.powi(3 - value.log10().floor().clamp(-9.0, 9.0) as i32);
    json!((value * digits).round() / digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ifco::machine::{Level, LevelLimit};

    #[test]
    fn the_machine_in_the_fields_that_others_read() {
        let limits = Limits {
            isa: "avx512".into(),
            threads: 1,
            fma_gflops: 114.04321,
            levels: vec![
                LevelLimit {
                    level: Level::L1,
                    bytes_per_thread: 32 << 10,
                    bandwidth_gbs: 196.0,
                },
                LevelLimit {
                    level: Level::Memory,
                    bytes_per_thread: usize::MAX,
                    bandwidth_gbs: 25.99999,
                },
            ],
        };
        let text = machine(&limits).to_string();
        assert_eq!(
            text,
            r#"{"isa":"avx512","threads":1,"fma_gflops":114.0,"bandwidth_gbs":{"L1":196.0,"memory":26.0}}"#
        );
    }
}
