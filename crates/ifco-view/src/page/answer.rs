//! A request in, an answer out: the page without a network.

use std::borrow::Cow;
use std::sync::Arc;

use ifco_cell::Cell;
use ifco_model::Unit;
use serde_json::{Value, json};

use super::flow::{Choice, RunFlow};
use super::planes::{Scale, Shows, bytes, curve, picture, planes};
use super::run::{Progress, Run, Steps};
use super::{Page, PageError, assets, facts};
use crate::parts::fused;

/// Bodies of requests are not larger: the text of an input.
pub const LARGEST_BODY: usize = 4 << 20;

/// What a browser asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// What [`Access::check`](super::Access::check) left of the target.
    pub target: &'a str,
    /// What came with it.
    pub body: &'a [u8],
}

/// What it gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP's status code.
    pub status: u16,
    /// Its media type.
    pub media: &'static str,
    /// The content.
    pub body: Cow<'static, [u8]>,
}

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// What the page's browser may do: load from its own server, and nothing else.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

impl Answer {
    fn of(media: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            status: 200,
            media,
            body: body.into(),
        }
    }

    fn json(value: &Value) -> Self {
        Self::of(JSON, value.to_string().into_bytes())
    }

    fn numbers<'a>(numbers: impl ExactSizeIterator<Item = &'a f32>) -> Self {
        Self::of(BYTES, bytes(numbers))
    }

    /// An answer that says what is wrong.
    pub fn error(status: u16, what: impl std::fmt::Display, help: Option<String>) -> Self {
        let value = json!({ "error": what.to_string(), "help": help });
        Self {
            status,
            ..Self::json(&value)
        }
    }
}

/// What is wrong with a request.
enum Wrong {
    NoSuchPage,
    Method(&'static str),
    Parameter(&'static str),
    Gone,
    Body(String),
    Page(PageError),
}

impl From<PageError> for Wrong {
    fn from(error: PageError) -> Self {
        Wrong::Page(error)
    }
}

impl From<Wrong> for Answer {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::NoSuchPage => Answer::error(404, "there is no such page", None),
            Wrong::Method(method) => {
                Answer::error(405, format_args!("this takes {method} alone"), None)
            }
            Wrong::Parameter(name) => {
                let what = format_args!("the parameter {name:?} is missing or out of range");
                Answer::error(400, what, None)
            }
            Wrong::Gone => {
                let help = "run the model again".to_string();
                Answer::error(410, "this run is no longer in memory", Some(help))
            }
            Wrong::Body(why) => Answer::error(400, why, None),
            Wrong::Page(error) => Answer::error(422, &error, error.help()),
        }
    }
}

/// The whole numbers of a query: `run=0&trace=1`.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn number(&self, name: &'static str) -> Result<usize, Wrong> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let mut values = pairs
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        let number = values.next().and_then(|value| value.parse().ok());
        number.ok_or(Wrong::Parameter(name))
    }
}

impl Page {
    /// Answers a request: with the page, its parts and its data, or with what is wrong.
    ///
    /// It never panics, whatever is asked; it takes as long as the model when that has to run.
    ///
    /// ```
    /// use ifco_view::page::{Page, Request};
    ///
    /// let page = Page::of_weights("empty.weights.h5", Vec::new());
    /// let get = |target| page.answer(&Request { method: "GET", target, body: b"" });
    /// assert_eq!(get("").media, "text/html; charset=utf-8");
    /// assert_eq!(get("weights?cell=0").status, 400); // there is no cell 0
    /// ```
    pub fn answer(&self, request: &Request<'_>) -> Answer {
        self.try_answer(request).unwrap_or_else(Answer::from)
    }

    fn try_answer(&self, request: &Request<'_>) -> Result<Answer, Wrong> {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((request.target, ""));
        let query = Query(query);
        match (path, request.method) {
            ("run", "POST") => return self.answer_run(request.body),
            ("run", _) => return Err(Wrong::Method("POST")),
            (_, "GET") => {}
            _ => return Err(Wrong::Method("GET")),
        }
        Ok(match path {
            "" => Answer::of("text/html; charset=utf-8", html().into_bytes()),
            "page.css" => Answer::of("text/css; charset=utf-8", assets::css().into_bytes()),
            "page.js" => Answer::of(
                "text/javascript; charset=utf-8",
                assets::script().into_bytes(),
            ),
            "info" => {
                let mut info = self.facts();
                let first = self.lock().first();
                info["run"] = first.map_or(Value::Null, |run| self.run_facts(&run));
                Answer::json(&info)
            }
            "weights" => Answer::numbers(facts::weights(self.cell_of(&query)?).iter()),
            "column" => self.answer_column(&query)?,
            "down" => self.answer_down(&query)?,
            "picture" => self.answer_picture(&query)?,
            "maps" => self.answer_maps(&query)?,
            "curves" => self.answer_curves(&query)?,
            "raw" => {
                let (run, trace) = self.trace_of(&query)?;
                let values = run.array(trace, query.number("array")?);
                let (_, values) = values.ok_or(Wrong::Parameter("array"))?;
                let numbers: Vec<f32> = values.iter().copied().collect();
                Answer::numbers(numbers.iter())
            }
            "flow" => {
                let (flow, path) = self.flow_of(&query)?;
                let facts = flow.facts(&path);
                Answer::json(&facts.ok_or(Wrong::Parameter("trace"))?)
            }
            "parts" => {
                let (run, choice, path) = self.flow_asked(&query)?;
                Answer::json(&self.parts(&run, choice, &path)?)
            }
            "flowmaps" => self.answer_flow_maps(&query)?,
            "flowstep" => {
                let (flow, path) = self.flow_of(&query)?;
                let numbers = flow.step(&path, query.number("step")?);
                Answer::numbers(numbers.ok_or(Wrong::Parameter("step"))?.iter())
            }
            "step" => {
                let (run, trace) = self.trace_of(&query)?;
                let numbers = run.step(trace, query.number("step")?);
                Answer::numbers(numbers.ok_or(Wrong::Parameter("step"))?.iter())
            }
            _ => return Err(Wrong::NoSuchPage),
        })
    }

