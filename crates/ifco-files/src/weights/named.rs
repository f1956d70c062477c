//! Weights by path, as Keras, Flax, Haiku and TensorFlow name them: what each group is.
//!
//! | names | what | gates |
//! |---|---|---|
//! | `lstm/kernel`, `lstm/recurrent_kernel`, `lstm/bias` | Keras's LSTM, GRU, SimpleRNN | i f c o |
//! | `X/ii/kernel` … `X/io/kernel`, `X/hi/kernel`, `X/hi/bias` … | Flax's LSTMCell and OptimizedLSTMCell | a Dense each |
//! | `X/ir`, `X/iz`, `X/in`, `X/hr`, `X/hz`, `X/hn` | Flax's GRUCell | a Dense each |
//! | `X/i`, `X/h` | Flax's SimpleCell | |
//! | `lstm/linear/w`, `lstm/linear/b` | Haiku's LSTM: 1 is added to the forget gate | i g f o |
//! | `gru/w_i`, `gru/w_h`, `gru/b` | Haiku's GRU | z r a |
//! | `vanilla_rnn/linear`, `vanilla_rnn/linear_1` | Haiku's VanillaRNN, with relu | |
//! | `basic_lstm_cell/kernel`, `…/bias` | TensorFlow 1's fused LSTMs: 1 is added to the forget gate | i c f o |
//! | `gru_cell/gates/kernel`, `gru_cell/candidate/kernel` | TensorFlow 1's GRUCell | r z, c |
//!
//! Source: the code of `flax.linen.recurrent` 0.12, `haiku._src.recurrent` 0.0.16 and
//! `tf.compat.v1.nn.rnn_cell`; Flax's and Haiku's are held to their own outputs by `fixtures/jax`, TensorFlow 1's are not
//! held to its yet.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use ifco_cell::packing::{self, Packing};
use ifco_cell::{CellKind, GruWeights, LstmWeights, SimpleRnnWeights};
use ndarray::{
    Array1, Array2, ArrayD, ArrayView1, ArrayView2, Axis, Ix1, Ix2, concatenate, s, stack,
};

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
        named.push((parts.map(str::to_owned).collect(), array));
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
    let groups = joined(groups);
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
fn joined(groups: Vec<WeightsGroup>) -> Vec<WeightsGroup> {
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
                for (leaf, _) in &mut group.arrays {
                    *leaf = format!("{way}/{leaf}");
                }
                group.path = outer;
                if let Some(other) = out.iter_mut().find(|other| other.path == group.path) {
                    other.arrays.append(&mut group.arrays);
                    continue;
                }
            }
        }
        out.push(group);
    }
    out
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
            "gamma" | "scale" => ("weight", array.clone()),
            "beta" | "offset" | "bias" | "b" => ("bias", array.clone()),
            "moving_mean" | "mean" => ("running_mean", array.clone()),
            "moving_variance" | "var" => ("running_var", array.clone()),
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
                found.only(&["kernel", "recurrent_kernel", "bias"])?;
                found.keras()
            };
            let (forward, guess) = way("forward/")?;
            let (backward, _) = way("backward/")?;
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
                fused(haiku, self.matrix("linear/w")?, bias, None, None)?,
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

    /// Keras's: the number of columns tells which.
    fn keras(&self) -> Result<(Direction, Guess), String> {
        let kernel = self.matrix("kernel")?;
        let recurrent_kernel = self.matrix("recurrent_kernel")?;
        let (units, columns) = recurrent_kernel.dim();
        let wrong = || {
            format!(
                "its kernel {:?} and recurrent_kernel {:?} are those of no LSTM (…, 4·units), GRU \
                 (…, 3·units) or SimpleRNN (…, units)",
                kernel.shape(),
                recurrent_kernel.shape()
            )
        };
        if units == 0 || kernel.ncols() != columns || kernel.nrows() == 0 {
            return Err(wrong());
        }
        let (kernel, recurrent_kernel) = (kernel.to_owned(), recurrent_kernel.to_owned());
        let text = |error: ifco_cell::WeightsError| error.to_string();
        if columns == 4 * units {
            let bias = self.vector("bias")?.map(|bias| bias.to_owned());
            let weights = LstmWeights::new(kernel, recurrent_kernel, bias).map_err(text)?;
            return Ok((Direction::Lstm(weights), None));
        }
        if columns == units {
            let bias = self.vector("bias")?.map(|bias| bias.to_owned());
            let weights = SimpleRnnWeights::new(kernel, recurrent_kernel, bias).map_err(text)?;
            return Ok((Direction::SimpleRnn(weights), None));
        }
        if columns != 3 * units {
            return Err(wrong());
        }
        let bias = match self.arrays.get("bias") {
            Some(bias) if bias.ndim() == 2 => Some(self.matrix("bias")?.to_owned()),
            _ => self
                .vector("bias")?
                .map(|bias| bias.to_owned().insert_axis(Axis(0))),
        };
        let (reset_after, guess) = match (&bias, self.told.reset_after) {
            (Some(bias), _) => (bias.nrows() == 2, None),
            (None, Some(told)) => (told, None),
            (None, None) => {
                let guess = "is taken for a GRU with reset_after (reset_after = false)";
                (true, Some(guess.to_owned()))
            }
        };
        if bias
            .as_ref()
            .is_some_and(|bias| !matches!(bias.nrows(), 1 | 2))
        {
            return Err("its bias is none of a GRU".into());
        }
        let weights = GruWeights::new(kernel, recurrent_kernel, bias).map_err(text)?;
        Ok((
            Direction::Gru {
                weights,
                reset_after,
            },
            guess,
        ))
    }

    /// The Denses of Flax's gates side by side: kernels `(rows, gates·units)`, and the biases, where
    /// one that is missing is zeros.
    fn flax(&self, gates: &[&str]) -> Result<(Array2<f32>, Option<Array1<f32>>), String> {
        let mut kernels = Vec::new();
        let mut biases = Vec::new();
        let mut has_bias = false;
        for gate in gates {
            let kernel = self.matrix(&format!("{gate}/kernel"))?;
            let bias = self.vector(&format!("{gate}/bias"))?;
            has_bias |= bias.is_some();
            let units = kernel.ncols();
            if bias.is_some_and(|bias| bias.len() != units) || units == 0 {
                return Err(format!(
                    "its {gate}/kernel and {gate}/bias do not fit each other"
                ));
            }
            biases.push(bias.map_or_else(|| Array1::zeros(units), |bias| bias.to_owned()));
            kernels.push(kernel);
        }
        let differ = |_| "its gates have different shapes".to_owned();
        let kernel = concatenate(Axis(1), &kernels).map_err(differ)?;
        let units = biases.first().map_or(0, Array1::len);
        if biases.iter().any(|bias| bias.len() != units) {
            return Err("its gates have different shapes".into());
        }
        let biases: Vec<_> = biases.iter().map(|bias| bias.view()).collect();
        let bias = concatenate(Axis(0), &biases).map_err(differ)?;
        Ok((kernel, has_bias.then_some(bias)))
    }

    fn flax_lstm(&self) -> Result<Direction, String> {
        let flax = row("flax")?;
        let names = |side: char| -> [String; 4] {
            flax.order
                .map(|gate| format!("{side}{}", flax.letter(gate)))
        };
        let (input, hidden) = (names('i'), names('h'));
        let known: Vec<String> = input
            .iter()
            .chain(&hidden)
            .flat_map(|gate| [format!("{gate}/kernel"), format!("{gate}/bias")])
            .collect();
        self.only(&known.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (kernel, input_bias) = self.flax(&input.each_ref().map(String::as_str))?;
        let (recurrent, bias) = self.flax(&hidden.each_ref().map(String::as_str))?;
        if input_bias.is_some() {
            return Err("its input side has biases, which Flax's LSTM has not".into());
        }
        let text = |error: packing::PackingError| error.to_string();
        let kernel = flax.matrix_to_keras(kernel.view()).map_err(text)?;
        let recurrent = flax.matrix_to_keras(recurrent.view()).map_err(text)?;
        let bias = match bias {
            Some(bias) => Some(flax.bias_to_keras(&[bias.view()], None).map_err(text)?),
            None => None,
        };
        let weights = LstmWeights::new(kernel, recurrent, bias);
        Ok(Direction::Lstm(weights.map_err(|error| error.to_string())?))
    }

    /// Flax's GRU: r and z have one bias, on the input's side; n has one on each.
    fn flax_gru(&self) -> Result<Direction, String> {
        if self.any_below("if") || self.any_below("hf") {
            return Err("it is an MGUCell, which ifco has not".into());
        }
        let known = ["ir", "iz", "in", "hr", "hz", "hn"];
        if let Some(part) = known.iter().find(|part| !self.any_below(part)) {
            return Err(format!("it has no {part}"));
        }
        let (kernel, input_bias) = self.flax(&["iz", "ir", "in"])?;
        let (recurrent, hidden_bias) = self.flax(&["hz", "hr", "hn"])?;
        let width = kernel.ncols();
        let zeros = || Array1::zeros(width);
        let bias = match (input_bias, hidden_bias) {
            (None, None) => None,
            (input, hidden) => {
                let rows = [input.unwrap_or_else(zeros), hidden.unwrap_or_else(zeros)];
                let rows = stack(Axis(0), &[rows[0].view(), rows[1].view()]);
                Some(rows.map_err(|error| error.to_string())?)
            }
        };
        let weights =
            GruWeights::new(kernel, recurrent, bias).map_err(|error| error.to_string())?;
        Ok(Direction::Gru {
            weights,
            reset_after: true,
        })
    }

    /// An RNN of two Denses, the biases summed.
    fn two_denses(
        &self,
        input: &str,
        hidden: &str,
        biases: [&str; 2],
    ) -> Result<Direction, String> {
        let (kernel, recurrent) = (
            self.matrix(input)?.to_owned(),
            self.matrix(hidden)?.to_owned(),
        );
        let bias = match (self.vector(biases[0])?, self.vector(biases[1])?) {
            (Some(one), Some(other)) if one.len() == other.len() => Some(&one + &other),
            (Some(_), Some(_)) => return Err("its two biases have different lengths".into()),
            (one, other) => one.or(other).map(|bias| bias.to_owned()),
        };
        let weights = SimpleRnnWeights::new(kernel, recurrent, bias);
        Ok(Direction::SimpleRnn(
            weights.map_err(|error| error.to_string())?,
        ))
    }

    /// Haiku's GRU: `h' = (1 − z) ⊙ h + z ⊙ a`, so that its z is 1 − z of Keras's, which is that of
    /// the negated weights: σ(−x) = 1 − σ(x).
    fn haiku_gru(&self) -> Result<Direction, String> {
        let negated = |array: ArrayView2<'_, f32>, units: usize| {
            let mut array = array.to_owned();
            array
                .slice_mut(s![.., ..units])
                .mapv_inplace(|value| -value);
            array
        };
        let (kernel, recurrent) = (self.matrix("w_i")?, self.matrix("w_h")?);
        let units = recurrent.nrows();
        if Some(recurrent.ncols()) != units.checked_mul(3) || kernel.ncols() != recurrent.ncols() {
            return Err(format!(
                "its w_i {:?} and w_h {:?} are those of no GRU (…, 3·units)",
                kernel.shape(),
                recurrent.shape()
            ));
        }
        let bias = match self.vector("b")? {
            Some(bias) if bias.len() == 3 * units => {
                Some(negated(bias.insert_axis(Axis(0)), units))
            }
            Some(bias) => return Err(format!("its b has shape {:?}", bias.shape())),
            None => None,
        };
        let weights = GruWeights::new(negated(kernel, units), negated(recurrent, units), bias);
        Ok(Direction::Gru {
            weights: weights.map_err(|error| error.to_string())?,
            reset_after: false,
        })
    }

    /// TensorFlow 1's GRUCell: gates r u in one matrix, the candidate in another, each with the input's
    /// rows first; u is Keras's z.
    fn tensorflow_gru(&self) -> Result<Direction, String> {
        let (gates, candidate) = (
            self.matrix("gates/kernel")?,
            self.matrix("candidate/kernel")?,
        );
        let (rows, units) = candidate.dim();
        let features = rows
            .checked_sub(units)
            .filter(|features| *features > 0 && units > 0);
        let Some(features) = features.filter(|_| gates.dim() == (rows, 2 * units)) else {
            return Err(format!(
                "its gates/kernel {:?} and candidate/kernel {:?} are those of no GRUCell",
                gates.shape(),
                candidate.shape()
            ));
        };
        let blocks = [
            gates.slice(s![.., units..]),
            gates.slice(s![.., ..units]),
            candidate,
        ];
        let all = concatenate(Axis(1), &blocks).map_err(|error| error.to_string())?;
        let bias = match (self.vector("gates/bias")?, self.vector("candidate/bias")?) {
            (Some(gates), Some(candidate))
                if gates.len() == 2 * units && candidate.len() == units =>
            {
                let blocks = [
                    gates.slice(s![units..]),
                    gates.slice(s![..units]),
                    candidate,
                ];
                let bias = concatenate(Axis(0), &blocks).map_err(|error| error.to_string())?;
                Some(bias.insert_axis(Axis(0)))
            }
            (None, None) => None,
            _ => return Err("its biases are those of no GRUCell".into()),
        };
        let kernel = all.slice(s![..features, ..]).to_owned();
        let recurrent = all.slice(s![features.., ..]).to_owned();
        let weights =
            GruWeights::new(kernel, recurrent, bias).map_err(|error| error.to_string())?;
        Ok(Direction::Gru {
            weights,
            reset_after: false,
        })
    }

    fn tensorflow_lstm(&self, is_told: bool) -> Result<(Direction, Guess), String> {
        self.only(&["kernel", "bias", "projection/kernel"])?;
        let projection = match self.has("projection/kernel") {
            true => Some(self.matrix("projection/kernel")?),
            false => None,
        };
        let (kernel, bias) = (self.matrix("kernel")?, self.vector("bias")?);
        let tf1 = row("tf1")?;
        let lstm = fused(tf1, kernel, bias, projection, self.told.forget_bias)?;
        let mut said = Vec::new();
        if !is_told {
            said.push("is taken for a fused LSTM of TensorFlow 1, for its name");
        }
        if self.told.forget_bias.is_none() {
            said.push("1 is added to its forget gate (forget_bias = …)");
        }
        Ok((lstm, (!said.is_empty()).then(|| said.join("; "))))
    }

    fn tensorflow_rnn(&self) -> Result<Direction, String> {
        self.only(&["kernel", "bias"])?;
        let kernel = self.matrix("kernel")?;
        let (rows, units) = kernel.dim();
        let features = rows.checked_sub(units).filter(|features| *features > 0);
        let features = features.ok_or("its kernel is none of a BasicRNNCell")?;
        let bias = self.vector("bias")?.map(|bias| bias.to_owned());
        let (input, hidden) = kernel.split_at(Axis(0), features);
        let weights = SimpleRnnWeights::new(input.to_owned(), hidden.to_owned(), bias);
        Ok(Direction::SimpleRnn(
            weights.map_err(|error| error.to_string())?,
        ))
    }
}

