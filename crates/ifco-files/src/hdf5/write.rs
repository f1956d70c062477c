//! Writes HDF5 files of groups, arrays and texts, as h5py would for Keras.
//!
//! The format itself is written by `hdf5-pure`. Texts are of variable length, as h5py writes
//! them: their bytes lie outside the object's header, which holds no more than 64 KB.

use std::collections::BTreeMap;

use hdf5_pure::{AttrValue, FileBuilder, GroupBuilder};
use ndarray::ArrayD;

use super::join;

/// How many texts one attribute holds at most: each takes 16 bytes of an object's header.
const TEXTS_PER_ATTRIBUTE: usize = 4000;

/// A group on its way to a file: its attributes, arrays and groups.
#[derive(Default)]
pub(crate) struct Tree {
    attributes: Vec<(String, AttrValue)>,
    arrays: Vec<(String, ArrayD<f32>)>,
    counts: Vec<(String, i64)>,
    groups: BTreeMap<String, Tree>,
}

impl Tree {
    /// The group at `path` below this one, made where it is missing.
    pub fn group(&mut self, path: &str) -> &mut Tree {
        path.split('/')
            .filter(|part| !part.is_empty())
            .fold(self, |tree, part| {
                tree.groups.entry(part.into()).or_default()
            })
    }

    /// Adds an array; a `name` with slashes makes groups.
    pub fn array(&mut self, name: &str, array: ArrayD<f32>) {
        let (group, name) = name.rsplit_once('/').unwrap_or(("", name));
        self.group(group).arrays.push((name.into(), array));
    }

    /// Adds a whole number, as `int64`.
    pub fn count(&mut self, name: &str, count: i64) {
        self.counts.push((name.into(), count));
    }

    /// Adds an attribute that is a text.
    pub fn text(&mut self, name: &str, text: impl Into<String>) {
        let value = AttrValue::VarLenString(text.into());
        self.attributes.push((name.into(), value));
    }

    /// Adds an attribute that is a list of texts; a long one in chunks `name0`, `name1`, …, where
    /// Keras looks for them.
    pub fn texts(&mut self, name: &str, texts: Vec<String>) {
        if texts.is_empty() {
            // What NumPy makes of an empty list.
            let empty = AttrValue::F64Array(Vec::new());
            self.attributes.push((name.into(), empty));
        } else if texts.len() <= TEXTS_PER_ATTRIBUTE {
            let value = AttrValue::VarLenStringArray(texts);
            self.attributes.push((name.into(), value));
        } else {
            for (number, chunk) in texts.chunks(TEXTS_PER_ATTRIBUTE).enumerate() {
                let value = AttrValue::VarLenStringArray(chunk.to_vec());
                self.attributes.push((format!("{name}{number}"), value));
            }
        }
    }

    /// The file whose root this is; else why it cannot be.
    pub fn to_file(&self) -> Result<Vec<u8>, String> {
        let mut file = FileBuilder::new();
        for (name, value) in &self.attributes {
            file.set_attr(name, value.clone());
        }
        for (name, array) in &self.arrays {
            let (shape, values) = contents(array)?;
            let dataset = file.create_dataset(name);
            dataset.with_f32_data(&values).with_shape(&shape);
        }
        for (name, tree) in &self.groups {
            let mut group = file.create_group(name);
            tree.fill(&mut group, name)?;
            file.add_group(group.finish());
        }
        file.finish().map_err(|error| error.to_string())
    }

    fn fill(&self, group: &mut GroupBuilder, path: &str) -> Result<(), String> {
        for (name, value) in &self.attributes {
            group.set_attr(name, value.clone());
        }
        for (name, array) in &self.arrays {
            let (shape, values) = contents(array)?;
            let dataset = group.create_dataset(name);
            dataset.with_f32_data(&values).with_shape(&shape);
        }
        for (name, count) in &self.counts {
            let dataset = group.create_dataset(name);
            dataset.with_i64_data(&[*count]).with_shape(&[]);
        }
        for (name, tree) in &self.groups {
            if self.arrays.iter().any(|(array, _)| array == name) {
                return Err(format!("{} is both an array and a group", join(path, name)));
            }
            let mut inner = group.create_group(name);
            tree.fill(&mut inner, &join(path, name))?;
            group.add_group(inner.finish());
        }
        Ok(())
    }
}

/// Shape and values in C order.
fn contents(array: &ArrayD<f32>) -> Result<(Vec<u64>, Vec<f32>), String> {
    let shape: Result<Vec<u64>, _> = array.shape().iter().map(|n| u64::try_from(*n)).collect();
    let shape = shape.map_err(|error| error.to_string())?;
    Ok((shape, array.iter().copied().collect()))
}