    /// A run that is in memory, as far as it is, and the index of one of its traces.
    fn trace_of(&self, query: &Query<'_>) -> Result<(Progress, usize), Wrong> {
        let run = self
            .run_of(query.number("run")? as u64)
            .ok_or(Wrong::Gone)?;
        let progress = run.progress();
        match query.number("trace")? {
            trace if trace < progress.traces().len() => Ok((progress, trace)),
            _ => Err(Wrong::Parameter("trace")),
        }
    }

    /// A run, what of it to go back from, and the name of one of its traces. `of` is what of the output's units
    /// it goes back from: 0 for what fits, 1 the sum, 2 the largest, from 3 on a unit; `at` a step of
    /// the output, 0 for all, counted from 1.
    fn flow_asked(&self, query: &Query<'_>) -> Result<(Arc<Run>, Choice, String), Wrong> {
        let run = self
            .run_of(query.number("run")? as u64)
            .ok_or(Wrong::Gone)?;
        let trace = query.number("trace")?;
        let path = run.lock().traces().get(trace).map(|(path, _)| path.clone());
        let path = path.ok_or(Wrong::Parameter("trace"))?;
        let unit = match query.number("of")? {
            0 => None,
            1 => Some(Unit::Sum),
            2 => Some(Unit::Largest),
            unit => Some(Unit::Number(unit - 3)),
        };
        let step = match query.number("at")?.checked_sub(1) {
            None => None,
            Some(step) => Some(isize::try_from(step).map_err(|_| Wrong::Parameter("at"))?),
        };
        Ok((run, (query.number("output")?, unit, step), path))
    }

    /// The way back that is asked for, and the name of the trace.
    fn flow_of(&self, query: &Query<'_>) -> Result<(Arc<RunFlow>, String), Wrong> {
        let (run, choice, path) = self.flow_asked(query)?;
        Ok((self.flow(&run, choice)?, path))
    }

    /// The heat maps of the gradients, one after the other: of the decimal logarithms of their sizes.
    fn answer_flow_maps(&self, query: &Query<'_>) -> Result<Answer, Wrong> {
        let (flow, path) = self.flow_of(query)?;
        let sizes = flow.sizes(&path).ok_or(Wrong::Parameter("trace"))?;
        let (from, to) = (query.number("from")?, query.number("to")?);
        let bins = query.number("bins")?;
        let mut maps = Vec::new();
        for (array, scale) in &sizes {
            if from >= to || to > array.nrows() {
                return Err(Wrong::Parameter("to"));
            }
            if bins == 0 {
                return Err(Wrong::Parameter("bins"));
            }
            let values = Steps::of(array.view());
            let shows = &[Shows::Largest];
            maps.extend(planes(&values, from..to, bins, 0..bins, *scale, shows));
        }
        Ok(Answer::of(BYTES, maps))
    }

    fn cell_of(&self, query: &Query<'_>) -> Result<&Cell, Wrong> {
        let cells = self.cells();
        let cell = cells.into_iter().nth(query.number("cell")?);
        let (_, cell) = cell.ok_or(Wrong::Parameter("cell"))?;
        Ok(cell)
    }

    /// A unit's weights: of each array by gate, in each row a number for each gate.
    fn answer_column(&self, query: &Query<'_>) -> Result<Answer, Wrong> {
        let cell = self.cell_of(query)?;
        let unit = query.number("unit")?;
        if unit >= cell.units() {
            return Err(Wrong::Parameter("unit"));
        }
        let mut numbers: Vec<f32> = Vec::new();
        for part in fused(cell).iter().filter(|part| part.is_by_gate) {
            for row in part.values.outer_iter() {
                numbers.extend(row.iter().skip(unit).step_by(cell.units()));
            }
        }
        Ok(Answer::numbers(numbers.iter()))
    }

