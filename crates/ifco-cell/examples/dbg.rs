#![allow(missing_docs)]
use ifco_cell::*;
use ndarray::*;
fn main() {
    set_threads(1);
    let mut seed = 1u64;
    let mut rnd = move || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 2.0
    };
    for kind in 0..3 {
        for (b, t, f, u) in [
            (1, 1, 6, 1),
            (1, 1, 1, 1),
            (1, 5, 6, 1),
            (2, 1, 6, 1),
            (7, 20, 5, 40),
            (7, 9, 5, 40),
            (7, 10, 5, 40),
            (1, 70, 5, 40),
            (20, 7, 5, 40),
            (3, 7, 5, 24),
            (20, 7, 5, 100),
        ] {
            let g = [4, 3, 1][kind];
            let k = Array2::from_shape_fn((f, g * u), |_| rnd() * 0.3);
            let r = Array2::from_shape_fn((u, g * u), |_| rnd() * 0.3);
            let cell: Cell = match kind {
                1 => GruCell::new(
                    GruWeights::new(k, r, None).unwrap(),
                    Activation::Tanh,
                    Activation::Sigmoid,
                    true,
                )
                .unwrap()
                .into(),
                0 => LstmCell::new(
                    LstmWeights::new(k, r, Some(Array1::ones(4 * u))).unwrap(),
                    Activation::Tanh,
                    Activation::Sigmoid,
                )
                .into(),
                _ => {
                    SimpleRnnCell::new(SimpleRnnWeights::new(k, r, None).unwrap(), Activation::Tanh)
                        .into()
                }
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
            let y = layer.forward(x.view(), None, None).unwrap();
            let y = y.output.sequences().unwrap().clone();
            let want = reference::sequence(&layer, x.mapv(f64::from).view(), None, None);
            let d = (&y.mapv(f64::from) - &want.outputs).mapv(f64::abs);
            let (mut worst, mut at) = (0.0, (0, 0, 0));
            for (i, v) in d.indexed_iter() {
                if *v > worst {
                    worst = *v;
                    at = i;
                }
            }
            println!("{kind} {b}x{t}x{f}x{u}: {worst:e} at {at:?}");
        }
    }
}
