//! The report for people.

use std::fmt::Write;

use ifco::machine::{Bound, Level, Limits};

use super::layers::{LayerTime, Recurrent};
use super::size::LayerSize;
use super::{BatchReport, Report};
use crate::output::{count, short, table, thousands};

/// What the machine can do, and what that allows layers of these sizes.
pub fn machine(limits: &Limits, layers: &[LayerSize]) -> String {
    let mut text = format!(
        "this machine with {}, {}:\n\n{}\n{}",
        limits.isa,
        count(limits.threads, "thread"),
        levels(limits),
        sizes(limits)
    );
    if !layers.is_empty() {
        let _ = write!(text, "\n{}", possible(limits, layers));
    }
    text
}

/// One figure for each level of the memory.
fn levels(limits: &Limits) -> String {
    let header = ["", "GB/s", "GFLOP/s", "a thread has"];
    let mut rows = vec![vec![
        "multiply-adds in registers".into(),
        String::new(),
        figure(limits.fma_gflops),
        String::new(),
    ]];
    let caches = limits.caches.iter();
    let caches = caches.map(|cache| (cache.level, size(cache.bytes_per_thread)));
    for (level, size) in caches.chain([(Level::Memory, String::new())]) {
        if let Some(gbs) = limits.level_gbs(level) {
            let [gbs, gflops] = speed(gbs);
            rows.push(vec![
                format!("matrix × vector from {level}"),
                gbs,
                gflops,
                size,
            ]);
        }
    }
    table(&header, &[1, 2, 3], rows)
}

/// The curve behind these figures.
fn sizes(limits: &Limits) -> String {
    let header = ["a thread reads", "GB/s", "GFLOP/s", "from"];
    let readings = limits.bandwidth.readings().iter();
    let rows = readings
        .map(|reading| {
            let [gbs, gflops] = speed(reading.gbs);
            let from = limits.level(reading.bytes_per_thread).to_string();
            vec![size(reading.bytes_per_thread), gbs, gflops, from]
        })
        .collect();
    table(&header, &[0, 1, 2], rows)
}

/// GB/s of a matrix × vector product, and its GFLOP/s: two operations for each 4 bytes.
fn speed(gbs: f64) -> [String; 2] {
    [figure(gbs), figure(gbs / 2.0)]
}

fn possible(limits: &Limits, layers: &[LayerSize]) -> String {
    let header = ["layer", "possible", "takes at least", ""];
    let rows = layers
        .iter()
        .map(|layer| {
            let limit = limits.layer(&layer.shape);
            vec![
                layer.to_string(),
                format!("{} GFLOP/s", figure(limit.gflops)),
                duration(layer.shape.flops() / limit.gflops / 1e9),
                reason(limit.bound, layer.shape.recurrent_bytes()),
            ]
        })
        .collect();
    table(&header, &[1, 2], rows)
}

pub fn report(report: &Report<'_>) -> String {
    let inputs: Vec<String> = report
        .model
        .inputs()
        .iter()
        .zip(&report.shapes)
        .map(|(port, shape)| {
            let size = |(axis, size): (usize, &usize)| match port.batch_axis == Some(axis) {
                true => "batch".into(),
                false => size.to_string(),
            };
            let sizes: Vec<String> = shape.iter().enumerate().map(size).collect();
            format!("{} ({})", port.name, sizes.join(", "))
        })
        .collect();
    let mut text = format!(
        "{}: model {:?} on random {}\n{}, {}\n\n",
        report.file,
        report.model.name(),
        inputs.join(", "),
        report.limits.isa,
        count(report.limits.threads, "thread"),
    );
    if let Some(difference) = &report.difference {
        let _ = writeln!(text, "{}: {difference}\n", difference.precision);
    }
    text.push_str(&latencies(&report.batches));
    text.push('\n');
    let is_reduced = report.difference.is_some();
    text.push_str(&layers(&report.batches, is_reduced, report.limits.threads));
    if report.is_interrupted {
        text.push_str("\ninterrupted: the last line may rest on few predictions\n");
    }
    text
}

fn latencies(batches: &[BatchReport]) -> String {
    let has_steps = batches.iter().any(|batch| batch.time().is_some());
    let mut header = vec!["batch", "min", "p50", "p90", "p99", "max", "sequences/s"];
    if has_steps {
        header.push("steps/s");
    }
    let rows = batches
        .iter()
        .map(|batch| {
            let latency = &batch.latency;
            let mut row = vec![batch.batch.to_string()];
            row.extend(
                [
                    latency.min,
                    latency.p50,
                    latency.p90,
                    latency.p99,
                    latency.max,
                ]
                .map(duration),
            );
            row.push(rate(batch.sequences_per_second()));
            if has_steps {
                row.push(batch.steps_per_second().map_or(String::new(), rate));
            }
            row
        })
        .collect();
    let right: Vec<usize> = (0..header.len()).collect();
    table(&header, &right, rows)
}

