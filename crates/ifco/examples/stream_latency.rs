//! What a step of a model takes on this machine: mean, and the share of the slowest.
//!
//! ```console
//! $ cargo run --release -p ifco --example stream_latency -- model.keras 1000000
//! ```
//!
//! Between its two lines of output the program makes no system call, which `strace` shows.

use std::time::{Duration, Instant};

/// One after the other, so that a single slow step stands out in its bunch.
const BUNCH: u32 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let default = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/sunspots/model.keras"
    );
    let path = arguments.next().unwrap_or_else(|| default.into());
    let steps: u32 = arguments
        .next()
        .map_or(Ok(1_000_000), |steps| steps.parse())?;

    let mut session = ifco::open(&path)?.session()?;
    let mut x = vec![0.0; session.input_len()];
    println!(
        "{path}: {steps} steps of {} to {} values",
        x.len(),
        session.output_len()
    );

    let (mut worst, mut sum) = (Duration::ZERO, 0.0);
    let start = Instant::now();
    for bunch in 0..steps / BUNCH {
        let start = Instant::now();
        x.fill((bunch % 7) as f32);
        for _ in 0..BUNCH {
            sum += session.step(&x).first().copied().unwrap_or(0.0);
        }
        worst = worst.max(start.elapsed());
    }
    let mean = start.elapsed() / (steps / BUNCH * BUNCH).max(1);
    println!("mean {mean:?} a step, slowest {BUNCH} steps {worst:?} (sum of outputs {sum})");
    Ok(())
}
