//! How exactly the weights of recurrent layers are kept while they run.

use std::fmt;
use std::str::FromStr;

/// How a recurrent layer keeps its weights while it runs. Sums, states, biases and activations
/// are `f32` in any case, and so are the weights that [`Cell`](crate::Cell) shows.
///
/// Fewer bits are faster and less exact; how much less depends on the weights and the inputs:
/// compare the outputs. It is never chosen unless asked for.
///
/// ```
/// use ifco_cell::Precision;
///
/// assert_eq!(Precision::default(), Precision::F32);
/// assert_eq!("bf16".parse(), Ok(Precision::Bf16));
/// assert_eq!(Precision::Int8.to_string(), "int8");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// The weights as they are.
    #[default]
    F32,
    /// Weights rounded to bf16: the exponent of `f32`, and 8 significant bits. Where the CPU
    /// multiplies bf16 itself (AVX-512 BF16), x and h are rounded to bf16 too, each time they are
    /// multiplied.
    Bf16,
    /// Weights rounded to 8-bit integers with a scale for each column (each gate of each unit),
    /// multiplied with x and h rounded to 8-bit integers with a scale for each sequence and step.
    Int8,
}

impl Precision {
    /// All of them, the most exact first.
    ///
    /// ```
    /// use ifco_cell::Precision;
    /// let names = Precision::ALL.map(Precision::name);
    /// assert_eq!(names, ["f32", "bf16", "int8"]);
    /// ```
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

    /// `"f32"`, `"bf16"` or `"int8"`.
    ///
    /// ```
    /// assert_eq!(ifco_cell::Precision::Bf16.name(), "bf16");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no precision has.
///
/// ```
/// use ifco_cell::Precision;
///
/// let error = "fp16".parse::<Precision>().unwrap_err();
/// assert_eq!(error.to_string(), "no precision \"fp16\", expected f32, bf16 or int8");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no precision {name:?}, expected f32, bf16 or int8")]
pub struct PrecisionError {
    /// The name.
    pub name: String,
}

impl FromStr for Precision {
    type Err = PrecisionError;

    fn from_str(name: &str) -> Result<Self, PrecisionError> {
        let found = Precision::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| PrecisionError { name: name.into() })
    }
}