fn layers(batches: &[BatchReport], is_reduced: bool, threads: usize) -> String {
    let header = [
        "layer",
        "batch",
        "of the time",
        "GFLOP/s",
        "possible",
        "reached",
    ];
    let mut rows = Vec::new();
    for batch in batches {
        let all = batch.seconds_of_all_layers();
        for layer in &batch.layers {
            if let (Some(recurrent), Some(gflops), Some(share)) =
                (&layer.recurrent, layer.gflops(), layer.share_of_limit())
            {
                rows.push(vec![
                    layer.path.clone(),
                    batch.batch.to_string(),
                    percent(layer.seconds / all),
                    figure(gflops),
                    figure(recurrent.limit_gflops()),
                    percent(share),
                ]);
            }
        }
    }
    if rows.is_empty() {
        return "no recurrent layer takes a sequence (batch, time, features) of its own\n".into();
    }
    let mut text = table(&header, &[1, 2, 3, 4, 5], rows);
    if threads > 1 {
        let threads = count(threads, "thread");
        let _ = writeln!(
            text,
            "possible: with {threads}; a layer too small to be shared uses one"
        );
    }
    text.push('\n');
    // What one sequence does and what many do, in words; what is between is between.
    let mut told: Vec<&BatchReport> = batches.first().into_iter().collect();
    told.extend(batches.last().filter(|_| batches.len() > 1));
    for batch in told {
        sentences(&mut text, batch, is_reduced);
    }
    text
}

fn sentences(text: &mut String, batch: &BatchReport, is_reduced: bool) {
    let start = match batch.batch {
        1 => "one sequence at a time".to_string(),
        many => format!("{many} sequences at a time"),
    };
    let _ = writeln!(text, "{start}:");
    let all = batch.seconds_of_all_layers();
    for layer in &batch.layers {
        if let (Some(recurrent), Some(share)) = (&layer.recurrent, layer.share_of_limit()) {
            let words = match is_reduced {
                // What holds it up in f32 may not be what holds it up now.
                true => format!("{} of what this CPU can do in f32", percent(share)),
                false => in_words(recurrent, share),
            };
            let _ = writeln!(text, "  {}: {words}", layer.path);
        }
    }
    let others = batch
        .layers
        .iter()
        .filter(|layer| layer.recurrent.is_none());
    let slowest = others
        .clone()
        .max_by(|one, other| one.seconds.total_cmp(&other.seconds));
    if let Some(LayerTime { path, class, .. }) = slowest {
        let seconds: f64 = others.map(|layer| layer.seconds).sum();
        let _ = writeln!(
            text,
            "  all other layers: {} of the time, most of it {path} ({class})",
            percent(seconds / all)
        );
    }
}

fn in_words(recurrent: &Recurrent, share: f64) -> String {
    let reason = reason(recurrent.bound, recurrent.recurrent_bytes);
    // Far from the limit, something else holds it up.
    let when = if share < 0.5 { " at 100 %," } else { "" };
    format!("{} of what this CPU can do:{when} {reason}", percent(share))
}

/// What holds a layer up whose recurrent weights are so many bytes.
fn reason(bound: Bound, bytes: usize) -> String {
    match bound {
        Bound::Arithmetic => bound.to_string(),
        Bound::Weights(_) => format!("{bound} ({})", size(bytes)),
    }
}

/// `12.3 µs`, in three digits.
fn duration(seconds: f64) -> String {
    let (number, unit) = match seconds {
        s if s < 999.5e-9 => (s * 1e9, "ns"),
        s if s < 999.5e-6 => (s * 1e6, "µs"),
        s if s < 999.5e-3 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    format!("{} {unit}", figure(number))
}

/// Three digits, and the whole of larger numbers.
fn figure(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

fn rate(per_second: f64) -> String {
    match per_second {
        n if n < 100.0 => short(n),
        n => thousands(n.round() as usize),
    }
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent < 0.95 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        b if b < 10 << 10 => format!("{:.1} KiB", b as f64 / 1024.0),
        b if b < 1 << 20 => format!("{} KiB", b >> 10),
        b => format!("{:.1} MiB", b as f64 / f64::from(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_in_words() {
        let recurrent = Recurrent {
            units: 128,
            time: 100,
            flops: 1e6,
            recurrent_bytes: 256 << 10,
            limit_seconds: 1e-5,
            bound: Bound::Weights(Level::L2),
        };
        assert_eq!(
            in_words(&recurrent, 0.62),
            "62 % of what this CPU can do: the weights come from the L2 cache each step (256 KiB)"
        );
        let bound = Bound::Arithmetic;
        assert_eq!(
            in_words(&Recurrent { bound, ..recurrent }, 0.12),
            "12 % of what this CPU can do: at 100 %, the arithmetic is the limit"
        );
    }

    #[test]
    fn figures_in_three_digits() {
        let durations = [4.2e-8, 9.996e-6, 1.234e-4, 0.9996, 12.34].map(duration);
        assert_eq!(
            durations,
            ["42.0 ns", "10.0 µs", "123 µs", "1.00 s", "12.3 s"]
        );
        let sizes = [9216, 65536, 1 << 20, 3 << 19].map(size);
        assert_eq!(sizes, ["9.0 KiB", "64 KiB", "1.0 MiB", "1.5 MiB"]);
        assert_eq!([0.0012, 0.5, 1.1].map(percent), ["0.1 %", "50 %", "110 %"]);
        assert_eq!([1.5, 1234567.0].map(rate), ["1.500", "1,234,567"]);
    }
}