/// A row of the one table of gate orders.
fn row(key: &str) -> Result<&'static Packing, String> {
    packing::find(key).ok_or_else(|| format!("the gate order {key:?} is not known"))
}

/// An LSTM of one matrix `(features + outputs, 4·units)`, the input's rows first. What the framework
/// adds to the forget gate when a model runs is put into the bias.
fn fused(
    packing: &Packing,
    matrix: ArrayView2<'_, f32>,
    bias: Option<ArrayView1<'_, f32>>,
    projection: Option<ArrayView2<'_, f32>>,
    forget_bias: Option<f32>,
) -> Result<Direction, String> {
    let (rows, columns) = matrix.dim();
    let units = columns / 4;
    let outputs = match projection {
        Some(projection) if projection.nrows() == units => projection.ncols(),
        Some(projection) => {
            return Err(format!("its projection has shape {:?}", projection.shape()));
        }
        None => units,
    };
    let features = rows.checked_sub(outputs).filter(|features| *features > 0);
    let Some(features) = features.filter(|_| units > 0 && columns == 4 * units) else {
        return Err(format!(
            "its matrix of shape {:?} is none of a fused LSTM (features + units, 4·units)",
            matrix.shape()
        ));
    };
    let text = |error: packing::PackingError| error.to_string();
    let keras = packing.matrix_to_keras(matrix).map_err(text)?;
    let bias = match bias {
        Some(bias) if bias.len() == columns => bias.to_owned(),
        Some(bias) => return Err(format!("its bias has shape {:?}", bias.shape())),
        None => Array1::zeros(columns),
    };
    let bias = packing
        .bias_to_keras(&[bias.view()], forget_bias)
        .map_err(text)?;
    let kernel = keras.slice(s![..features, ..]).to_owned();
    let recurrent = keras.slice(s![features.., ..]).to_owned();
    let weights = match projection {
        Some(projection) => {
            LstmWeights::projected(kernel, recurrent, Some(bias), projection.to_owned())
        }
        None => LstmWeights::new(kernel, recurrent, Some(bias)),
    };
    Ok(Direction::Lstm(weights.map_err(|error| error.to_string())?))
}
