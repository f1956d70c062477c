//! The small TOML with which a user corrects what is assumed of a file of weights alone.
//!
//! ```toml
//! state_dict = "model"                  # the key of the weights in a checkpoint
//! order = ["embedding", "lstm", "fc"]   # the modules, as the data goes through them
//! unused = ["decoder"]                  # modules that have no part in it
//!
//! [modules.lstm]
//! take = "last"
//! [modules.fc]
//! activation = "sigmoid"
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::module::Kind;
use crate::{FileError, Limits};

/// What the user told.
#[derive(Debug, Default)]
pub(crate) struct Spec {
    pub state_dict: Option<String>,
    pub(super) order: Option<Vec<String>>,
    pub(super) unused: Vec<String>,
    pub(super) modules: BTreeMap<String, ModuleSpec>,
}

/// What the user told of one module.
#[derive(Debug, Default, Clone)]
pub(crate) struct ModuleSpec {
    pub kind: Option<Kind>,
    pub take: Option<Take>,
    /// After it.
    pub activation: Option<String>,
    /// Of an `nn.RNN`.
    pub nonlinearity: Option<String>,
    pub eps: Option<f64>,
    /// What TensorFlow 1 adds to an LSTM's forget gate as the model runs.
    pub forget_bias: Option<f32>,
    /// Of a GRU without bias, whose weights are the same either way.
    pub reset_after: Option<bool>,
    pub stride: Option<usize>,
    pub padding: Option<usize>,
    pub dilation: Option<usize>,
    /// Of a convolution that comes first; elsewhere its weights tell.
    pub groups: Option<usize>,
}

/// What of a recurrent module's or a convolution's outputs goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// Every step: `out`.
    All,
    /// The last step: `out[:, -1]`.
    Last,
    /// The last state of each direction: `h_n` of the last layer.
    Hidden,
    /// `out.mean(1)`.
    Mean,
    /// `out.max(1)`.
    Max,
}

const TAKES: [(&str, Take); 5] = [
    ("all", Take::All),
    ("last", Take::Last),
    ("hidden", Take::Hidden),
    ("mean", Take::Mean),
    ("max", Take::Max),
];

/// PyTorch's functions by the names in `torch.nn.functional`, and Keras's where they differ.
pub(crate) const ACTIVATIONS: [(&str, &str); 19] = [
    ("none", "linear"),
    ("relu", "relu"),
    ("relu6", "relu6"),
    ("leaky_relu", "leaky_relu"),
    ("elu", "elu"),
    ("selu", "selu"),
    ("celu", "celu"),
    ("gelu", "gelu"),
    ("silu", "silu"),
    ("mish", "mish"),
    ("sigmoid", "sigmoid"),
    ("tanh", "tanh"),
    ("softplus", "softplus"),
    ("softsign", "softsign"),
    ("logsigmoid", "log_sigmoid"),
    ("hardtanh", "hard_tanh"),
    ("hardsigmoid", "hard_sigmoid"),
    ("softmax", "softmax"),
    ("log_softmax", "log_softmax"),
];

