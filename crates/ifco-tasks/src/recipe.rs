//! What travels with a model: `ifco.json` inside of a `.keras`.
//!
//! ```json
//! {"ifco": 1, "task": "forecast", "columns": ["load", "OT"], "target": 1, "window": 96, "horizon": 24}
//! {"ifco": 1, "task": "generate", "level": "char", "vocabulary": ["\n", " ", "a"]}
//! {"ifco": 1, "task": "tag", "words": ["go"], "endings": ["go"], "shapes": ["Xx"], "tags": ["VERB"]}
//! {"ifco": 1, "task": "classify", "text": {"column": "review", "level": "word", "vocabulary": ["good"],
//!  "length": 200}, "label": "mood", "labels": ["sad", "glad"]}
//! {"ifco": 1, "task": "classify", "series": ["t0", "t1"], "label": "kind", "labels": ["a", "b"]}
//! {"ifco": 1, "task": "classify", "series": [["x0", "x1"], ["y0", "y1"]], "label": "kind", "labels": ["a", "b"]}
//! {"ifco": 1, "task": "classify", "recordings": {"id": "run", "time": "second", "channels": ["x", "y"]},
//!  "label": "kind", "labels": ["a", "b"]}
//! ```

use serde_json::{Map, Value, json};

use crate::RecipeError;
use crate::classify::{Classify, Told};
use crate::forecast::Forecast;
use crate::generate::Generate;
use crate::tag::Tag;
use crate::text::{Level, Vocabulary};

/// What a model was trained for, and how raw data become its inputs.
///
/// ```
/// use ifco_tasks::Recipe;
///
/// let json = serde_json::json!({"ifco": 1, "task": "forecast", "columns": ["OT"], "target": 0,
///     "window": 96, "horizon": 24});
/// let recipe = Recipe::from_json(&json)?;
/// assert_eq!(recipe.task(), "forecast");
/// assert_eq!(recipe.to_json(), json);
/// # Ok::<(), ifco_tasks::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// The next values of a series.
    Forecast(Forecast),
    /// The next pieces of a text.
    Generate(Generate),
    /// A label for each word.
    Tag(Tag),
    /// A label for each sample.
    Classify(Classify),
}

