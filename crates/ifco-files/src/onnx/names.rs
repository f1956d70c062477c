//! Names of layers from names of nodes: exporters write paths such as `/encoder/lstm/LSTM`,
//! nothing at all, or one name twice.

use std::collections::HashMap;

/// Operators around the one that gives a layer its name.
const MOVES: [&str; 8] = [
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Shape",
    "Slice",
    "Cast",
    "Identity",
    "Expand",
];

/// Hands out names that differ.
#[derive(Debug, Default)]
pub(super) struct Names {
    used: HashMap<String, usize>,
}

impl Names {
    /// A name for a node of this operator: its own without the path's end that only repeats the
    /// operator, `encoder.lstm`; without a name, the operator's.
    pub fn of_node(&mut self, name: &str, op: &str) -> String {
        let parts = name.split('/').filter(|part| !part.is_empty());
        let mut parts: Vec<&str> = parts.collect();
        let repeats = |part: &str| {
            let part = part.trim_end_matches(|c: char| c.is_ascii_digit());
            part.trim_end_matches('_').eq_ignore_ascii_case(op)
        };
        // A number after it tells apart what has the same path. What only moves axes leaves the
        // short name to what computes.
        let moves = MOVES.contains(&op);
        if !moves && parts.len() > 1 && parts.last().is_some_and(|part| repeats(part)) {
            parts.pop();
        }
        // TensorFlow's: the path before it is that of the layer.
        if op == "Loop" && parts.len() > 1 && parts.last() == Some(&"while_loop") {
            parts.pop();
        }
        let name = match parts.is_empty() {
            true => op.to_ascii_lowercase(),
            false => parts.join("."),
        };
        self.distinct(&name)
    }

    /// This name, or with `_1`, `_2`, … behind it.
    pub fn distinct(&mut self, name: &str) -> String {
        let mut chosen = name.to_owned();
        while let Some(count) = self.used.get_mut(&chosen) {
            *count += 1;
            let count = *count;
            chosen = format!("{name}_{count}");
            if !self.used.contains_key(&chosen) {
                break;
            }
            chosen = name.to_owned();
        }
        self.used.insert(chosen.clone(), 0);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names_and_differ() {
        let mut names = Names::default();
        assert_eq!(names.of_node("/encoder/lstm/LSTM", "LSTM"), "encoder.lstm");
        assert_eq!(
            names.of_node("/encoder/lstm/LSTM_1", "LSTM"),
            "encoder.lstm_1"
        );
        assert_eq!(
            names.of_node("head/Transpose", "Transpose"),
            "head.Transpose"
        );
        assert_eq!(names.of_node("head", "LSTM"), "head");
        assert_eq!(names.of_node("", "Gemm"), "gemm");
        assert_eq!(names.of_node("", "Gemm"), "gemm_1");
        assert_eq!(names.of_node("gemm_1", "Gemm"), "gemm_1_1");
        assert_eq!(names.of_node("", "Gemm"), "gemm_2");
        assert_eq!(names.of_node("LSTM_7", "LSTM"), "LSTM_7");
    }
}
