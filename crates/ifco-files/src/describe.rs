//! A model without weights from a description: Keras's JSON, or a small TOML of layers on each
//! other.
//!
//! ```toml
//! name = "sine"
//! input = ["any", 3]            # the sizes of a sample; "any" where Keras says None
//!
//! [[layers]]
//! class = "Bidirectional"       # Keras's class, and its options by Keras's names
//! layer = { class = "LSTM", units = 16, return_sequences = true }
//!
//! [[layers]]
//! class = "Dense"
//! name = "next"
//! units = 1
//!
//! [compile]                     # what model.compile() takes
//! optimizer = "adam"
//! loss = "mse"
//! ```

use std::path::Path;

use ifco_model::{Generation, GroupNames, Model};
use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::bytes::Bytes;
use crate::{FileError, Limits, keras};

/// Makes the model that a file describes: Keras's JSON (`model.to_json()`), or a TOML of layers
/// (docs/fit.md in ifco's repository). It has no weights yet:
/// [`initialize`](ifco_train::initialize) draws them.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let mut model = ifco_files::open_architecture("stacked.json")?;
/// assert_eq!(model.weights(), None);
/// ifco_train::initialize(&mut model, 7)?;
/// assert_eq!(model.lstm("first")?.weights().units(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn open_architecture(path: impl AsRef<Path>) -> Result<Model, FileError> {
    let path = path.as_ref();
    let bytes = Bytes::open(path).map_err(|error| FileError::io(path, error))?;
    from_bytes(&bytes, path)
}

/// The same of a file's bytes; `name` stands for the path in errors.
///
/// ```
/// let toml = "input = [4]\n[[layers]]\nclass = \"Dense\"\nunits = 2\n";
/// let model = ifco_files::architecture_bytes(toml, "net.toml")?;
/// assert_eq!(model.outputs()[0].shape, Some(vec![None, Some(2)]));
/// # Ok::<(), ifco_files::FileError>(())
/// ```
///
/// # Errors
/// Whatever [`FileError`] tells.
pub fn architecture_bytes(bytes: impl Into<Vec<u8>>, name: &str) -> Result<Model, FileError> {
    from_bytes(&Bytes::from_vec(bytes.into()), Path::new(name))
}

fn from_bytes(bytes: &Bytes, path: &Path) -> Result<Model, FileError> {
    let limits = Limits::default();
    keras::check_json(bytes.len(), path, "the description", &limits)?;
    let text = bytes
        .head(usize::try_from(bytes.len()).unwrap_or(usize::MAX))
        .map_err(|error| FileError::io(path, error))?;
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') {
        let json = keras::parse_json(&text, path, "the description")?;
        return keras::from_architecture(json, path, Generation::Keras3);
    }
    let text = String::from_utf8_lossy(&text);
    let json = Reader { text: &text, path }.model()?;
    Model::from_config(&json, Generation::Keras3).map_err(|error| FileError::model(path, error))
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

type Spot<'a> = Spanned<DeValue<'a>>;

/// How deep tables may lie in each other.
const DEEPEST: usize = 32;