    /// One of the fused arrays as bytes, as many as there are pixels.
    fn answer_picture(&self, query: &Query<'_>) -> Result<Answer, Wrong> {
        let cell = self.cell_of(query)?;
        let parts = fused(cell);
        let part = parts.get(query.number("part")?);
        let part = part.ok_or(Wrong::Parameter("part"))?;
        let most = (query.number("rows")?, query.number("columns")?);
        if most.0 == 0 || most.1 == 0 {
            return Err(Wrong::Parameter("rows"));
        }
        Ok(Answer::of(BYTES, picture(part.values.view(), most)))
    }

    /// A column of one of the fused arrays.
    fn answer_down(&self, query: &Query<'_>) -> Result<Answer, Wrong> {
        let cell = self.cell_of(query)?;
        let parts = fused(cell);
        let part = parts.get(query.number("part")?);
        let part = part.ok_or(Wrong::Parameter("part"))?;
        let column = query.number("column")?;
        if column >= part.values.ncols() {
            return Err(Wrong::Parameter("column"));
        }
        let numbers = part.values.column(column).to_vec();
        Ok(Answer::numbers(numbers.iter()))
    }

    /// The heat maps of all arrays of a trace, or some columns of them, one after the other.
    fn answer_maps(&self, query: &Query<'_>) -> Result<Answer, Wrong> {
        let (run, trace) = self.trace_of(query)?;
        let (from, to) = (query.number("from")?, query.number("to")?);
        if from >= to || to > run.all_time(trace) {
            return Err(Wrong::Parameter("to"));
        }
        let bins = query.number("bins")?;
        if bins == 0 {
            return Err(Wrong::Parameter("bins"));
        }
        let columns = query.number("first")?..query.number("last")?;
        if columns.is_empty() || columns.end > bins {
            return Err(Wrong::Parameter("last"));
        }
        let shows = query.number("shows")?;
        let shows = Shows::ALL
            .get(shows..=shows)
            .ok_or(Wrong::Parameter("shows"))?;
        let names = run.traces()[trace].1.cell().kind().trace_names();
        let mut maps = Vec::new();
        for index in 0..names.len() {
            let values = run.array(trace, index);
            let (name, values) = values.ok_or(Wrong::Parameter("trace"))?;
            let scale = Scale::of(name, run.extent(trace, index));
            let columns = columns.clone();
            maps.extend(planes(&values, from..to, bins, columns, scale, shows));
        }
        Ok(Answer::of(BYTES, maps))
    }

    /// A unit's states at all steps: of each state as many means.
    fn answer_curves(&self, query: &Query<'_>) -> Result<Answer, Wrong> {
        let (run, trace) = self.trace_of(query)?;
        let cell = run.traces()[trace].1.cell();
        let (unit, bins) = (query.number("unit")?, query.number("bins")?);
        if unit >= cell.units() {
            return Err(Wrong::Parameter("unit"));
        }
        if bins == 0 {
            return Err(Wrong::Parameter("bins"));
        }
        let names = cell.kind().trace_names();
        let steps = run.all_time(trace);
        let mut curves = Vec::new();
        // c before h, as in the trace.
        for (index, name) in names.iter().enumerate() {
            if cell.kind().states().contains(name) {
                let values = run.array(trace, index);
                let (_, values) = values.ok_or(Wrong::Parameter("trace"))?;
                curves.extend(curve(&values, steps, unit, bins));
            }
        }
        Ok(Answer::numbers(curves.iter()))
    }

    /// `{"row": 3}` runs a row of the inputs, `{"texts": ["..."], "before": 0}` what was written,
    /// `{"on": 1}` more of a run that is not done.
    fn answer_run(&self, body: &[u8]) -> Result<Answer, Wrong> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Wrong::Body(format!("the request is not JSON: {error}")))?;
        if let Some(id) = body["on"].as_u64() {
            let run = self.run_of(id).ok_or(Wrong::Gone)?;
            self.go_on(&run)?;
            return Ok(Answer::json(&self.progress_facts(&run)));
        }
        let run = if let Some(row) = body["row"].as_u64() {
            self.begin_row(usize::try_from(row).unwrap_or(usize::MAX))?
        } else if let Some(texts) = body["texts"].as_array() {
            let texts = texts.iter().map(|text| text.as_str().map(String::from));
            let texts: Option<Vec<String>> = texts.collect();
            let texts = texts.ok_or_else(|| Wrong::Body("texts are strings".into()))?;
            let before = body["before"].as_u64().and_then(|id| self.run_of(id));
            self.begin_texts(&texts, before.as_deref())?
        } else {
            return Err(Wrong::Body("a run needs a row or texts".into()));
        };
        Ok(Answer::json(&self.run_facts(&run)))
    }
}

fn html() -> String {
    assets::html(
        "<link rel=\"stylesheet\" href=\"page.css\">",
        "",
        "<script src=\"page.js\" defer></script>",
    )
}
