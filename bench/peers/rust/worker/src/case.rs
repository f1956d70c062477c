//! A case: its folder holds `case.json` and one raw little-endian file for each array, in
//! Keras's layout.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Result;

/// Which cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Gates in the order i f c o.
    Lstm,
    /// Gates in the order z r h; `reset_after=True`.
    Gru,
}

/// What one call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A layer over whole sequences.
    Sequence,
    /// One step of a stream: LSTM and Dense to one output.
    Step,
    /// A whole model: Embedding, LSTM, Dense to one output.
    Model,
    /// A training step of a layer.
    Train,
    /// A training step of a whole model: Embedding, two LSTM, Dense with softmax.
    TrainModel,
}

/// A case and where its files are.
#[derive(Debug, Clone)]
pub struct Case {
    /// The folder of its files.
    pub folder: PathBuf,
    /// How many threads a call may use.
    pub threads: usize,
    /// Which cell.
    pub kind: Kind,
    /// What one call is.
    pub what: What,
    /// Sequences in a call.
    pub batch: usize,
    /// Steps in a sequence.
    pub time: usize,
    /// Input features.
    pub features: usize,
    /// Units.
    pub units: usize,
    /// Reads both ways; the arrays of the second direction begin with `backward_`.
    pub bidirectional: bool,
}

impl Case {
    /// Reads `case.json`.
    pub fn read(folder: &Path, threads: usize) -> Result<Self> {
        let text = fs::read_to_string(folder.join("case.json"))?;
        let json: Value = serde_json::from_str(&text)?;
        let number = |key: &str| {
            let number = json[key].as_u64().ok_or(format!("case.json has no {key}"));
            number.map(|number| number as usize)
        };
        Ok(Self {
            folder: folder.to_path_buf(),
            threads,
            kind: match json["kind"].as_str() {
                Some("gru") => Kind::Gru,
                _ => Kind::Lstm,
            },
            what: match json["what"].as_str() {
                Some("step") => What::Step,
                Some("model") => What::Model,
                Some("train") => What::Train,
                Some("train-model") => What::TrainModel,
                _ => What::Sequence,
            },
            batch: number("batch")?,
            time: number("time")?,
            features: number("features")?,
            units: number("units")?,
            bidirectional: json["bidirectional"].as_bool().unwrap_or(false),
        })
    }

    /// Gates of the cell: columns of `kernel` for each unit.
    pub fn gates(&self) -> usize {
        match self.kind {
            Kind::Lstm => 4,
            Kind::Gru => 3,
        }
    }

    /// The prefix of the arrays' names for each direction.
    pub fn directions(&self) -> &'static [&'static str] {
        if self.bidirectional {
            &["", "backward_"]
        } else {
            &[""]
        }
    }

    /// A float array of the case, such as `kernel`.
    pub fn array(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = fs::read(self.folder.join(format!("{name}.f32")))?;
        let (chunks, _) = bytes.as_chunks::<4>();
        Ok(chunks
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk))
            .collect())
    }

    /// The model's input: indices of words.
    pub fn tokens(&self) -> Result<Vec<i32>> {
        self.indices("tokens")
    }

    /// An array of indices of the case, such as `labels`.
    pub fn indices(&self, name: &str) -> Result<Vec<i32>> {
        let bytes = fs::read(self.folder.join(format!("{name}.i32")))?;
        let (chunks, _) = bytes.as_chunks::<4>();
        Ok(chunks
            .iter()
            .map(|chunk| i32::from_le_bytes(*chunk))
            .collect())
    }

    /// The model in ONNX, time-major.
    pub fn onnx(&self) -> PathBuf {
        self.folder.join("model.onnx")
    }

    /// `(time, batch, features)` from the case's `(batch, time, features)`.
    pub fn time_major(&self, input: &[f32]) -> Vec<f32> {
        let (batch, time, features) = (self.batch, self.time, self.features);
        let mut swapped = Vec::with_capacity(input.len());
        for t in 0..time {
            for b in 0..batch {
                swapped.extend_from_slice(&input[(b * time + t) * features..][..features]);
            }
        }
        swapped
    }

    /// `(batch, time, directions · units)` from ONNX's `(time, directions, batch, units)`.
    pub fn from_onnx(&self, output: &[f32]) -> Vec<f32> {
        let directions = self.directions().len();
        let mut swapped = Vec::with_capacity(output.len());
        for b in 0..self.batch {
            for t in 0..self.time {
                for d in 0..directions {
                    let row = (t * directions + d) * self.batch + b;
                    swapped.extend_from_slice(&output[row * self.units..][..self.units]);
                }
            }
        }
        swapped
    }
}

/// `(columns, rows)` of a row-major `(rows, columns)`.
pub fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let width = matrix.len() / rows;
    let mut swapped = Vec::with_capacity(matrix.len());
    for column in 0..width {
        swapped.extend((0..rows).map(|row| matrix[row * width + column]));
    }
    swapped
}

/// The columns of one gate, `(rows, units)`, of a row-major `(rows, gates · units)`.
pub fn columns(matrix: &[f32], rows: usize, units: usize, gate: usize) -> Vec<f32> {
    let width = matrix.len() / rows;
    let row = |row: usize| &matrix[row * width + gate * units..][..units];
    (0..rows).flat_map(|index| row(index).to_vec()).collect()
}
