//! The page as one file, with its data inside.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::flow::FITTING;
use super::planes::{Scale, Shows, bytes, planes};
use super::run::{Run, Steps};
use super::{Page, PageError, assets, facts};

/// What the numbers in a file may take, before they are written as text: the page must open fast.
const MOST_BYTES: usize = 12 << 20;

/// Stretches of time in a heat map: more than a screen has columns are of no use.
const MOST_BINS: usize = 1000;

/// The numbers that go along, until there is no more room.
#[derive(Default)]
struct Blobs {
    bytes: usize,
    blobs: Map<String, Value>,
    left_out: Vec<String>,
}

impl Blobs {
    fn room(&self) -> usize {
        MOST_BYTES.saturating_sub(self.bytes)
    }

    fn put(&mut self, name: String, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.blobs
            .insert(name, BASE64_STANDARD.encode(bytes).into());
    }
}

impl Page {
    /// The page as one file of HTML that needs nothing else: no server, no network. It holds the run
    /// that the page begins with. Editing the input needs the engine, so the file only shows it.
    ///
    /// Of large models not everything fits: weights and traces are written until about 12 MB are
    /// full, the rest is left out, and the page says what.
    ///
    /// # Errors
    /// When the model cannot run on the page's input.
    pub fn export(&self) -> Result<String, PageError> {
        self.export_watched(&mut |_, _| {})
    }

    /// As [`export`](Self::export), telling `told` how many of how many parts of the work are done.
    ///
    /// # Errors
    /// As for [`export`](Self::export).
    pub fn export_watched(&self, told: &mut dyn FnMut(usize, usize)) -> Result<String, PageError> {
        // The run, the heat maps, the gradient, each cell's weights, the steps, their gradients.
        let parts = self.cells().len() + 5;
        let mut done = 0;
        let mut tell = || {
            done += 1;
            told(done, parts);
        };
        let mut info = self.facts();
        let mut blobs = Blobs::default();
        let run = self.lock().first();
        tell();
        let mut flow = Value::Null;
        // Heat maps first: they are small, and most of what there is to see.
        if let Some(run) = &run {
            info["run"] = self.run_facts(run);
            self.put_planes(run, &mut blobs);
            tell();
            flow = self.put_flow(run, &mut blobs);
            tell();
        }
        for (index, (path, cell)) in self.cells().iter().enumerate() {
            tell();
            let numbers = facts::weights(cell);
            if numbers.len() * size_of::<f32>() > blobs.room() {
                blobs.left_out.push(format!(
                    "the weights of {path}: its packing, and the sums of its steps"
                ));
                continue;
            }
            blobs.put(format!("weights/{index}"), &bytes(numbers.iter()));
        }
        if let Some(run) = &run {
            put_steps(run, &mut blobs);
            tell();
            put_flow_steps(run, &mut blobs);
            tell();
        }
        let data = json!({
            "info": info,
            "flow": flow,
            "blobs": blobs.blobs,
            "left_out": blobs.left_out,
        });
        Ok(html(&data))
    }

    fn put_planes(&self, run: &Run, blobs: &mut Blobs) {
        let progress = run.progress();
        let count = progress.traces().len();
        for (index, (name, passage)) in progress.traces().iter().enumerate() {
            // An equal share of half the room for each trace.
            let cell = passage.cell();
            let arrays = cell.kind().trace_names().len() + 1;
            let units = cell.units().max(cell.features());
            let share = MOST_BYTES / 2 / count / arrays / units.max(1) / 3;
            let time = progress.time(index);
            let bins = time.min(MOST_BINS).min(share);
            if bins == 0 {
                blobs.left_out.push(format!("the heat maps of {name}"));
                continue;
            }
            for array in 0..arrays {
                if let Some((name, values)) = progress.array(index, array) {
                    let scale = Scale::of(name, progress.extent(index, array));
                    let bytes = planes(&values, 0..time, bins, 0..bins, scale, &Shows::ALL);
                    blobs.put(format!("planes/{index}/{array}"), &bytes);
                }
            }
        }
    }
}

