//! Random inputs that a model can take.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use ifco::{LayerEntry, Model, display_shape};
use ndarray::{ArrayD, IxDyn};

use crate::failure::Failure;

/// Where a model leaves the number of steps open.
const DEFAULT_TIME: usize = 100;

/// The inputs of a model, for any batch.
pub struct Inputs {
    inputs: Vec<Input>,
    seed: u64,
}

struct Input {
    name: String,
    /// Without the batch.
    sizes: Vec<usize>,
    /// Where that stands between them.
    batch_axis: usize,
    values: Values,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    /// From −1 to 1.
    Real,
    /// Rows of an Embedding that has so many.
    Indices(usize),
}

impl Inputs {
    pub fn new(model: &Model, time: Option<NonZeroUsize>, seed: u64) -> Result<Self, Failure> {
        let time = time.map(NonZeroUsize::get);
        let rows = embedding_rows(model);
        let mut inputs = Vec::new();
        let mut is_time_used = false;
        for port in model.inputs() {
            let Some(shape) = &port.shape else {
                return Err(Failure::new(format_args!(
                    "the shape of input {:?} is not known: ifco cannot make one up",
                    port.name
                ))
                .help("measure `ifco predict` on an input of your own instead"));
            };
            let Some(batch_axis) = port.batch_axis else {
                return Err(Failure::new(format_args!(
                    "the model's file does not let ifco tell which axis of input {:?} is the batch",
                    port.name
                ))
                .help("measure `ifco predict` on an input of your own instead"));
            };
            let sizes = port.batch_first().unwrap_or_default();
            let sizes = sizes.get(1..).unwrap_or_default();
            is_time_used |= sizes.iter().any(|size| size.is_none());
            if let (Some(time), Some(Some(fixed)), true) = (time, sizes.first(), shape.len() > 2)
                && time == *fixed
            {
                is_time_used = true;
            }
            inputs.push(Input {
                name: port.name.clone(),
                batch_axis,
                sizes: sizes
                    .iter()
                    .map(|size| size.unwrap_or(time.unwrap_or(DEFAULT_TIME)))
                    .collect(),
                values: rows
                    .get(port.name.as_str())
                    .map_or(Values::Real, |rows| Values::Indices(*rows)),
            });
        }
        if let (Some(time), false) = (time, is_time_used) {
            let shapes: Vec<String> = model
                .inputs()
                .iter()
                .filter_map(|port| {
                    Some(format!(
                        "{} {}",
                        port.name,
                        display_shape(port.shape.as_ref()?)
                    ))
                })
                .collect();
            return Err(Failure::usage(format_args!(
                "--time is {time}, but the model fixes its inputs: {}",
                shapes.join(", ")
            ))
            .help("leave --time away"));
        }
        Ok(Self { inputs, seed })
    }

    /// The inputs' shapes with this batch.
    pub fn shapes(&self, batch: usize) -> Vec<Vec<usize>> {
        let shape = |input: &Input| {
            let mut shape = input.sizes.clone();
            shape.insert(input.batch_axis.min(shape.len()), batch);
            shape
        };
        self.inputs.iter().map(shape).collect()
    }

    /// Runs the model once. Some inputs must be whole numbers though no Embedding is in sight (a
    /// CategoryEncoding, an Embedding deep inside): where random reals are refused, zeros and
    /// ones may be taken.
    pub fn try_out(&mut self, model: &Model, batch: usize) -> Result<(), Failure> {
        let predict = |inputs: &Self| -> Result<(), Failure> {
            let arrays = inputs.make(batch)?;
            let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
            model.predict_all(&views, batch, &mut |_| {})?;
            Ok(())
        };
        let Err(failure) = predict(self) else {
            return Ok(());
        };
        for input in &mut self.inputs {
            if input.values == Values::Real {
                input.values = Values::Indices(2);
            }
        }
        predict(self).map_err(|_| failure)
    }

