//! Models on their way to PyTorch: a `state_dict` in a `.pt` or a `.safetensors`.
//!
//! A `state_dict` holds no architecture. So two texts go with it: the spec with which ifco opens
//! it again as the same model, and a Python module whose `Model` takes it with
//! `load_state_dict(strict=True)`.

mod modules;
mod pickle;
mod recurrent;

use std::collections::HashMap;
use std::fmt::Write;

use ifco_model::Model;
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, TensorView};

use crate::{SaveError, SaveOptions, Saved, stack};

/// A tensor of a `state_dict`.
enum Tensor {
    Floats(ArrayD<f32>),
    /// BatchNorm1d's `num_batches_tracked`.
    Count(i64),
}

/// A module of PyTorch, and what follows it.
struct Module {
    name: String,
    /// `nn.Linear(5, 2)`.
    made: String,
    /// `(x)` to the lines of `forward`.
    called: Vec<String>,
    tensors: Vec<(String, Tensor)>,
    /// Keys and values of its table in the spec.
    spec: Vec<(&'static str, String)>,
}

impl Module {
    fn tell(&mut self, key: &'static str, value: impl Into<String>) {
        self.spec.push((key, value.into()));
    }

    fn tells(&self, key: &str) -> bool {
        self.spec.iter().any(|(told, _)| *told == key)
    }
}

/// `torch.save(model.state_dict(), …)`.
pub(crate) fn save_pt(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    save(model, options, pickle::archive)
}

/// `safetensors.torch.save_file(model.state_dict(), …)`.
pub(crate) fn save_safetensors(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    save(model, options, safetensors)
}

type Named = Vec<(String, Tensor)>;

fn save(
    model: &Model,
    options: &SaveOptions,
    encode: fn(&Named) -> Result<Vec<u8>, SaveError>,
) -> Result<Saved, SaveError> {
    let mut notes = Vec::new();
    let stages = stack::of(model, options, &mut notes)?;
    let modules = modules::of(&stages, options)?;
    let spec = spec(&modules);
    let python = python(&modules, model.name());
    let mut tensors = Named::new();
    for module in modules {
        let prefix = module.name;
        let named = module.tensors.into_iter();
        tensors.extend(named.map(|(name, tensor)| (format!("{prefix}.{name}"), tensor)));
    }
    let mut saved = Saved::new(encode(&tensors)?, notes);
    saved.spec = Some(spec);
    saved.python = Some(python);
    Ok(saved)
}

fn safetensors(tensors: &Named) -> Result<Vec<u8>, SaveError> {
    let bytes: Vec<(Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(_, tensor)| match tensor {
            Tensor::Floats(array) => (Dtype::F32, array.shape().to_vec(), little_endian(array)),
            Tensor::Count(count) => (Dtype::I64, Vec::new(), count.to_le_bytes().to_vec()),
        })
        .collect();
    let encode = |error: safetensors::SafeTensorError| SaveError::Encode(error.to_string());
    let mut views = Vec::with_capacity(bytes.len());
    for ((name, _), (dtype, shape, bytes)) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(encode)?;
        views.push((name.as_str(), view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(encode)
}

fn little_endian(array: &ArrayD<f32>) -> Vec<u8> {
    array.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The spec with which the weights are this model again.
fn spec(modules: &[Module]) -> String {
    let names: Vec<String> = modules.iter().map(|m| format!("{:?}", m.name)).collect();
    let mut text = format!("order = [{}]\n", names.join(", "));
    for module in modules.iter().filter(|module| !module.spec.is_empty()) {
        // Formatting into a String does not fail.
        let _ = write!(text, "\n[modules.{:?}]\n", module.name);
        for (key, value) in &module.spec {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    text
}

/// The model in Python.
fn python(modules: &[Module], name: &str) -> String {
    let mut text = format!(
        "\"\"\"The architecture of {:?}, for its state_dict:\n\n    model = Model()\n    \
         model.load_state_dict(torch.load(\"weights.pt\"))\n    model.eval()\n\"\"\"\n\n\
         import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n\
         class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n",
        name.replace(['"', '\\'], "_")
    );
    let mut folders: Vec<&str> = Vec::new();
    for module in modules {
        for (dot, _) in module.name.match_indices('.') {
            let folder = &module.name[..dot];
            if !folders.contains(&folder) {
                folders.push(folder);
                let _ = writeln!(text, "        {} = nn.Module()", place(folder));
            }
        }
        let _ = writeln!(text, "        {} = {}", place(&module.name), module.made);
    }
    text.push_str("\n    def forward(self, x):\n");
    for line in modules.iter().flat_map(|module| &module.called) {
        let _ = writeln!(text, "        {line}");
    }
    text.push_str("        return x\n");
    text
}

/// `self.encoder.lstm`, and where a part is a number `getattr(self, "0")`'s way of saying it.
fn place(name: &str) -> String {
    let parts = name.split('.').map(|part| format!(".{part}"));
    format!("self{}", parts.collect::<String>())
}
