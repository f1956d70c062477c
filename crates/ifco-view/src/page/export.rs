//! The page as one file, with its data inside.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::planes::{Scale, Shows, bytes, planes};
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
    /// When the model cannot run on the page's input, or has a cell that the page cannot show.
    pub fn export(&self) -> Result<String, PageError> {
        self.check()?;
        let mut info = self.facts();
        let mut blobs = Blobs::default();
        let run = self.lock().first();
        // Heat maps first: they are small, and most of what there is to see.
        if let Some(run) = &run {
            info["run"] = self.run_facts(run);
            self.put_planes(run, &mut blobs);
        }
        for (index, (path, cell)) in self.cells().iter().enumerate() {
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
        }
        let data = json!({
            "info": info,
            "blobs": blobs.blobs,
            "left_out": blobs.left_out,
        });
        Ok(html(&data))
    }

    fn put_planes(&self, run: &super::run::Run, blobs: &mut Blobs) {
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

/// Exact numbers, step after step from the first, as many as there is room for.
fn put_steps(run: &super::run::Run, blobs: &mut Blobs) {
    let progress = run.progress();
    let count = progress.traces().len();
    for (index, (name, _)) in progress.traces().iter().enumerate() {
        let share = blobs.room() / (count - index);
        let mut numbers = Vec::new();
        let mut steps = 0;
        while let Some(step) = progress.step(index, steps) {
            if (numbers.len() + step.len()) * size_of::<f32>() > share {
                break;
            }
            numbers.extend(step);
            steps += 1;
        }
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
