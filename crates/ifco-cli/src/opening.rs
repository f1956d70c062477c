//! Opening a model for a command, and finding the cell that the user means.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ifco::{Cell, Model, Opened, WeightsSource};

use crate::failure::Failure;
use crate::precision::note;

/// How a weights file becomes a model, said wherever one is missing its architecture.
pub const ARCHITECTURE_HELP: &str = "give its architecture with --architecture model.json, \
     written in Python by open(\"model.json\", \"w\").write(model.to_json())";

/// The model that a command works on.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// A model: .keras, .h5 or .hdf5 of Keras, its SavedModel folder, or .onnx; weights alone: Keras's .weights.h5 and .h5,
    /// PyTorch's .pt and .pth, .safetensors, .npz, .json, Flax's .msgpack, a TensorFlow checkpoint (its .index, prefix or folder); or a model of sound: RTNeural's, AIDA-X's or GuitarML's
    /// .json, an LSTM's .nam
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// The architecture of a file of weights alone, as model.to_json() writes it
    #[arg(long, value_name = "JSON")]
    pub architecture: Option<PathBuf>,

    /// What weights alone do not tell (order, activations, which step goes on), as a small
    /// TOML; without it, MODEL.toml if there is one [docs/formats.md]
    #[arg(long, value_name = "TOML", conflicts_with = "architecture")]
    pub spec: Option<PathBuf>,
}

impl ModelArgs {
    /// Opens the file: as it is, or as a model if its architecture or a spec is given.
    pub fn open(&self) -> Result<Opened, Failure> {
        Ok(match (&self.architecture, &self.spec) {
            (Some(json), _) => {
                Opened::Model(Box::new(ifco::open_with_architecture(&self.model, json)?))
            }
            (None, Some(spec)) => Opened::Model(self.assume(Some(spec))?),
            (None, None) => ifco::open_any(&self.model)?,
        })
    }

    /// Opens the file for a command that needs a model: of PyTorch's weights alone one is made,
    /// and what was assumed is said. Keras's weights alone stay what they are.
    pub fn open_to_run(&self) -> Result<Opened, Failure> {
        match self.open()? {
            Opened::Weights(weights) if weights.source != WeightsSource::Keras => {
                let beside = self.beside();
                Ok(Opened::Model(self.assume(beside.as_deref())?))
            }
            opened => Ok(opened),
        }
    }

    /// The same for a command that makes do with weights: those that no model can be made of stay
    /// what they are.
    pub fn open_to_see(&self) -> Result<Opened, Failure> {
        match self.open()? {
            Opened::Weights(weights) if weights.source != WeightsSource::Keras => {
                let beside = self.beside();
                let made = self.assume(beside.as_deref());
                Ok(made.map_or(Opened::Weights(weights), Opened::Model))
            }
            opened => Ok(opened),
        }
    }

    /// Opens a file that must hold a whole model, or weights of which one can be made.
    pub fn open_model(&self) -> Result<Box<Model>, Failure> {
        match self.open_to_run()? {
            Opened::Model(model) => Ok(model),
            Opened::Weights(_) => Err(self.no_model()),
        }
    }

    /// The same in Keras's layers, for what an ONNX graph cannot do as it stands: run step by step,
    /// or be trained.
    pub fn open_layers(&self) -> Result<Box<Model>, Failure> {
        let model = self.open_model()?;
        match ifco::in_keras_layers(&model) {
            None => Ok(model),
            Some(Ok(model)) => Ok(Box::new(model)),
            Some(Err(error)) => Err(Failure::from(error).at_file(&self.model)),
        }
    }

    /// The spec that lies beside the weights: `weights.pt.toml`.
    fn beside(&self) -> Option<PathBuf> {
        let mut name = self.model.clone().into_os_string();
        name.push(".toml");
        Some(PathBuf::from(name)).filter(|path| path.is_file())
    }

    fn assume(&self, spec: Option<&Path>) -> Result<Box<Model>, Failure> {
        let assumed = ifco::open_assuming(&self.model, spec)?;
        if let (Some(spec), None) = (spec, &self.spec) {
            note(format_args!("told by {}", spec.display()));
        }
        for assumption in &assumed.assumptions {
            note(format_args!("assumed: {assumption}"));
        }
        Ok(assumed.model)
    }

    /// The whole model, which an opened file must hold.
    pub fn whole<'a>(&self, opened: &'a Opened) -> Result<&'a Model, Failure> {
        match opened {
            Opened::Model(model) => Ok(model),
            Opened::Weights(_) => Err(self.no_model()),
        }
    }

    fn no_model(&self) -> Failure {
        let what = "the file holds weights alone, which do not say how to compute with them";
        Failure::new(what)
            .at_file(&self.model)
            .help(ARCHITECTURE_HELP)
    }
}

/// Every recurrent cell by its path.
pub fn cells(opened: &Opened) -> Vec<(String, Cow<'_, Cell>)> {
    match opened {
        Opened::Model(model) => model
            .cells()
            .into_iter()
            .map(|(path, cell)| (path, Cow::Borrowed(cell)))
            .collect(),
        Opened::Weights(weights) => weights
            .cells()
            .into_iter()
            .map(|(path, cell)| (path, Cow::Owned(cell)))
            .collect(),
    }
}

/// The cells that `name` means: one by its path, or all of the layer `name`.
pub fn select<'a>(
    opened: &Opened,
    cells: Vec<(String, Cow<'a, Cell>)>,
    name: &str,
) -> Result<Vec<(String, Cow<'a, Cell>)>, Failure> {
    let name = name.trim_end_matches('/');
    let below = format!("{name}/");
    let is_meant = |path: &str| path == name || path.starts_with(&below);
    if !cells.iter().any(|(path, _)| is_meant(path)) {
        return Err(no_such_cell(opened, &cells, name));
    }
    Ok(cells
        .into_iter()
        .filter(|(path, _)| is_meant(path))
        .collect())
}

fn no_such_cell(opened: &Opened, cells: &[(String, Cow<'_, Cell>)], name: &str) -> Failure {
    let names: Vec<&str> = cells.iter().map(|(path, _)| path.as_str()).collect();
    if names.is_empty() {
        return no_cells(opened);
    }
    let layer = match opened {
        Opened::Model(model) => model.layers().iter().find(|layer| layer.name == name),
        Opened::Weights(_) => None,
    };
    let what = match layer {
        Some(layer) => format!(
            "layer {name:?} is of class {}, which has no gates",
            layer.layer.class_name()
        ),
        None => format!("there is no recurrent layer {name:?}"),
    };
    let list = format!("its recurrent layers are: {}", names.join(", "));
    Failure::new(what).help(match closest(name, &names) {
        Some(closest) => format!("did you mean {closest:?}? {list}"),
        None => list,
    })
}

/// The model has nothing with gates.
pub fn no_cells(opened: &Opened) -> Failure {
    let help = match opened {
        Opened::Model(_) => "`ifco show` lists its layers",
        Opened::Weights(_) => {
            "if it has, the names and shapes in the file do not tell: give --architecture (Keras)"
        }
    };
    Failure::new("there is no recurrent layer with weights in this file").help(help)
}

/// The name that was probably meant.
pub fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), *known))
        .filter(|(similarity, _)| *similarity >= 0.5)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name() {
        let known = ["lstm", "lstm_1", "bidirectional/forward"];
        assert_eq!(closest("lsmt", &known), Some("lstm"));
        assert_eq!(closest("lstm_2", &known), Some("lstm_1"));
        assert_eq!(closest("bidirectional/foward", &known), Some(known[2]));
        assert_eq!(closest("zzz", &known), None);
    }
}
