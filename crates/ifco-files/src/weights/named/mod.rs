//! Weights by path, as Keras, Flax, Haiku and TensorFlow name them: what each group is.
//!
//! | names | what | gates |
//! |---|---|---|
//! | `lstm/kernel`, `lstm/recurrent_kernel`, `lstm/bias` | Keras's LSTM, GRU, SimpleRNN | i f c o |
//! | `X/ii/kernel` … `X/io/kernel`, `X/hi/kernel`, `X/hi/bias` … | Flax's LSTMCell and OptimizedLSTMCell | a Dense each |
//! | `X/ir`, `X/iz`, `X/in`, `X/hr`, `X/hz`, `X/hn` | Flax's GRUCell | a Dense each |
//! | `X/i`, `X/h` | Flax's SimpleCell | |
//! | `X/forward_rnn/cell/…`, `X/backward_rnn/cell/…` | Flax's Bidirectional of these | |
//! | `lstm/linear/w`, `lstm/linear/b` | Haiku's LSTM: 1 is added to the forget gate | i g f o |
//! | `gru/w_i`, `gru/w_h`, `gru/b` | Haiku's GRU | z r a |
//! | `vanilla_rnn/linear`, `vanilla_rnn/linear_1` | Haiku's VanillaRNN, with relu | |
//! | `basic_lstm_cell/kernel`, `…/bias` | TensorFlow 1's fused LSTMs: 1 is added to the forget gate | i c f o |
//! | `gru_cell/gates/kernel`, `gru_cell/candidate/kernel` | TensorFlow 1's GRUCell | r z, c |
//!
//! Source: the code of `flax.linen.recurrent` 0.12, `haiku._src.recurrent` 0.0.16 and
//! `tf.compat.v1.nn.rnn_cell`. Flax's and Haiku's are held to their own outputs by `fixtures/jax`,
//! TensorFlow 1's by `fixtures/tensorflow`, but for CudnnLSTM's.

mod flax;
mod fused;
mod haiku;
mod keras;
mod tensorflow;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use fused::fused;
use ifco_cell::CellKind;
use ifco_cell::packing::{self, GruPacking, Packing};
use ndarray::{Array1, ArrayD, ArrayView1, ArrayView2, Ix1, Ix2};

use super::module::{Kind, Module};
use super::spec::ModuleSpec;
use super::{Direction, Recurrent, Tensors};
use crate::torch::WRAPPERS;
use crate::{WeightsFile, WeightsGroup, WeightsSource};

/// Names that arrays have in other frameworks than PyTorch.
const LEAVES: [&str; 17] = [
    "kernel",
    "recurrent_kernel",
    "embedding",
    "embeddings",
    "scale",
    "gamma",
    "beta",
    "offset",
    "w",
    "b",
    "w_i",
    "w_h",
    "mean",
    "var",
    "moving_mean",
    "moving_variance",
    "linear",
];

/// The parts of Flax's cells.
const FLAX: [&str; 14] = [
    "ii", "if", "ig", "io", "hi", "hf", "hg", "ho", "ir", "iz", "in", "hr", "hz", "hn",
];

/// Parts of other cells that are modules of their own.
const PARTS: [&str; 3] = ["gates", "candidate", "projection"];

/// Whether the names may be PyTorch's: those of the others are not among them.
pub(crate) fn is_torch(tensors: &Tensors) -> bool {
    !tensors.iter().any(|(name, _)| is_other(name))
}

/// Whether any array has a name that tells what it is.
pub(crate) fn is_weights(tensors: &Tensors) -> bool {
    tensors.iter().any(|(name, _)| is_weight(name))
}

/// Whether the name tells that it is a weight.
pub(super) fn is_weight(name: &str) -> bool {
    let leaf = name.rsplit(['.', '/']).next().unwrap_or(name);
    let is_torchs =
        leaf == "weight" || leaf.starts_with("weight_ih") || leaf.starts_with("weight_hh");
    is_torchs || is_other(name)
}

