//! Attributes as texts and lists of texts, in all the ways in which Keras and h5py write them.

use std::collections::HashMap;

use hdf5_pure::AttrValue;

/// Attributes of one object.
#[derive(Debug)]
pub(crate) struct Attributes {
    pub(super) values: HashMap<String, AttrValue>,
}

impl Attributes {
    /// Whether there is an attribute of this name, whole or in chunks.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.values.contains_key(&format!("{name}0"))
    }

    /// A text: a string of any kind, bytes, or one in chunks `name0`, `name1`, ….
    pub fn string(&self, name: &str) -> Option<String> {
        if let Some(value) = self.values.get(name) {
            return strings_of(value).map(|texts| texts.concat());
        }
        self.chunks(name).map(|texts| texts.concat())
    }

    /// A list of texts, possibly in chunks `name0`, `name1`, …: HDF5 keeps at most 64 KB in
    /// one attribute.
    pub fn strings(&self, name: &str) -> Option<Vec<String>> {
        match self.values.get(name) {
            Some(value) => strings_of(value),
            None => self.chunks(name),
        }
    }

    fn chunks(&self, name: &str) -> Option<Vec<String>> {
        let mut all = None;
        for chunk in 0.. {
            let Some(value) = self.values.get(&format!("{name}{chunk}")) else {
                break;
            };
            all.get_or_insert_with(Vec::new).extend(strings_of(value)?);
        }
        all
    }
}

/// The texts in an attribute. NumPy writes an empty list as floats, and bytes may come as
/// integers.
fn strings_of(value: &AttrValue) -> Option<Vec<String>> {
    if let Some(text) = value.as_str() {
        return Some(vec![text.into()]);
    }
    if let Some(texts) = value.as_strings() {
        return Some(texts.to_vec());
    }
    match value {
        AttrValue::U8Array(bytes) if !bytes.is_empty() => {
            String::from_utf8(bytes.clone()).ok().map(|text| vec![text])
        }
        AttrValue::U8Array(_) => Some(Vec::new()),
        AttrValue::F64Array(list) if list.is_empty() => Some(Vec::new()),
        AttrValue::F32Array(list) if list.is_empty() => Some(Vec::new()),
        _ => None,
    }
}