impl Reader<'_> {
    /// The whole as Keras's JSON.
    fn model(&self) -> Result<Value, FileError> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.wrong(at, format!("this is not valid TOML: {}", error.message()))
        })?;
        let table = table.get_ref();
        let known = ["name", "input", "layers", "compile"];
        for (key, _) in table {
            if !known.contains(&key.get_ref().as_ref()) {
                let what = format!(
                    "{:?} is not known; there are: {}",
                    key.get_ref(),
                    known.join(", ")
                );
                return Err(self.wrong(key.span().start, what));
            }
        }
        let mut layers = Vec::new();
        let input = table.get("input");
        let input = input.ok_or_else(|| self.wrong(0, "there is no input".into()))?;
        layers.push(json!({"module": "keras.layers", "class_name": "InputLayer",
        "registered_name": null, "config": {
            "name": "input", "dtype": "float32", "batch_shape": self.shape(input)?,
        }}));
        let listed = table
            .get("layers")
            .and_then(|list| list.get_ref().as_array());
        let listed = listed.filter(|list| !list.is_empty());
        let listed = listed.ok_or_else(|| {
            self.wrong(0, "there are no layers: begin each with [[layers]]".into())
        })?;
        for layer in listed {
            let json = self.value(layer, 0)?;
            if json
                .get("class_name")
                .is_none_or(|class| !class.is_string())
            {
                let what = "the layer has no class, such as class = \"LSTM\"";
                return Err(self.wrong(layer.span().start, what.into()));
            }
            layers.push(json);
        }
        name_all(&mut layers[1..]);
        let name = match table.get("name") {
            Some(name) => self.value(name, 0)?,
            None => json!("sequential"),
        };
        let mut model = json!({"module": "keras", "class_name": "Sequential",
            "registered_name": null, "config": {"name": name, "layers": layers}});
        if let Some(compile) = table.get("compile") {
            model["compile_config"] = self.value(compile, 0)?;
        }
        Ok(model)
    }

    /// The sizes of a sample, behind the batch.
    fn shape(&self, input: &Spot<'_>) -> Result<Value, FileError> {
        let at = input.span().start;
        let wrong = || self.wrong(at, "expected a list of sizes, as [\"any\", 3]".into());
        let list = input.get_ref().as_array().ok_or_else(wrong)?;
        let mut shape = vec![Value::Null];
        for size in list {
            shape.push(match self.value(size, 0)? {
                Value::String(any) if any == "any" => Value::Null,
                size if size.as_u64().is_some_and(|size| size > 0) => size,
                _ => return Err(wrong()),
            });
        }
        Ok(Value::Array(shape))
    }

    /// A value as JSON; a table with a `class` as Keras writes objects.
    fn value(&self, value: &Spot<'_>, depth: usize) -> Result<Value, FileError> {
        let at = value.span().start;
        if depth > DEEPEST {
            return Err(self.wrong(at, "the tables lie too deep in each other".into()));
        }
        Ok(match value.get_ref() {
            DeValue::String(text) => json!(text.as_ref()),
            DeValue::Boolean(flag) => json!(flag),
            DeValue::Integer(number) => {
                let number: Option<i64> = number.to_string().parse().ok();
                json!(number.ok_or_else(|| self.wrong(at, "expected a decimal number".into()))?)
            }
            DeValue::Float(number) => {
                let number: Option<f64> = number.to_string().parse().ok();
                let number = number.filter(|number| number.is_finite());
                json!(number.ok_or_else(|| self.wrong(at, "expected a finite number".into()))?)
            }
            DeValue::Array(list) => {
                let list = list.iter().map(|item| self.value(item, depth + 1));
                Value::Array(list.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => {
                let mut map = Map::new();
                for (key, value) in table {
                    let mut json = self.value(value, depth + 1)?;
                    // Keras wants a name of what lies inside of a layer too.
                    match key.get_ref().as_ref() {
                        "layer" | "backward_layer" | "cell" => name_all([&mut json]),
                        "cells" => name_all(json.as_array_mut().into_iter().flatten()),
                        _ => {}
                    }
                    map.insert(key.get_ref().to_string(), json);
                }
                match map.shift_remove("class") {
                    None => Value::Object(map),
                    Some(class) => {
                        // Keras's default, where a configuration of Keras always says it.
                        if class == "Bidirectional" {
                            map.entry("merge_mode").or_insert(json!("concat"));
                        }
                        if class == "Rescaling" {
                            map.entry("offset").or_insert(json!(0.0));
                        }
                        json!({"class_name": class, "config": map})
                    }
                }
            }
            DeValue::Datetime(_) => {
                return Err(self.wrong(at, "no option of Keras is a date".into()));
            }
        })
    }

    fn wrong(&self, at: usize, what: String) -> FileError {
        let before = self.text.get(..at).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        FileError::Unsupported {
            path: self.path.into(),
            what: format!("line {line}: {what}"),
            remedy: "`ifco init --help` shows such a description".into(),
        }
    }
}

/// Names the layers that nobody named after their classes, as Keras does.
fn name_all<'a>(layers: impl IntoIterator<Item = &'a mut Value>) {
    let mut names = GroupNames::default();
    for layer in layers {
        let class = layer.get("class_name").and_then(Value::as_str);
        let Some(name) = class.map(|class| names.next(class)) else {
            continue;
        };
        if let Some(Value::Object(config)) = layer.get_mut("config") {
            config.entry("name").or_insert(json!(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Result<Model, FileError> {
        let path = Path::new("net.toml");
        let json = Reader { text, path }.model()?;
        Model::from_config(&json, Generation::Keras3).map_err(|error| FileError::model(path, error))
    }

    #[test]
    fn layers_on_each_other() {
        let text = r#"
            input = ["any", 3]
            [[layers]]
            class = "Bidirectional"
            layer = { class = "LSTM", units = 4, return_sequences = true }
            [[layers]]
            class = "Dense"
            units = 2
            activation = "relu"
            kernel_initializer = { class = "Constant", value = 0.5 }
            [[layers]]
            class = "Dense"
            units = 1
            [compile]
            loss = "mse"
        "#;
        let mut model = described(text).unwrap();
        let names: Vec<&str> = model.layers().iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["input", "bidirectional", "dense", "dense_1"]);
        ifco_train::initialize(&mut model, 0).unwrap();
        let weights = model.weights().unwrap();
        assert!(weights[6].iter().all(|w| *w == 0.5));
        assert_eq!(crate::compile_config(&model).unwrap()["loss"], "mse");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let deep = format!("input = {}3{}\n", "[".repeat(60), "]".repeat(60));
        for (text, what) in [
            ("input = [3]", "there are no layers"),
            ("layers = []", "there is no input"),
            ("\ninputs = [3]", "line 2: \"inputs\" is not known"),
            ("input = 3\nlayers = [1]", "expected a list of sizes"),
            ("input = [0]\nlayers = [1]", "expected a list of sizes"),
            ("input = [-1]\nlayers = [1]", "expected a list of sizes"),
            (
                "input = [3]\n[[layers]]\nunits = 3",
                "line 2: the layer has no class",
            ),
            (
                "input = [3]\n[[layers]]\nclass = 3",
                "the layer has no class",
            ),
            ("input = [3]\nlayers = [1]", "the layer has no class"),
            ("input = [3]\n[[layers]]\nclass = \"Dense\"", "units"),
            (
                "input = [3]\n[[layers]]\nclass = \"A\"\nx = inf",
                "line 4: expected a finite",
            ),
            (
                "input = [3]\n[[layers]]\nclass = \"A\"\nx = 1979-05-27",
                "is a date",
            ),
            ("input = [", "not valid TOML"),
            (&deep, ""),
        ] {
            let error = described(text).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