fn is_other(name: &str) -> bool {
    let name = name.strip_suffix(":0").unwrap_or(name);
    let leaf = name.rsplit(['.', '/']).next().unwrap_or(name);
    leaf.len() < name.len() && LEAVES.contains(&leaf)
}

/// A group for each module.
pub(crate) fn file(tensors: Tensors, is_tensorflow: bool, notes: Vec<String>) -> WeightsFile {
    let has_slashes = tensors.iter().any(|(name, _)| name.contains('/'));
    let separator = if has_slashes { '/' } else { '.' };
    let mut named: Vec<(Vec<String>, ArrayD<f32>)> = Vec::with_capacity(tensors.len());
    for (name, array) in tensors {
        let name = name.strip_suffix(":0").unwrap_or(&name);
        let parts = name.split(separator).filter(|part| !part.is_empty());
        let parts: Vec<String> = parts.map(str::to_owned).collect();
        if let Some(parts) = haiku::averaged(parts) {
            named.push((parts, array));
        }
    }
    let source = source(&named, is_tensorflow);
    strip(&mut named, source);
    let mut groups: Vec<WeightsGroup> = Vec::new();
    let mut places = HashMap::new();
    for (mut parts, array) in named {
        let mut leaf = parts.pop().unwrap_or_default();
        if let Some(part) = parts
            .last()
            .filter(|part| is_part(part, &parts, source))
            .cloned()
        {
            parts.pop();
            leaf = format!("{part}/{leaf}");
        }
        let path = parts.join("/");
        let place = *places.entry(path.clone()).or_insert_with(|| {
            groups.push(WeightsGroup {
                path,
                name: None,
                arrays: Vec::new(),
            });
            groups.len() - 1
        });
        groups[place].arrays.push((leaf, array));
    }
    let groups = joined(groups, source);
    WeightsFile {
        groups,
        source,
        notes,
    }
}

fn source(named: &[(Vec<String>, ArrayD<f32>)], is_tensorflow: bool) -> WeightsSource {
    if is_tensorflow {
        return WeightsSource::TensorFlow;
    }
    let any = |test: &dyn Fn(&[String]) -> bool| named.iter().any(|(parts, _)| test(parts));
    let is_leaf = |wanted: &[&str]| {
        any(&|parts| {
            parts
                .last()
                .is_some_and(|leaf| wanted.contains(&leaf.as_str()))
        })
    };
    let is_flax = any(&|parts| {
        let inner = parts.iter().rev().nth(1).map_or("", String::as_str);
        FLAX.contains(&inner) || ["params", "batch_stats"].contains(&parts[0].as_str())
    });
    if is_leaf(&["w", "w_i", "offset"]) {
        WeightsSource::Haiku
    } else if is_flax || is_leaf(&["embedding", "scale"]) {
        WeightsSource::Flax
    } else {
        WeightsSource::Named
    }
}

/// Drops what says nothing: Flax's collections, and what stands before every name.
fn strip(named: &mut [(Vec<String>, ArrayD<f32>)], source: WeightsSource) {
    if source == WeightsSource::Flax {
        for (parts, _) in named.iter_mut() {
            let is_collection = ["params", "batch_stats"].contains(&parts[0].as_str());
            if is_collection && parts.len() > 1 {
                parts.remove(0);
            }
        }
    }
    let is_wrapper = |name: &str| WRAPPERS.contains(&name) || name == "params";
    while let Some(first) = named.first().map(|(parts, _)| parts[0].clone())
        && is_wrapper(&first)
        && named
            .iter()
            .all(|(parts, _)| parts.len() > 2 && parts[0] == first)
    {
        for (parts, _) in named.iter_mut() {
            parts.remove(0);
        }
    }
}

/// Whether the last of `parts` is a part of the module before it, and no module.
fn is_part(part: &str, parts: &[String], source: WeightsSource) -> bool {
    let outer = parts.iter().rev().nth(1).map_or("", String::as_str);
    let is_cells = || outer.to_lowercase().contains("cell") || outer.to_lowercase().contains("rnn");
    match source {
        WeightsSource::Flax => FLAX.contains(&part) || (["i", "h"].contains(&part) && is_cells()),
        WeightsSource::Haiku => {
            let outer = outer.to_lowercase();
            part == "linear" && (outer.contains("lstm") || outer.contains("rnn"))
                || part == "linear_1" && outer.contains("rnn")
        }
        WeightsSource::TensorFlow => PARTS.contains(&part) && is_cells(),
        _ => false,
    }
}

