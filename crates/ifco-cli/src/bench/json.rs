//! The report for programs. What stands here stays; new fields may come.

use ifco::Precision;
use ifco::machine::{Bound, Level, Limits, Reading};
use serde_json::{Map, Value, json};

use super::layers::LayerTime;
use super::size::LayerSize;
use super::{BatchReport, Report};
use crate::precision::Difference;

/// Raised when a field goes or changes its meaning; new fields do not raise it.
const SCHEMA: u32 = 1;

/// A cache that the machine does not have is not there.
pub fn machine(limits: &Limits) -> Value {
    let caches = limits.caches.iter().map(|cache| cache.level);
    let bandwidth: Map<String, Value> = caches
        .chain([Level::Memory])
        .filter_map(|level| Some((level.to_string(), number(limits.level_gbs(level)?))))
        .collect();
    let reading = |reading: &Reading| {
        json!({
            "bytes_per_thread": reading.bytes_per_thread,
            "level": limits.level(reading.bytes_per_thread).to_string(),
            "gbs": number(reading.gbs),
        })
    };
    let readings = limits.bandwidth.readings().iter();
    let bandwidth_by_size: Vec<Value> = readings.map(reading).collect();
    json!({
        "isa": limits.isa,
        "threads": limits.threads,
        "fma_gflops": number(limits.fma_gflops),
        "bandwidth_gbs": bandwidth,
        "bandwidth_by_size": bandwidth_by_size,
    })
}

/// The same, and what it allows layers of these sizes.
pub fn machine_alone(limits: &Limits, sizes: &[LayerSize]) -> Value {
    let layer = |size: &LayerSize| {
        let shape = &size.shape;
        let limit = limits.layer(shape);
        json!({
            "layer": size.to_string(),
            "recurrent_bytes": shape.recurrent_bytes(),
            "limit_gflops": number(limit.gflops),
            "limited_by": limited_by(limit.bound),
        })
    };
    let mut machine = machine(limits);
    machine["layers"] = sizes.iter().map(layer).collect();
    machine
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
            "limited_by": limited_by(recurrent.bound),
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

fn limited_by(bound: Bound) -> String {
    match bound {
        Bound::Arithmetic => "arithmetic".into(),
        Bound::Weights(level) => level.to_string(),
    }
}

/// Four digits are more than the measurement gives.
fn number(value: f64) -> Value {
    let digits = 10_f64.powi(3 - value.log10().floor().clamp(-9.0, 9.0) as i32);
    json!((value * digits).round() / digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ifco::machine::{Bandwidth, CacheShare};

    #[test]
    fn the_machine_in_the_fields_that_others_read() {
        let reading = |bytes_per_thread, gbs| Reading {
            bytes_per_thread,
            gbs,
        };
        let limits = Limits {
            isa: "avx512".into(),
            threads: 1,
            fma_gflops: 114.04321,
            caches: vec![CacheShare {
                level: Level::L1,
                bytes_per_thread: 32 << 10,
            }],
            bandwidth: Bandwidth::new([reading(32 << 10, 196.0), reading(64 << 20, 25.99999)]),
        };
        let fields = [
            r#""isa":"avx512","threads":1,"fma_gflops":114.0"#,
            r#""bandwidth_gbs":{"L1":196.0,"memory":26.0}"#,
            r#""bandwidth_by_size":[{"bytes_per_thread":32768,"level":"L1","gbs":196.0}"#,
            r#"{"bytes_per_thread":67108864,"level":"memory","gbs":26.0}]"#,
        ]
        .join(",");
        assert_eq!(machine(&limits).to_string(), format!("{{{fields}}}"));

        let sizes = ["lstm:1x1000x1x32", "gru:64x10x8x8"].map(|size| size.parse().unwrap());
        let alone = machine_alone(&limits, &sizes);
        let layers = concat!(
            r#"[{"layer":"lstm:1x1000x1x32","recurrent_bytes":16384,"limit_gflops":98.42,"#,
            r#""limited_by":"L1"},{"layer":"gru:64x10x8x8","recurrent_bytes":768,"#,
            r#""limit_gflops":114.0,"limited_by":"arithmetic"}]"#,
        );
        assert_eq!(alone["layers"].to_string(), layers);
        assert_eq!(alone["bandwidth_gbs"], machine(&limits)["bandwidth_gbs"]);
    }
}