impl Recipe {
    /// Reads what [`to_json`](Self::to_json) writes. It is not trusted: no list is longer and no
    /// text larger than the JSON itself, and numbers are bounded.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn from_json(json: &Value) -> Result<Self, RecipeError> {
        let reader = Reader {
            json,
            place: String::new(),
        };
        if reader.get("ifco").and_then(Value::as_u64) != Some(1) {
            return Err(reader.wrong("ifco", "1, the version of a recipe that this ifco knows"));
        }
        match reader.text("task")?.as_str() {
            "forecast" => {
                let columns = reader.texts("columns")?;
                let below = columns.len() as u64;
                let steps = 1..1 << 24;
                Ok(Self::Forecast(Forecast {
                    target: reader.number("target", 0..below, "the number of a column, from 0")?,
                    window: reader.number("window", steps.clone(), "a number of steps")?,
                    horizon: reader.number("horizon", steps, "a number of steps")?,
                    columns,
                }))
            }
            "generate" => Ok(Self::Generate(Generate {
                level: reader.level()?,
                vocabulary: reader.vocabulary("vocabulary")?,
            })),
            "tag" => {
                let vocabulary = |key| reader.vocabulary(key);
                Ok(Self::Tag(Tag {
                    words: vocabulary("words")?,
                    endings: vocabulary("endings")?,
                    shapes: vocabulary("shapes")?,
                    tags: Vocabulary::from_entries(reader.texts("tags")?),
                }))
            }
            "classify" => Ok(Self::Classify(Classify {
                told: reader.told()?,
                label: reader.text("label")?,
                labels: reader.texts("labels")?,
            })),
            _ => Err(reader.wrong("task", "forecast, generate, tag or classify")),
        }
    }

    /// The recipe as it is kept.
    pub fn to_json(&self) -> Value {
        let mut json = json!({"ifco": 1, "task": self.task()});
        let more = match self {
            Self::Forecast(task) => json!({"columns": task.columns, "target": task.target,
                "window": task.window, "horizon": task.horizon}),
            Self::Generate(task) => json!({"level": task.level.name(),
                "vocabulary": task.vocabulary.entries()}),
            Self::Tag(task) => json!({"words": task.words.entries(),
                "endings": task.endings.entries(), "shapes": task.shapes.entries(),
                "tags": task.tags.entries()}),
            Self::Classify(task) => {
                let mut told = match &task.told {
                    Told::Text {
                        column,
                        level,
                        vocabulary,
                        length,
                    } => json!({"text": {"column": column, "level": level.name(),
                        "vocabulary": vocabulary.entries(), "length": length}}),
                    Told::Series { channels } => match &channels[..] {
                        [steps] => json!({"series": steps}),
                        several => json!({"series": several}),
                    },
                    Told::Recordings { id, time, channels } => json!({"recordings":
                        {"id": id, "time": time, "channels": channels}}),
                };
                told["label"] = json!(task.label);
                told["labels"] = json!(task.labels);
                told
            }
        };
        if let (Value::Object(json), Value::Object(more)) = (&mut json, more) {
            json.extend(more);
        }
        json
    }

    /// The name of the task.
    pub fn task(&self) -> &'static str {
        match self {
            Self::Forecast(_) => "forecast",
            Self::Generate(_) => "generate",
            Self::Tag(_) => "tag",
            Self::Classify(_) => "classify",
        }
    }

    /// What it says, in a line for people.
    ///
    /// ```
    /// use ifco_tasks::{Recipe, forecast::Forecast};
    /// let task = Forecast { columns: vec!["OT".into()], target: 0, window: 96, horizon: 24 };
    /// let text = Recipe::Forecast(task).summary();
    /// assert_eq!(text, "forecasts 24 steps of \"OT\" from 96 steps of 1 column");
    /// ```
    pub fn summary(&self) -> String {
        let count = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            number => format!("{number} {what}s"),
        };
        match self {
            Self::Forecast(task) => format!(
                "forecasts {} of {:?} from {} of {}",
                count(task.horizon, "step"),
                task.columns.get(task.target).map_or("", String::as_str),
                count(task.window, "step"),
                count(task.columns.len(), "column"),
            ),
            Self::Generate(task) => {
                let what = match task.level {
                    Level::Char => "character",
                    Level::Word => "word",
                };
                let known = count(task.vocabulary.entries().len(), what);
                format!("generates text, {what} by {what}; knows {known}")
            }
            Self::Tag(task) => format!(
                "labels each word with one of {}; knows {}",
                count(task.tags.entries().len(), "tag"),
                count(task.words.entries().len(), "word"),
            ),
            Self::Classify(task) => {
                let labels = count(task.labels.len(), "label");
                match &task.told {
                    Told::Text { column, .. } => {
                        format!("labels the text in {column:?} with one of {labels}")
                    }
                    Told::Series { channels } => {
                        let steps = count(channels.first().map_or(0, Vec::len), "step");
                        let of = match channels.len() {
                            1 => String::new(),
                            several => format!(" of {}", count(several, "channel")),
                        };
                        format!("labels a series of {steps}{of} with one of {labels}")
                    }
                    Told::Recordings { id, channels, .. } => format!(
                        "labels the recording of each {id:?}, {}, with one of {labels}",
                        count(channels.len(), "channel")
                    ),
                }
            }
        }
    }
}

/// Reads the keys of an object, and tells where something is wrong.
struct Reader<'a> {
    json: &'a Value,
    place: String,
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.json
            .as_object()
            .and_then(|map: &Map<_, _>| map.get(key))
    }

    fn wrong(&self, key: &str, expected: &str) -> RecipeError {
        let found = self.get(key).map_or("absent".into(), |value| {
            let text = value.to_string();
            let short: String = text.chars().take(60).collect();
            if short.len() < text.len() {
                short + "…"
            } else {
                short
            }
        });
        RecipeError {
            place: format!("{}{key}", self.place),
            found,
            expected: expected.into(),
        }
    }

    /// What a classifier is told.
    fn told(&self) -> Result<Told, RecipeError> {
        let inside = |key: &str| {
            let json = self.get(key)?;
            let place = format!("{key}.");
            Some(Reader { json, place })
        };
        if let Some(text) = inside("text") {
            return Ok(Told::Text {
                column: text.text("column")?,
                level: text.level()?,
                vocabulary: text.vocabulary("vocabulary")?,
                length: text.number("length", 1..1 << 24, "a number of pieces")?,
            });
        }
        if let Some(recordings) = inside("recordings") {
            let has_time = recordings.get("time").is_some_and(|time| !time.is_null());
            return Ok(Told::Recordings {
                id: recordings.text("id")?,
                time: has_time.then(|| recordings.text("time")).transpose()?,
                channels: recordings.texts("channels")?,
            });
        }
        let list = self.get("series").and_then(Value::as_array);
        let list = list.map_or(&[][..], Vec::as_slice);
        if !list.first().is_some_and(Value::is_array) {
            let channels = vec![self.texts("series")?];
            return Ok(Told::Series { channels });
        }
        let channels = list.iter().map(texts).collect::<Option<Vec<_>>>();
        let even = channels.filter(|all| all.iter().all(|steps| steps.len() == all[0].len()));
        let expected = "for each channel a list of as many texts";
        match even {
            Some(channels) => Ok(Told::Series { channels }),
            None => Err(self.wrong("series", expected)),
        }
    }

    fn text(&self, key: &str) -> Result<String, RecipeError> {
        let text = self.get(key).and_then(Value::as_str);
        text.map(str::to_owned)
            .ok_or_else(|| self.wrong(key, "a text"))
    }

    /// Of little data, no piece may have come often enough.
    fn vocabulary(&self, key: &str) -> Result<Vocabulary, RecipeError> {
        match self.get(key).and_then(Value::as_array) {
            Some(list) if list.is_empty() => Ok(Vocabulary::from_entries(Vec::new())),
            _ => self.texts(key).map(Vocabulary::from_entries),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, RecipeError> {
        let found = self.get(key).and_then(texts);
        found.ok_or_else(|| self.wrong(key, "a list of texts"))
    }

    fn number(
        &self,
        key: &str,
        range: std::ops::Range<u64>,
        expected: &str,
    ) -> Result<usize, RecipeError> {
        let number = self.get(key).and_then(Value::as_u64);
        let number = number.filter(|number| range.contains(number));
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| self.wrong(key, expected))
    }

    fn level(&self) -> Result<Level, RecipeError> {
        let level = self.text("level")?;
        level
            .parse()
            .map_err(|expected: String| self.wrong("level", &expected))
    }
}