/// Keras's cells under their layer's name, and the two directions of a layer together.
fn joined(groups: Vec<WeightsGroup>, source: WeightsSource) -> Vec<WeightsGroup> {
    let mut out: Vec<WeightsGroup> = Vec::new();
    for mut group in groups {
        let has = |group: &WeightsGroup, leaf: &str| group.arrays.iter().any(|(l, _)| l == leaf);
        if has(&group, "recurrent_kernel") {
            let inner = |part: &str| {
                part == "cell"
                    || part.starts_with("lstm_cell")
                    || part.starts_with("gru_cell")
                    || part.starts_with("simple_rnn_cell")
            };
            while let Some((outer, last)) = group.path.rsplit_once('/')
                && inner(last)
            {
                group.path.truncate(outer.len());
            }
            let way = group.path.rsplit_once('/').and_then(|(outer, last)| {
                let ways = ["forward", "backward"];
                let way = ways.into_iter().find(|way| last.starts_with(way))?;
                Some((outer.to_owned(), way))
            });
            if let Some((outer, way)) = way {
                into_direction(&mut group, outer, way);
            }
        } else if source == WeightsSource::Flax
            && let Some((outer, way)) = flax::direction(&group.path)
        {
            into_direction(&mut group, outer, way);
        } else if source == WeightsSource::TensorFlow
            && let Some((outer, way)) = tensorflow::direction(&group.path)
        {
            into_direction(&mut group, outer, way);
        }
        let is_half = group
            .arrays
            .first()
            .is_some_and(|(leaf, _)| leaf.starts_with("forward/") || leaf.starts_with("backward/"));
        if is_half && let Some(other) = out.iter_mut().find(|other| other.path == group.path) {
            other.arrays.append(&mut group.arrays);
            continue;
        }
        out.push(group);
    }
    out
}

/// Makes the group one direction of the layer at `path`.
fn into_direction(group: &mut WeightsGroup, path: String, way: &str) {
    for (leaf, _) in &mut group.arrays {
        *leaf = format!("{way}/{leaf}");
    }
    group.path = path;
}

/// What the group is; the reason where that cannot be told.
pub(crate) fn module<'a>(
    group: &'a WeightsGroup,
    told: &ModuleSpec,
    source: WeightsSource,
) -> Result<Module<'a>, String> {
    let arrays: BTreeMap<&str, &ArrayD<f32>> = group
        .arrays
        .iter()
        .map(|(name, array)| (name.as_str(), array))
        .collect();
    let found = Found {
        arrays: &arrays,
        path: &group.path,
        told,
    };
    if let Some((mut recurrent, guess)) = found.recurrent(source)? {
        recurrent.is_cell = matches!(source, WeightsSource::Flax | WeightsSource::Haiku);
        if recurrent.kind == CellKind::SimpleRnn && source == WeightsSource::Haiku {
            recurrent.activation = Some("relu");
        }
        if let Some(Kind::Recurrent(kind)) = told.kind
            && kind != recurrent.kind
        {
            return Err(format!(
                "its arrays are those of a {}",
                recurrent.kind.name()
            ));
        }
        return Ok(Module::of_recurrent(group, recurrent, guess));
    }
    plain(group, told, source)
}