impl Page {
    /// The gradients of what fits the model's output: their heat maps, and what is told of each
    /// trace.
    fn put_flow(&self, run: &Run, blobs: &mut Blobs) -> Value {
        let flow = match self.flow(run, FITTING) {
            Ok(flow) => flow,
            Err(error) => {
                blobs.left_out.push(format!("the gradient ({error})"));
                return Value::Null;
            }
        };
        let progress = run.progress();
        let traces = progress.traces().iter().enumerate();
        let told = traces.map(|(index, (path, _))| {
            let (sizes, mut facts) = (flow.sizes(path)?, flow.facts(path)?);
            let values = sizes.iter().map(|(array, _)| array.ncols()).sum::<usize>();
            let share = MOST_BYTES / 8 / progress.traces().len() / values.max(1);
            if share == 0 {
                blobs.left_out.push(format!("the gradient of {path}"));
                return None;
            }
            let mut maps = Vec::new();
            for (array, scale) in &sizes {
                let time = array.nrows();
                let bins = time.min(MOST_BINS).min(share);
                let values = Steps::of(array.view());
                let shows = &[Shows::Largest];
                maps.extend(planes(&values, 0..time, bins, 0..bins, *scale, shows));
            }
            blobs.put(format!("flow/{index}"), &maps);
            // What has a gradient has this too; a model may be too large for it.
            facts["parts"] = self.parts(run, FITTING, path).unwrap_or_default();
            Some(facts)
        });
        told.map(|facts| facts.unwrap_or_default()).collect()
    }
}

/// The exact numbers of the gradients, as many as there is room for.
fn put_flow_steps(run: &Run, blobs: &mut Blobs) {
    let Some(flow) = run.flow(FITTING) else {
        return;
    };
    let progress = run.progress();
    let count = progress.traces().len();
    for (index, (path, _)) in progress.traces().iter().enumerate() {
        let share = blobs.room() / (count - index);
        let steps = (0..).map_while(|step| flow.step(path, step));
        let numbers = as_many_as(steps, share);
        blobs.put(format!("flowsteps/{index}"), &bytes(numbers.iter()));
    }
}

/// The numbers of the first steps that are not larger than so many bytes together.
fn as_many_as(steps: impl Iterator<Item = Vec<f32>>, most: usize) -> Vec<f32> {
    let mut numbers = Vec::new();
    for step in steps {
        if (numbers.len() + step.len()) * size_of::<f32>() > most {
            break;
        }
        numbers.extend(step);
    }
    numbers
}

/// Exact numbers, step after step from the first, as many as there is room for.
fn put_steps(run: &Run, blobs: &mut Blobs) {
    let progress = run.progress();
    let count = progress.traces().len();
    for (index, (name, _)) in progress.traces().iter().enumerate() {
        let share = blobs.room() / (count - index);
        let each = progress.step(index, 0).map_or(1, |step| step.len());
        let steps = (0..).map_while(|step| progress.step(index, step));
        let numbers = as_many_as(steps, share);
        let steps = numbers.len() / each.max(1);
        let time = progress.time(index);
        if steps < time {
            blobs.left_out.push(format!(
                "exact numbers of {name} after its first {steps} of {time} steps"
            ));
        }
        blobs.put(format!("steps/{index}"), &bytes(numbers.iter()));
    }
}

fn html(data: &Value) -> String {
    // The end of a script, or the beginning of a comment, in a layer's name would be HTML's.
    let data = data.to_string().replace('<', "\\u003c");
    let (script, css) = (assets::script(), assets::css());
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; \
         form-action 'none'",
        hash(&script),
        hash(&css),
    );
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n<style>{css}</style>"
    );
    let data = format!("<script type=\"application/json\" id=\"data\">{data}</script>");
    assets::html(&head, &data, &format!("<script>{script}</script>"))
}

/// The one inline script, or style, that the page's policy lets pass.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}
