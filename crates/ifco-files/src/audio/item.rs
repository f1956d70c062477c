//! A value in a JSON text together with its place, so that an error can name it.

use std::path::Path;

use ndarray::{Array1, Array2, ArrayD, Ix1, Ix2, IxDyn};
use serde_json::Value;

use crate::FileError;

/// A value and where it stands: `layers[1].weights[0]`.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    file: &'a Path,
    place: String,
    value: &'a Value,
}

impl<'a> Item<'a> {
    /// The whole text.
    pub fn root(file: &'a Path, value: &'a Value) -> Self {
        Self {
            file,
            place: String::new(),
            value,
        }
    }

    pub fn file(&self) -> &'a Path {
        self.file
    }

    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The value of a key; `null` counts as absent, as Python writes `None`.
    pub fn get(&self, key: &str) -> Option<Item<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        let place = match self.place.as_str() {
            "" => key.to_string(),
            place => format!("{place}.{key}"),
        };
        Some(Item {
            file: self.file,
            place,
            value,
        })
    }

    pub fn need(&self, key: &str) -> Result<Item<'a>, FileError> {
        self.get(key).ok_or_else(|| {
            let place = match self.place.as_str() {
                "" => "the file",
                place => place,
            };
            FileError::Missing {
                path: self.file.into(),
                part: format!("{key:?} in {place}"),
                remedy: "export the model again".into(),
            }
        })
    }

    /// The elements of a list.
    pub fn items(&self) -> Result<Vec<Item<'a>>, FileError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let item = |(index, value)| Item {
            file: self.file,
            place: format!("{}[{index}]", self.place),
            value,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// The last element of a list; a number stands for a list of itself.
    pub fn last(&self) -> Result<Item<'a>, FileError> {
        match self.value {
            Value::Array(_) => {
                let last = self.items()?.pop();
                last.ok_or_else(|| self.wrong("a list of at least one number"))
            }
            _ => Ok(self.clone()),
        }
    }

    pub fn text(&self) -> Result<&'a str, FileError> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    /// A whole number from `least` on. What is made of it must be held against the file's size.
    pub fn whole(&self, least: usize) -> Result<usize, FileError> {
        let number = self.value.as_u64();
        let number = number.and_then(|number| usize::try_from(number).ok());
        number
            .filter(|number| *number >= least)
            .ok_or_else(|| self.wrong(format!("a whole number, {least} or more")))
    }

    pub fn number(&self) -> Result<f32, FileError> {
        number(self.value).ok_or_else(|| self.wrong("a number within the range of float32"))
    }

    pub fn vector(&self) -> Result<Array1<f32>, FileError> {
        let array = self.array(1)?.into_dimensionality::<Ix1>();
        array.map_err(|_| self.wrong("a list of numbers"))
    }

    pub fn matrix(&self) -> Result<Array2<f32>, FileError> {
        let array = self.array(2)?.into_dimensionality::<Ix2>();
        array.map_err(|_| self.wrong("a list of lists of numbers"))
    }

    /// Lists in lists, `rank` deep, each as long as its neighbours.
    pub fn array(&self, rank: usize) -> Result<ArrayD<f32>, FileError> {
        let mut shape = Vec::with_capacity(rank);
        let mut first = self.value;
        for _ in 0..rank {
            let Some(items) = first.as_array() else { break };
            shape.push(items.len());
            let Some(next) = items.first() else { break };
            first = next;
        }
        if shape.len() < rank || shape.contains(&0) {
            let depth = match rank {
                1 => "a list of numbers".to_string(),
                _ => format!("lists of numbers, {rank} deep"),
            };
            return Err(self.wrong(format!("{depth}, none of them empty")));
        }
        let mut numbers = Vec::new();
        self.collect(&shape, &mut numbers)?;
        ArrayD::from_shape_vec(IxDyn(&shape), numbers)
            .map_err(|_| self.wrong(format!("an array of shape {shape:?}")))
    }

    fn collect(&self, shape: &[usize], numbers: &mut Vec<f32>) -> Result<(), FileError> {
        let Some((size, inner)) = shape.split_first() else {
            numbers.push(self.number()?);
            return Ok(());
        };
        let of = if inner.is_empty() { "numbers" } else { "lists" };
        let expected = || format!("a list of {size} {of}, as its neighbours");
        let items = self.value.as_array();
        let items = items.filter(|items| items.len() == *size);
        let items = items.ok_or_else(|| self.wrong(expected()))?;
        for (index, value) in items.iter().enumerate() {
            // Places are texts: none is made for a number that is right.
            match (inner, number(value)) {
                ([], Some(number)) => numbers.push(number),
                _ => Item {
                    file: self.file,
                    place: format!("{}[{index}]", self.place),
                    value,
                }
                .collect(inner, numbers)?,
            }
        }
        Ok(())
    }

    /// The error that something else stands here than should.
    pub fn wrong(&self, expected: impl Into<String>) -> FileError {
        self.wrong_as(describe(self.value), expected)
    }

    /// The same, where the file's own words tell less than `found`.
    pub fn wrong_as(&self, found: impl Into<String>, expected: impl Into<String>) -> FileError {
        FileError::Value {
            path: self.file.into(),
            place: match self.place.as_str() {
                "" => "the file".into(),
                place => place.into(),
            },
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// The error that ifco does not have what the file asks for here.
    pub fn unsupported(&self, what: impl std::fmt::Display, remedy: &str) -> FileError {
        FileError::Unsupported {
            path: self.file.into(),
            what: match self.place.as_str() {
                "" => what.to_string(),
                place => format!("{place}: {what}"),
            },
            remedy: remedy.into(),
        }
    }
}

/// A finite number; those that `float32` cannot hold are none.
fn number(value: &Value) -> Option<f32> {
    let number = value.as_f64()? as f32;
    number.is_finite().then_some(number)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".into(),
    }
}
