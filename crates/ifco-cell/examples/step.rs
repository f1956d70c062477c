#![allow(missing_docs)]
use ifco_cell::*;
use ndarray::*;
use std::time::Instant;
fn main() {
    let mut seed = 1u64;
    let mut rnd = move || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 2.0
    };
    for u in [8usize, 16, 24, 32, 40, 64, 128] {
        let sc = 1.0 / (u as f32).sqrt();
        let k = Array2::from_shape_fn((1, 4 * u), |_| rnd() * sc);
        let r = Array2::from_shape_fn((u, 4 * u), |_| rnd() * sc);
        let cell = LstmCell::new(
            LstmWeights::new(k, r, Some(Array1::ones(4 * u))).unwrap(),
            Activation::Tanh,
            Activation::Sigmoid,
        );
        let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default()).unwrap();
        let mut s = layer.session().unwrap();
        let mut times = vec![];
        let w: Vec<f32> = (0..u).map(|_| rnd()).collect();
        for round in 0..60 {
            let t = Instant::now();
            let n = 10000;
            let mut x = 0.1f32;
            for i in 0..n {
                let h = s.step(&[(i % 7) as f32 * 0.1]);
                x += h.iter().zip(&w).map(|(a, b)| a * b).sum::<f32>();
            }
            std::hint::black_box(x);
            if round > 2 {
                times.push(t.elapsed().as_secs_f64() / n as f64 * 1e9);
            }
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{u:4} units {:6.0} ns  best {:6.0}",
            times[times.len() / 2],
            times[0]
        );
    }
}