/// A list of texts that is not empty.
fn texts(list: &Value) -> Option<Vec<String>> {
    let texts = list.as_array()?.iter();
    let texts = texts.map(|text| text.as_str().map(str::to_owned));
    let texts = texts.collect::<Option<Vec<String>>>()?;
    (!texts.is_empty()).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for json in [
            json!({"ifco": 1, "task": "generate", "level": "char", "vocabulary": ["\n", "a"]}),
            json!({"ifco": 1, "task": "tag", "words": ["go"], "endings": ["go"],
                "shapes": ["Xx"], "tags": ["VERB"]}),
            json!({"ifco": 1, "task": "classify", "text": {"column": "c", "level": "word",
                "vocabulary": ["good"], "length": 9}, "label": "l", "labels": ["a", "b"]}),
            json!({"ifco": 1, "task": "classify", "series": ["t0"], "label": "l",
                "labels": ["a", "b"]}),
            json!({"ifco": 1, "task": "classify", "series": [["x0", "x1"], ["y0", "y1"]],
                "label": "l", "labels": ["a", "b"]}),
            json!({"ifco": 1, "task": "classify", "recordings": {"id": "i", "time": null,
                "channels": ["x"]}, "label": "l", "labels": ["a", "b"]}),
            json!({"ifco": 1, "task": "classify", "recordings": {"id": "i", "time": "t",
                "channels": ["x", "y"]}, "label": "l", "labels": ["a", "b"]}),
        ] {
            let recipe = Recipe::from_json(&json).unwrap();
            assert_eq!(recipe.to_json(), json);
            assert!(!recipe.summary().is_empty());
        }
    }

    #[test]
    fn channels_that_are_none_are_an_error() {
        for (key, value, place) in [
            ("series", json!([["x0", "x1"], ["y0"]]), "series"),
            ("series", json!([[], []]), "series"),
            ("series", json!([["x0"], "y0"]), "series"),
            ("series", json!(["x0", ["y0"]]), "series"),
            ("recordings", json!({"channels": ["x"]}), "recordings.id"),
            (
                "recordings",
                json!({"id": "i", "channels": []}),
                "recordings.channels",
            ),
            (
                "recordings",
                json!({"id": "i", "time": 1, "channels": ["x"]}),
                "recordings.time",
            ),
            ("recordings", json!(7), "recordings.id"),
        ] {
            let mut json = json!({"ifco": 1, "task": "classify", "label": "l", "labels": ["a"]});
            json[key] = value;
            assert_eq!(Recipe::from_json(&json).unwrap_err().place, place, "{json}");
        }
    }

    #[test]
    fn whatever_else_it_holds_is_an_error() {
        let whole = json!({"ifco": 1, "task": "forecast", "columns": ["a", "b"], "target": 1,
            "window": 4, "horizon": 2});
        let hostile = [
            Value::Null,
            json!(-1),
            json!(2),
            json!(1e300),
            json!(u64::MAX),
            json!(""),
            json!("x".repeat(1 << 20)),
            json!([]),
            json!([1]),
            json!({}),
        ];
        for key in ["ifco", "task", "columns", "target", "window", "horizon"] {
            for value in &hostile {
                if (key, value) == ("window", &json!(2)) || (key, value) == ("horizon", &json!(2)) {
                    continue;
                }
                let mut json = whole.clone();
                json[key] = value.clone();
                let error = Recipe::from_json(&json).unwrap_err();
                assert!(error.place == key || key == "columns", "{key}: {error}");
                assert!(error.to_string().len() < 400, "{error}");
            }
        }
        for json in [json!(null), json!([]), json!(7), json!("ifco")] {
            assert!(Recipe::from_json(&json).is_err());
        }
    }
}
