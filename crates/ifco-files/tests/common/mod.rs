//! Files of Keras made in memory.
#![allow(dead_code)] // each test takes what it needs

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use hdf5_pure::{AttrValue, FileBuilder};
use ifco_files::{FileError, Opened, open_bytes};
use ifco_model::Model;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An HDF5 file: groups, arrays and attributes by path.
#[derive(Default, Clone)]
pub struct Tree {
    groups: BTreeMap<String, Tree>,
    arrays: Vec<(String, Vec<u64>, Vec<f32>)>,
    attributes: Vec<(String, AttrValue)>,
}

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    fn at(&mut self, path: &str) -> &mut Tree {
        path.split('/')
            .filter(|part| !part.is_empty())
            .fold(self, |tree, part| {
                tree.groups.entry(part.into()).or_default()
            })
    }

    pub fn group(mut self, path: &str) -> Self {
        self.at(path);
        self
    }

    /// An array at `path` filled with `first`, `first + 1`, ….
    pub fn array(mut self, path: &str, shape: &[u64], first: f32) -> Self {
        let (group, name) = path.rsplit_once('/').unwrap_or(("", path));
        let len: u64 = shape.iter().product();
        let values = (0..len).map(|i| first + i as f32).collect();
        self.at(group)
            .arrays
            .push((name.into(), shape.to_vec(), values));
        self
    }

    pub fn attribute(mut self, group: &str, name: &str, value: AttrValue) -> Self {
        self.at(group).attributes.push((name.into(), value));
        self
    }

    pub fn text(self, group: &str, name: &str, text: &str) -> Self {
        self.attribute(group, name, AttrValue::String(text.into()))
    }

    pub fn texts(self, group: &str, name: &str, texts: &[&str]) -> Self {
        let texts = texts.iter().map(|text| text.to_string()).collect();
        self.attribute(group, name, AttrValue::AsciiStringArray(texts))
    }

    /// A layer of a legacy file: its group and its arrays, given with their shapes.
    pub fn legacy(mut self, root: &str, layer: &str, arrays: &[(&str, &[u64])]) -> Self {
        let group = if root.is_empty() {
            layer.to_string()
        } else {
            format!("{root}/{layer}")
        };
        let names: Vec<&str> = arrays.iter().map(|(name, _)| *name).collect();
        self = self.texts(&group, "weight_names", &names);
        for (number, (name, shape)) in arrays.iter().enumerate() {
            self = self.array(&format!("{group}/{name}"), shape, 1000.0 * number as f32);
        }
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let mut file = FileBuilder::new();
        for (name, value) in &self.attributes {
            file.set_attr(name, value.clone());
        }
        for (name, shape, values) in &self.arrays {
            file.create_dataset(name)
                .with_f32_data(values)
                .with_shape(shape);
        }
        for (name, tree) in &self.groups {
            let mut group = file.create_group(name);
            tree.fill(&mut group);
            file.add_group(group.finish());
        }
        file.finish().expect("the file can be built")
    }

    fn fill(&self, group: &mut hdf5_pure::GroupBuilder) {
        for (name, value) in &self.attributes {
            group.set_attr(name, value.clone());
        }
        for (name, shape, values) in &self.arrays {
            group
                .create_dataset(name)
                .with_f32_data(values)
                .with_shape(shape);
        }
        for (name, tree) in &self.groups {
            let mut inner = group.create_group(name);
            tree.fill(&mut inner);
            group.add_group(inner.finish());
        }
    }
}

/// A zip of these entries.
pub fn zip(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(*name, options)
            .expect("an entry can be begun");
        zip.write_all(bytes).expect("an entry can be written");
    }
    zip.finish().expect("the zip can be finished").into_inner()
}

pub const METADATA: &str = r#"{"keras_version": "3.15.1"}"#;

/// Sequential: 3 features, an LSTM of 2 units named `memory`, a Dense of 1 named `head`.
pub const CONFIG: &str = r#"{"module": "keras", "class_name": "Sequential", "config": {
    "name": "m", "layers": [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [null, 5, 3]}},
        {"class_name": "LSTM", "config": {"name": "memory", "units": 2}},
        {"class_name": "Dense", "config": {"name": "head", "units": 1}}]}}"#;

/// The weights of [`CONFIG`] as Keras 3 keeps them.
pub fn weights() -> Tree {
    Tree::new()
        .array("layers/lstm/cell/vars/0", &[3, 8], 0.0)
        .array("layers/lstm/cell/vars/1", &[2, 8], 1000.0)
        .array("layers/lstm/cell/vars/2", &[8], 2000.0)
        .array("layers/dense/vars/0", &[2, 1], 3000.0)
        .array("layers/dense/vars/1", &[1], 4000.0)
        .text("layers/lstm/vars", "name", "memory")
}

/// The `.keras` of [`CONFIG`].
pub fn archive(config: &str, weights: &Tree, method: CompressionMethod) -> Vec<u8> {
    zip(
        &[
            ("metadata.json", METADATA.as_bytes()),
            ("config.json", config.as_bytes()),
            ("model.weights.h5", &weights.build()),
        ],
        method,
    )
}

/// The names under which Keras 2 keeps the weights of [`CONFIG`].
pub const LSTM_NAMES: [(&str, &[u64]); 3] = [
    ("memory/lstm_cell/kernel:0", &[3, 8]),
    ("memory/lstm_cell/recurrent_kernel:0", &[2, 8]),
    ("memory/lstm_cell/bias:0", &[8]),
];

/// [`CONFIG`] and its weights as Keras 2 keeps them, below `root`.
pub fn legacy(root: &str) -> Tree {
    Tree::new()
        .text("", "keras_version", "2.15.0")
        .texts(root, "layer_names", &["i", "memory", "head"])
        .legacy(root, "memory", &LSTM_NAMES)
        .legacy(
            root,
            "head",
            &[("head/kernel:0", &[2, 1]), ("head/bias:0", &[1])],
        )
        .attribute(
            &join(root, "i"),
            "weight_names",
            AttrValue::F64Array(Vec::new()),
        )
}

pub fn join(root: &str, name: &str) -> String {
    if root.is_empty() {
        name.into()
    } else {
        format!("{root}/{name}")
    }
}

pub fn model(bytes: Vec<u8>) -> Model {
    match open_bytes(bytes, "test").expect("the file opens") {
        Opened::Model(model) => *model,
        Opened::Weights(weights) => panic!("only weights: {weights:?}"),
    }
}

pub fn error(bytes: Vec<u8>) -> FileError {
    match open_bytes(bytes, "test") {
        Err(error) => error,
        Ok(opened) => panic!("opened: {opened:?}"),
    }
}

/// What `bytes` are refused with, and what to do about it.
pub fn message(bytes: Vec<u8>) -> String {
    let error = error(bytes);
    match error.help() {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    }
}