/// A module that is not recurrent, in PyTorch's layout.
fn plain<'a>(
    group: &'a WeightsGroup,
    told: &ModuleSpec,
    source: WeightsSource,
) -> Result<Module<'a>, String> {
    let mut arrays: Vec<(String, ArrayD<f32>)> = Vec::new();
    let (mut kind, mut guess) = (None, None);
    for (leaf, array) in &group.arrays {
        let (name, array) = match leaf.as_str() {
            "kernel" | "w" => {
                kind = Some(match array.ndim() {
                    3 => Kind::Conv1d,
                    _ => Kind::Linear,
                });
                ("weight", array.t().as_standard_layout().into_owned())
            }
            "embedding" | "embeddings" => {
                kind = Some(Kind::Embedding);
                ("weight", array.clone())
            }
            "gamma" | "scale" => ("weight", of_features(array)),
            "beta" | "offset" | "bias" | "b" => ("bias", of_features(array)),
            "moving_mean" | "mean" => ("running_mean", of_features(array)),
            "moving_variance" | "var" => ("running_var", of_features(array)),
            strange => {
                return Err(format!(
                    "{strange:?} of shape {:?} is of no module that ifco knows",
                    array.shape()
                ));
            }
        };
        if arrays.iter().any(|(found, _)| found == name) {
            return Err(format!("it has two arrays that could be its {name}"));
        }
        arrays.push((name.into(), array));
    }
    let has = |name: &str| arrays.iter().any(|(found, _)| found == name);
    let kind = match told.kind.or(kind) {
        Some(kind) => kind,
        None if has("running_mean") => Kind::BatchNorm1d,
        None if has("weight") && has("bias") => Kind::LayerNorm,
        None if has("weight") || has("bias") => {
            guess = Some("is taken for a LayerNorm, for its one vector".into());
            Kind::LayerNorm
        }
        None => return Err("its names do not tell what module it is".into()),
    };
    let eps = match (source, kind) {
        (WeightsSource::Flax, Kind::LayerNorm) => 1e-6,
        (WeightsSource::Flax | WeightsSource::Haiku, _) => 1e-5,
        _ => 1e-3,
    };
    // A bias is as long as its module's output: else running it would not work out.
    let outputs = arrays
        .iter()
        .find(|(name, _)| name == "weight")
        .map(|(_, weight)| match kind {
            Kind::Embedding => weight.shape().last().copied().unwrap_or(0),
            _ => weight.shape().first().copied().unwrap_or(0),
        });
    for (name, array) in &arrays {
        if name != "weight" && outputs.is_some_and(|outputs| array.shape() != [outputs]) {
            return Err(format!(
                "its {name} has shape {:?}, expected ({},)",
                array.shape(),
                outputs.unwrap_or(0)
            ));
        }
    }
    Module::of_arrays(group, kind, guess, Cow::Owned(arrays), eps)
}

/// A vector over the features: Haiku's norms keep theirs as `(1, 1, features)`.
fn of_features(array: &ArrayD<f32>) -> ArrayD<f32> {
    match array.shape().split_last() {
        Some((last, [_, ..])) if *last == array.len() => {
            array.iter().copied().collect::<Array1<_>>().into_dyn()
        }
        _ => array.clone(),
    }
}

/// A group's arrays by name.
struct Found<'a> {
    arrays: &'a BTreeMap<&'a str, &'a ArrayD<f32>>,
    path: &'a str,
    told: &'a ModuleSpec,
}

type Guess = Option<String>;

impl<'a> Found<'a> {
    fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    fn any_below(&self, part: &str) -> bool {
        let below = |name: &&str| {
            name.strip_prefix(part)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.arrays.keys().any(below)
    }

    fn matrix(&self, name: &str) -> Result<ArrayView2<'a, f32>, String> {
        let array = self
            .arrays
            .get(name)
            .ok_or_else(|| format!("it has no {name}"))?;
        let matrix = array.view().into_dimensionality::<Ix2>();
        matrix.map_err(|_| format!("its {name} has shape {:?}", array.shape()))
    }

