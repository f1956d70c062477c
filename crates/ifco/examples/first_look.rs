//! A first look at a model trained by Keras: where its gates are, and that it predicts what Keras
//! predicts.
//!
//! ```text
//! cargo run --release -p ifco --example first_look [FOLDER]
//! ```
//!
//! FOLDER holds `model.keras`, an input `x.npy` and Keras's own output `y_keras.npy`; by default
//! it is `examples/sunspots`.

use std::error::Error;
use std::path::PathBuf;

use ifco::{Cell, Gate, arrays::npy};

fn main() -> Result<(), Box<dyn Error>> {
    let sunspots = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/sunspots");
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| sunspots.into()));
    let model = ifco::open(folder.join("model.keras"))?;

    for (path, cell) in model.cells() {
        let Cell::Lstm(lstm) = cell else { continue };
        let weights = lstm.weights();
        let (features, units) = (weights.features(), weights.units());
        println!("{path}: an LSTM of {units} units over {features} features");
        println!("  gate              W in kernel       U in recurrent_kernel       mean b");
        for gate in Gate::ALL {
            let columns = gate.columns(units);
            let slice = format!("[:, {}:{}]", columns.start, columns.end);
            let bias = weights.bias(gate).and_then(|bias| bias.mean());
            println!(
                "  {} {:<16}kernel{slice:<12}recurrent_kernel{slice:<12}{}",
                gate.letter(),
                gate.name(),
                bias.map_or("none".into(), |mean| format!("{mean:6.3}")),
            );
        }
        println!();
    }

    let x = npy::read(folder.join("x.npy"))?;
    let keras = npy::read(folder.join("y_keras.npy"))?;
    let ifco = model.predict(&x)?;
    println!("   Keras's prediction   ifco's");
    for (keras, ifco) in keras.iter().zip(&ifco).take(8) {
        println!("{keras:20.5} {ifco:11.5}");
    }
    let pairs = || keras.iter().zip(&ifco);
    let difference = pairs()
        .map(|(keras, ifco)| (keras - ifco).abs())
        .fold(0.0, f32::max);
    let largest = keras
        .iter()
        .fold(0.0, |largest: f32, y| largest.max(y.abs()));
    println!(
        "largest difference over all {} predictions: {difference:.0e}, of values up to {largest:.0}",
        ifco.len()
    );
    Ok(())
}
