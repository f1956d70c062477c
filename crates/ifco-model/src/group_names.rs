//! The names that Keras 3 gives to groups in a weights file: the class in snake case, with a
//! counter where it repeats, and not the layer's own name.

use std::collections::HashMap;

/// Names the items of one container, in order, as Keras 3 names groups and layers that nobody named.
///
/// ```
/// let mut names = ifco_model::GroupNames::default();
/// let named = ["SimpleRNN", "LSTM", "LSTM"].map(|class| names.next(class));
/// assert_eq!(named, ["simple_rnn", "lstm", "lstm_1"]);
/// ```
#[derive(Debug, Default)]
pub struct GroupNames {
    used: HashMap<String, usize>,
}

impl GroupNames {
    /// The name of the next item, which is of this class: `lstm`, `lstm_1`, …
    pub fn next(&mut self, class: &str) -> String {
        let name = to_snake_case(class);
        match self.used.get_mut(&name) {
            Some(count) => {
                *count += 1;
                format!("{name}_{count}")
            }
            None => {
                self.used.insert(name.clone(), 0);
                name
            }
        }
    }
}

/// Keras's rule: a break before a capital that is followed by a small letter, then between a
/// small letter and a capital. `SimpleRNN` is `simple_rnn`, `Conv1D` is `conv1d`.
fn to_snake_case(class: &str) -> String {
    let letters: Vec<char> = class
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let mut broken: Vec<char> = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        broken.push(letters[at]);
        let word = letters[at + 1..].iter().take_while({
            let mut first = true;
            move |c| {
                if std::mem::take(&mut first) {
                    c.is_ascii_uppercase()
                } else {
                    c.is_ascii_lowercase()
                }
            }
        });
        let length = word.count();
        if length >= 2 {
            broken.push('_');
            broken.extend(&letters[at + 1..at + 1 + length]);
            at += length;
        }
        at += 1;
    }
    let mut name = String::new();
    for (index, letter) in broken.iter().enumerate() {
        if index > 0 && broken[index - 1].is_ascii_lowercase() && letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_as_keras_names_them() {
        for (class, name) in [
            ("LSTM", "lstm"),
            ("SimpleRNN", "simple_rnn"),
            ("Conv1D", "conv1d"),
            ("GlobalAveragePooling1D", "global_average_pooling1d"),
            ("TimeDistributed", "time_distributed"),
            ("MultiHeadAttention", "multi_head_attention"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("LSTMCell", "lstm_cell"),
            ("StackedRNNCells", "stacked_rnn_cells"),
            ("ReLU", "re_lu"),
            ("ELU", "elu"),
            ("GRU", "gru"),
        ] {
            assert_eq!(to_snake_case(class), name);
        }
    }

    #[test]
    fn a_repeated_class_gets_a_counter() {
        let mut names = GroupNames::default();
        assert_eq!(names.next("LSTM"), "lstm");
        assert_eq!(names.next("LSTM"), "lstm_1");
        assert_eq!(names.next("Dense"), "dense");
        assert_eq!(names.next("LSTM"), "lstm_2");
    }
}