    fn vector(&self, name: &str) -> Result<Option<ArrayView1<'a, f32>>, String> {
        let Some(array) = self.arrays.get(name) else {
            return Ok(None);
        };
        let vector = array.view().into_dimensionality::<Ix1>();
        vector
            .map(Some)
            .map_err(|_| format!("its {name} has shape {:?}", array.shape()))
    }

    /// The recurrent module that the arrays are, if they are one.
    fn recurrent(&self, source: WeightsSource) -> Result<Option<(Recurrent, Guess)>, String> {
        if self.any_below("forward") || self.any_below("backward") {
            let way = |way: &str| {
                let inner: BTreeMap<&str, &ArrayD<f32>> = self
                    .arrays
                    .iter()
                    .filter_map(|(name, array)| Some((name.strip_prefix(way)?, *array)))
                    .collect();
                let found = Found {
                    arrays: &inner,
                    ..*self
                };
                match found.recurrent(source)? {
                    Some((recurrent, guess)) => Ok((recurrent.into_forward(), guess)),
                    None => Err(format!("its {way} is no recurrent layer that ifco knows")),
                }
            };
            let (forward, guess) = way("forward/")?;
            let (backward, _) = way("backward/")?;
            let (Some(forward), Some(backward)) = (forward, backward) else {
                return Err("its directions go two ways themselves".into());
            };
            if forward.kind() != backward.kind() || forward.features() != backward.features() {
                return Err("its two directions do not fit each other".into());
            }
            return Ok(Some((Recurrent::of_one(forward, Some(backward)), guess)));
        }
        let last = self
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_lowercase();
        let is_told = matches!(self.told.kind, Some(Kind::Recurrent(_)));
        let (direction, guess) = if self.has("recurrent_kernel") {
            self.only(&["kernel", "recurrent_kernel", "bias"])?;
            self.keras()?
        } else if self.any_below("ii") || self.any_below("ig") {
            (self.flax_lstm()?, None)
        } else if self.any_below("hn") {
            (self.flax_gru()?, None)
        } else if self.any_below("i") && self.any_below("h") {
            self.only(&["i/kernel", "i/bias", "h/kernel", "h/bias"])?;
            (
                self.two_denses("i/kernel", "h/kernel", ["i/bias", "h/bias"])?,
                None,
            )
        } else if self.any_below("linear_1") {
            let biases = ["linear/b", "linear_1/b"];
            let (input, hidden) = ("linear/w", "linear_1/w");
            self.only(&[input, hidden, biases[0], biases[1]])?;
            (self.two_denses(input, hidden, biases)?, None)
        } else if self.any_below("linear") {
            self.only(&["linear/w", "linear/b"])?;
            let (haiku, bias) = (row("haiku")?, self.vector("linear/b")?);
            (
                Direction::Lstm(fused(haiku, self.matrix("linear/w")?, bias, None, None)?),
                None,
            )
        } else if self.has("w_i") && self.has("w_h") {
            self.only(&["w_i", "w_h", "b"])?;
            (self.haiku_gru()?, None)
        } else if self.any_below("gates") && self.any_below("candidate") {
            self.only(&[
                "gates/kernel",
                "gates/bias",
                "candidate/kernel",
                "candidate/bias",
            ])?;
            (self.tensorflow_gru()?, None)
        } else if self.has("kernel")
            && (is_told || (source == WeightsSource::TensorFlow && last.contains("lstm")))
        {
            self.tensorflow_lstm(is_told)?
        } else if self.has("kernel")
            && source == WeightsSource::TensorFlow
            && last.contains("rnn_cell")
        {
            let guess = "is taken for a BasicRNNCell, for its name";
            (self.tensorflow_rnn()?, Some(guess.to_owned()))
        } else {
            return Ok(None);
        };
        Ok(Some((Recurrent::of_one(direction, None), guess)))
    }

    /// Refuses arrays that such a module has not.
    fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.arrays.keys().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) if name.contains("diag") => Err(format!(
                "it has peepholes ({name}), which ifco does not read of such a file"
            )),
            Some(name) => Err(format!(
                "its {name} is of no recurrent layer that ifco knows"
            )),
        }
    }
}

/// A row of the one table of gate orders.
fn row(key: &str) -> Result<&'static Packing, String> {
    packing::find(key).ok_or_else(|| format!("the gate order {key:?} is not known"))
}

/// A row of the one table of a GRU's gate orders.
fn gru_row(key: &str) -> Result<&'static GruPacking, String> {
    packing::find_gru(key).ok_or_else(|| format!("the gate order {key:?} is not known"))
}
