//! What `ifco fit` tells at the end: how the model does beside what one can say without it.

use std::path::Path;

use ifco::tasks::Recipe;
use serde_json::{Map, Value, json};

use super::{Fitted, Options};
use crate::failure::Failure;
use crate::output::{count, json_number, print, short, table, thousands};

/// A number that tells how good something is.
pub struct Score {
    /// `mae`: the key in the JSON.
    pub key: &'static str,
    /// `MAE`: above the column.
    pub name: &'static str,
    pub value: f64,
    /// Shares are told in percent.
    pub is_share: bool,
}

impl Score {
    pub fn of(key: &'static str, name: &'static str, value: f64) -> Self {
        Self {
            key,
            name,
            value,
            is_share: false,
        }
    }

    pub fn share(key: &'static str, name: &'static str, value: f64) -> Self {
        Self {
            is_share: true,
            ..Self::of(key, name, value)
        }
    }

    fn text(&self) -> String {
        match self.is_share {
            true => format!("{:.2} %", self.value * 100.0),
            false => short(self.value),
        }
    }
}

/// The model, or a way to do without.
pub struct Judged {
    /// `last_value`: the key in the JSON.
    pub key: &'static str,
    /// What it is called in the table.
    pub name: String,
    pub scores: Vec<Score>,
}

pub struct Report<'a> {
    pub recipe: &'a Recipe,
    /// What the samples are: `window`.
    pub unit: &'static str,
    /// How many train, validate and test.
    pub samples: [usize; 3],
    /// The model first.
    pub judged: Vec<Judged>,
    /// What may help when the model does no better than without one.
    pub advice: &'static str,
    /// The next command to type, and what it does.
    pub next: (String, &'static str),
}

impl Judged {
    /// Whether its first score is better than that of `other`: a larger share, or a smaller error.
    fn beats(&self, other: &Judged) -> bool {
        match (self.scores.first(), other.scores.first()) {
            (Some(own), Some(other)) if own.is_share => own.value > other.value,
            (Some(own), Some(other)) => own.value < other.value,
            _ => true,
        }
    }
}

impl Report<'_> {
    /// The ways to do without that are no worse than the model.
    fn unbeaten(&self) -> impl Iterator<Item = &Judged> {
        let (model, others) = match self.judged.split_first() {
            Some((model, others)) => (Some(model), others),
            None => (None, &[][..]),
        };
        others
            .iter()
            .filter(move |other| model.is_some_and(|model| !model.beats(other)))
    }

    pub fn print(&self, options: &Options, fitted: &Fitted, output: &Path) -> Result<(), Failure> {
        let layers = fitted.model().layers().iter();
        let parameters: usize = layers.filter_map(|layer| layer.parameters).sum();
        match options.json {
            true => print(&format!("{}\n", self.json(fitted, output, parameters))),
            false => print(&self.text(fitted, output, parameters)),
        }
    }

    fn json(&self, fitted: &Fitted, output: &Path, parameters: usize) -> Value {
        let finished = &fitted.finished;
        let of_one = |judged: &Judged| {
            let scores = judged.scores.iter();
            let scores = scores.map(|score| (score.key.into(), json_number(score.value)));
            (judged.key.to_owned(), Value::Object(scores.collect()))
        };
        let scores: Map<String, Value> = self.judged.iter().map(of_one).collect();
        let [train, validation, test] = self.samples;
        json!({
            "schema": 1,
            "file": output.display().to_string(),
            "task": self.recipe.task(),
            "parameters": parameters,
            "samples": {"train": train, "validation": validation, "test": test},
            "epochs": finished.epochs,
            "steps": finished.steps,
            "seconds": fitted.seconds,
            "stopped": finished.stopped.is_some(),
            "best": finished.best.map(|(epoch, value)| json!({
                "epoch": epoch + 1, "val_loss": json_number(value),
            })),
            "judged_on": self.judged_on(),
            "scores": scores,
            "unbeaten": self.unbeaten().map(|judged| judged.key).collect::<Vec<_>>(),
            "next": self.next.0,
        })
    }

    /// Data too few for a test leave the part that chose the epoch, which flatters.
    fn judged_on(&self) -> &'static str {
        match self.samples[2] {
            0 => "validation",
            _ => "test",
        }
    }

    fn text(&self, fitted: &Fitted, output: &Path, parameters: usize) -> String {
        let finished = &fitted.finished;
        let [train, validation, test] = self.samples;
        let stopped = match finished.stopped {
            Some((epoch, step)) => format!(", stopped in step {} of epoch {}", step + 1, epoch + 1),
            None => String::new(),
        };
        let best = finished.best.map_or(String::new(), |(epoch, _)| {
            format!("; the weights are those of epoch {}", epoch + 1)
        });
        let judged = match test {
            0 => format!(
                "there is no test part: judged on the {} that chose the epoch, which flatters",
                many(validation, self.unit)
            ),
            test => format!("tested on {}", many(test, self.unit)),
        };
        let first = self.judged.first();
        let names = first.into_iter().flat_map(|judged| &judged.scores);
        let header: Vec<&str> = [""].into_iter().chain(names.map(|s| s.name)).collect();
        let columns: Vec<usize> = (1..header.len()).collect();
        let row = |judged: &Judged| {
            let scores = judged.scores.iter().map(Score::text);
            [judged.name.clone()].into_iter().chain(scores).collect()
        };
        let rows = self.judged.iter().map(row).collect();
        let unbeaten: Vec<&str> = self.unbeaten().map(|judged| &judged.name[..]).collect();
        let advice = match unbeaten[..] {
            [] => String::new(),
            _ => format!(
                "no better than {}: {}\n\n",
                unbeaten.join(", "),
                self.advice
            ),
        };
        format!(
            "\n{}: {}\n\
             {} parameters, trained on {} for {} in {:.1} s{stopped}{best}\n\
             {judged}\n\n{}\n{advice}next: {}\n      {}\n",
            output.display(),
            self.recipe.summary(),
            thousands(parameters),
            many(train, self.unit),
            count(finished.epochs, "epoch"),
            fitted.seconds,
            table(&header, &columns, rows),
            self.next.0,
            self.next.1,
        )
    }
}

fn many(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{} {what}s", thousands(number)),
    }
}

/// A file's name as it is typed in a shell.
pub fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,=@%".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_a_shell() {
        assert_eq!(typed(Path::new("a/b_1.csv")), "a/b_1.csv");
        assert_eq!(typed(Path::new("it's here.csv")), "'it'\\''s here.csv'");
    }
}
