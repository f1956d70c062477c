#![allow(missing_docs)]
use ifco_cell::*;
use ndarray::*;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let threads: usize = args.get(1).map_or(1, |a| a.parse().unwrap());
    set_threads(threads);
    let only = args.get(2).cloned().unwrap_or_default();
    let mut seed = 1u64;
    let mut rnd = move || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 2.0
    };
    for (b, t, f, u) in [
        (1, 100, 32, 32),
        (1, 100, 64, 64),
        (1, 100, 128, 128),
        (1, 100, 256, 256),
        (1, 100, 512, 512),
        (1, 50, 1024, 1024),
        (8, 100, 128, 128),
        (32, 100, 64, 64),
        (32, 100, 128, 128),
        (32, 100, 256, 256),
        (32, 50, 512, 512),
        (64, 25, 1024, 1024),
        (128, 32, 32, 64),
        (256, 20, 128, 128),
        (32, 100, 39, 100),
        (1, 1000, 1, 24),
        (32, 100, 128, 0),
    ] {
        let gru = u == 0;
        let u = if gru { 128 } else { u };
        let g = if gru { 3 } else { 4 };
        let name = format!("{b}x{t}x{f}x{u}{}", if gru { " gru" } else { "" });
        if !only.is_empty() && !name.starts_with(&only) {
            continue;
        }
        let sc = 1.0 / (u as f32).sqrt();
        let k = Array2::from_shape_fn((f, g * u), |_| rnd() * sc);
        let r = Array2::from_shape_fn((u, g * u), |_| rnd() * sc);
        let cell: Cell = if gru {
            GruCell::new(
                GruWeights::new(k, r, Some(Array2::zeros((2, 3 * u)))).unwrap(),
                Activation::Tanh,
                Activation::Sigmoid,
                true,
            )
            .unwrap()
            .into()
        } else {
            LstmCell::new(
                LstmWeights::new(k, r, Some(Array1::ones(4 * u))).unwrap(),
                Activation::Tanh,
                Activation::Sigmoid,
            )
            .into()
        };
        let layer = RecurrentLayer::new(
            vec![cell],
            SequenceOptions {
                return_sequences: true,
                ..Default::default()
            },
        )
        .unwrap();
        let x = Array3::from_shape_fn((b, t, f), |_| rnd());
        let flops = 2.0 * (g * u * (f + u) * b * t) as f64;
        let mut times = vec![];
        let start = Instant::now();
        for _ in 0..3 {
            layer.forward(x.view(), None, None).unwrap();
        }
        while start.elapsed().as_secs_f64() < 0.6 || times.len() < 5 {
            let s = Instant::now();
            std::hint::black_box(layer.forward(x.view(), None, None).unwrap());
            times.push(s.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let m = times[times.len() / 2];
        println!(
            "{name:22} {:9.1} us  {:6.1} GF/s  best {:6.1}",
            m * 1e6,
            flops / m / 1e9,
            flops / times[0] / 1e9
        );
    }
}