impl Spec {
    /// Reads the TOML `text`.
    pub fn parse(text: &str, path: &Path, limits: &Limits) -> Result<Self, FileError> {
        if text.len() as u64 > limits.json {
            return Err(FileError::Limit {
                path: path.into(),
                what: "the TOML".into(),
                found: text.len() as u64,
                limit: limits.json,
                field: "json",
            });
        }
        let reader = Reader { text, path };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            reader.wrong(&at, format!("this is not valid TOML: {}", error.message()))
        })?;
        let mut spec = Self::default();
        for (key, value) in table.get_ref() {
            match key.get_ref().as_ref() {
                "state_dict" => spec.state_dict = Some(reader.text(value)?.to_owned()),
                "order" => spec.order = Some(reader.texts(value)?),
                "unused" => spec.unused = reader.texts(value)?,
                "modules" => {
                    for (name, module) in reader.table(value)? {
                        let name = name.get_ref().to_string();
                        spec.modules.insert(name, reader.module(module)?);
                    }
                }
                other => {
                    let known = "state_dict, order, unused, modules";
                    return Err(reader.unknown(&key.span(), other, known));
                }
            }
        }
        Ok(spec)
    }

    pub(super) fn module(&self, name: &str) -> ModuleSpec {
        self.modules.get(name).cloned().unwrap_or_default()
    }
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn wrong(&self, at: &Range<usize>, what: String) -> FileError {
        let before = self.text.get(..at.start).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        FileError::Unsupported {
            path: self.path.into(),
            what: format!("line {line}: {what}"),
            remedy: "docs/formats.md in ifco's repository tells what may stand in a spec".into(),
        }
    }

    fn unknown(&self, at: &Range<usize>, found: &str, known: &str) -> FileError {
        self.wrong(at, format!("{found:?} is not known; there are: {known}"))
    }

    fn text<'v>(&self, value: &'v Value<'_>) -> Result<&'v str, FileError> {
        let text = value.get_ref().as_str();
        text.ok_or_else(|| self.wrong(&value.span(), "expected a text in quotes".into()))
    }

    fn texts(&self, value: &Value<'_>) -> Result<Vec<String>, FileError> {
        let wrong = || self.wrong(&value.span(), "expected a list of texts".into());
        let list = value.get_ref().as_array().ok_or_else(wrong)?;
        list.iter()
            .map(|text| self.text(text).map(str::to_owned))
            .collect()
    }

    fn table<'v, 't>(&self, value: &'v Value<'t>) -> Result<&'v DeTable<'t>, FileError> {
        let table = value.get_ref().as_table();
        table.ok_or_else(|| self.wrong(&value.span(), "expected a table".into()))
    }

    fn number<T: std::str::FromStr>(&self, value: &Value<'_>) -> Result<T, FileError> {
        let text = match value.get_ref() {
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            _ => None,
        };
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| self.wrong(&value.span(), "expected a number".into()))
    }

    /// A text that must be one of some.
    fn one_of<T: Copy>(&self, value: &Value<'_>, known: &[(&str, T)]) -> Result<T, FileError> {
        let text = self.text(value)?;
        let found = known.iter().find(|(name, _)| *name == text);
        found.map(|(_, meant)| *meant).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            self.unknown(&value.span(), text, &names.join(", "))
        })
    }

    fn module(&self, value: &Value<'_>) -> Result<ModuleSpec, FileError> {
        let mut spec = ModuleSpec::default();
        for (key, value) in self.table(value)? {
            match key.get_ref().as_ref() {
                "kind" => spec.kind = Some(self.one_of(value, &Kind::NAMED)?),
                "take" => spec.take = Some(self.one_of(value, &TAKES)?),
                "activation" => {
                    spec.activation = Some(self.one_of(value, &ACTIVATIONS)?.to_owned());
                }
                "nonlinearity" => {
                    let known = [("tanh", "tanh"), ("relu", "relu")];
                    spec.nonlinearity = Some(self.one_of(value, &known)?.to_owned());
                }
                "eps" => spec.eps = Some(self.number(value)?),
                "forget_bias" => spec.forget_bias = Some(self.number(value)?),
                "reset_after" => {
                    let told = value.get_ref().as_bool();
                    let wrong = || self.wrong(&value.span(), "expected true or false".into());
                    spec.reset_after = Some(told.ok_or_else(wrong)?);
                }
                "stride" => spec.stride = Some(self.number(value)?),
                "padding" => spec.padding = Some(self.number(value)?),
                "dilation" => spec.dilation = Some(self.number(value)?),
                "groups" => spec.groups = Some(self.number(value)?),
                other => {
                    let known = "kind, take, activation, nonlinearity, eps, forget_bias, \
                                 reset_after, stride, padding, dilation, groups";
                    return Err(self.unknown(&key.span(), other, known));
                }
            }
        }
        Ok(spec)
    }
}
