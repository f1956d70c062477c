//! A worker of the bench: one process that loads a case, gives its output and times itself.
//!
//! It reads one JSON object a line from stdin and answers each with one on stdout. The protocol
//! is described in `bench/README.md`; [`serve`] is all of it, a peer only implements [`Run`].

mod case;
mod clock;

use std::error::Error;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use case::{Case, Kind, What, columns, transposed};
use serde_json::{Value, json};

/// Whatever went wrong, as text for the report.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A case that this peer has no way to run, with the reason: reported, but as no failure.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for Skip {}

/// The error of a case that this peer has no way to run.
pub fn skip<T>(reason: &str) -> Result<T> {
    Err(Box::new(Skip(reason.to_string())))
}

/// A loaded case.
pub trait Run {
    /// Does what is timed, once: a sequence, one step, or a whole model's call.
    fn call(&mut self) -> Result<()>;

    /// The same work's result for the comparison, from a state of zeros: `(batch, time, units)`
    /// (both directions side by side), the outputs of all steps, or the model's output.
    fn output(&mut self) -> Result<Vec<f32>>;

    /// Many calls. Here and not in [`serve`], so that the compiler sees the peer's own `call`:
    /// a call through a vtable would be seen in the time of a step.
    fn calls(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.call()?;
        }
        Ok(())
    }
}

/// Answers requests until stdin ends.
pub fn serve(load: impl Fn(&Case) -> Result<Box<dyn Run>>) {
    let mut loaded: Option<Box<dyn Run>> = None;
    let mut stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        // Peers may panic; the next case still gets its turn.
        let answer = catch_unwind(AssertUnwindSafe(|| answer(&line, &load, &mut loaded)))
            .unwrap_or_else(|_| Err("it panicked; its log has the message".into()))
            .unwrap_or_else(|error| match error.downcast_ref::<Skip>() {
                Some(skip) => json!({"ok": false, "skip": skip.to_string()}),
                None => json!({"ok": false, "error": error.to_string()}),
            });
        if writeln!(stdout, "{answer}")
            .and_then(|()| stdout.flush())
            .is_err()
        {
            break;
        }
    }
}

fn answer(
    line: &str,
    load: &impl Fn(&Case) -> Result<Box<dyn Run>>,
    loaded: &mut Option<Box<dyn Run>>,
) -> Result<Value> {
    let request: Value = serde_json::from_str(line)?;
    let text = |key: &str| {
        request[key]
            .as_str()
            .ok_or(format!("no {key} in the request"))
    };
    let run = || "no case is loaded".to_string();
    match text("do")? {
        "load" => {
            *loaded = None;
            let threads = request["threads"].as_u64().unwrap_or(1) as usize;
            *loaded = Some(load(&Case::read(text("folder")?.as_ref(), threads)?)?);
            Ok(json!({"ok": true}))
        }
        "output" => {
            let output = loaded.as_mut().ok_or_else(run)?.output()?;
            let bytes: Vec<u8> = output
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            std::fs::write(text("to")?, bytes)?;
            Ok(json!({"ok": true}))
        }
        "time" => {
            let seconds = request["seconds"]
                .as_f64()
                .ok_or("no seconds in the request")?;
            let samples = clock::time(loaded.as_mut().ok_or_else(run)?.as_mut(), seconds)?;
            Ok(json!({"ok": true, "ns": samples}))
        }
        other => Err(format!("unknown request {other:?}").into()),
    }
}
