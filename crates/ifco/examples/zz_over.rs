#![allow(missing_docs)]
use std::time::Instant;
fn main() {
    ifco::set_threads(1);
    let m = ifco::open("/tmp/small.keras").unwrap();
    let x = ndarray::Array2::from_shape_fn((1, 100), |(_, t)| (t * 7 % 1000) as f32).into_dyn();
    let med = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2] * 1e6
    };
    let cell = m.cells()[0].1.clone();
    let l = ifco::RecurrentLayer::new(vec![cell], Default::default()).unwrap();
    let e =
        ndarray::Array3::from_shape_fn((1, 100, 64), |(_, t, k)| ((t * 7 + k) % 13) as f32 * 0.01);
    for _ in 0..std::env::args().count() {
        let mut a = vec![];
        let mut b = vec![];
        for _ in 0..if std::env::args().count() > 1 {
            200
        } else {
            3000
        } {
            let s = Instant::now();
            std::hint::black_box(m.predict(&x).unwrap());
            a.push(s.elapsed().as_secs_f64());
            let s = Instant::now();
            std::hint::black_box(l.forward(e.view(), None, None).unwrap());
            b.push(s.elapsed().as_secs_f64());
        }
        let (p, q) = (med(&mut a), med(&mut b));
        println!("predict {p:.1} us, layer {q:.1}, over {:.1}", p - q);
    }
}