    /// One array for each input: the same on every call.
    pub fn make(&self, batch: usize) -> Result<Vec<ArrayD<f32>>, Failure> {
        let mut random = Random(self.seed);
        let shapes = self.shapes(batch);
        self.inputs
            .iter()
            .zip(shapes)
            .map(|(input, shape)| {
                let too_large = || {
                    Failure::new(format_args!(
                        "input {:?} of shape {shape:?} does not fit in memory",
                        input.name
                    ))
                    .help("give a smaller --batch or --time")
                };
                let length = shape.iter().copied().try_fold(1, usize::checked_mul);
                let length = length.ok_or_else(too_large)?;
                let mut values: Vec<f32> = Vec::new();
                values.try_reserve_exact(length).map_err(|_| too_large())?;
                values.extend((0..length).map(|_| random.value(input.values)));
                ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|_| too_large())
            })
            .collect()
    }
}

/// Steele, Lea and Flood's SplitMix64 ("Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn value(&mut self, values: Values) -> f32 {
        // 24 bits are what f32 holds exactly.
        let unit = (self.bits() >> 40) as f32 / (1 << 24) as f32;
        match values {
            Values::Real => 2.0 * unit - 1.0,
            Values::Indices(0 | 1) => 0.0,
            // Index 0 often means a step that does not count: then there would be less to do.
            Values::Indices(rows) => {
                let rows = rows.min(1 << 24);
                1.0 + (unit * (rows - 1) as f32).floor().min((rows - 2) as f32)
            }
        }
    }
}

/// For each input that goes to an Embedding, how many rows that has; the fewest of several.
fn embedding_rows(model: &Model) -> HashMap<&str, usize> {
    let mut found = HashMap::new();
    for entry in model.layers() {
        if let Some(rows) = rows(entry) {
            trace_back(model, entry, rows, &mut found, &mut HashSet::new());
        } else if let Some(inner) = entry.layer.as_model() {
            // Which input of the inner model is which is the graph's affair: the fewest rows of
            // any are right for all.
            if let Some(rows) = embedding_rows(inner).into_values().min() {
                trace_back(model, entry, rows, &mut found, &mut HashSet::new());
            }
        }
    }
    found
}

/// The rows of an Embedding, also of one that is wrapped into another layer.
fn rows(entry: &LayerEntry) -> Option<usize> {
    let slots = entry.layer.weight_slots();
    let [slot] = slots.as_slice() else {
        return None;
    };
    let width = entry
        .output_shapes
        .as_ref()
        .ok()?
        .first()?
        .last()
        .copied()??;
    let is_embedding = slot.name == "embeddings";
    entry
        .parameters?
        .checked_div(width)
        .filter(|_| is_embedding)
}

/// Follows what a layer takes back to the model's inputs, through layers without weights.
fn trace_back<'a>(
    model: &'a Model,
    entry: &'a LayerEntry,
    rows: usize,
    found: &mut HashMap<&'a str, usize>,
    seen: &mut HashSet<&'a str>,
) {
    for name in &entry.inbound {
        if !seen.insert(name) {
            continue;
        }
        if model.inputs().iter().any(|port| port.name == *name) {
            let fewest = found.entry(name).or_insert(rows);
            *fewest = rows.min(*fewest);
        } else if let Ok(before) = model.layer(name)
            && before.parameters == Some(0)
        {
            trace_back(model, before, rows, found, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_stay_in_their_range() {
        let mut random = Random(0);
        for _ in 0..10_000 {
            let real = random.value(Values::Real);
            assert!((-1.0..1.0).contains(&real));
            for rows in [1, 2, 3, 50_000, usize::MAX] {
                let index = random.value(Values::Indices(rows));
                assert!(index.fract() == 0.0 && index >= 0.0 && (index as usize) < rows);
            }
        }
        let mut again = (Random(7), Random(7), Random(8));
        let values = [&mut again.0, &mut again.1, &mut again.2].map(Random::bits);
        assert!(values[0] == values[1] && values[0] != values[2]);
    }
}
