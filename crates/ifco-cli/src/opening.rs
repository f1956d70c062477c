//! Opening a model for a command, and finding the cell that the user means.

use std::borrow::Cow;
use std::path::PathBuf;

use ifco::{Cell, Model, Opened};

use crate::failure::Failure;

/// How a weights file becomes a model, said wherever one is missing its architecture.
pub const ARCHITECTURE_HELP: &str = "give its architecture with --architecture model.json, \
     written in Python by open(\"model.json\", \"w\").write(model.to_json())";

/// The model that a command works on.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// A model: .keras, .h5 or .hdf5 of Keras, or .onnx; or weights alone: .weights.h5, .h5
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// The architecture of a file of weights alone, as model.to_json() writes it
    #[arg(long, value_name = "JSON")]
    pub architecture: Option<PathBuf>,
}

impl ModelArgs {
    /// Opens the file.
    pub fn open(&self) -> Result<Opened, Failure> {
        Ok(match &self.architecture {
            Some(json) => Opened::Model(Box::new(ifco::open_with_architecture(&self.model, json)?)),
            None => ifco::open_any(&self.model)?,
        })
    }

    /// Opens a file that must hold a whole model.
    pub fn open_model(&self) -> Result<Box<Model>, Failure> {
        match self.open()? {
            Opened::Model(model) => Ok(model),
            Opened::Weights(_) => Err(self.no_model()),
        }
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
            "if it has, the names and shapes in the file do not tell: give --architecture"
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
