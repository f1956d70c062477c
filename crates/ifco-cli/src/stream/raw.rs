//! float32 numbers, little endian, step after step.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};

use ifco::Session;

use super::{STDIN, unreadable};
use crate::failure::Failure;
use crate::output::count;

/// Answers each step with a step; what was answered is handed on where no further bytes wait.
pub fn run<R: Read>(
    session: &mut Session,
    input: &mut BufReader<R>,
    output: &mut impl Write,
) -> Result<(), Failure> {
    if session.input_len() == 0 {
        return Err(Failure::new(
            "a step of this model has no values, so that none can be read",
        ));
    }
    let mut bytes = vec![0; session.input_len() * size_of::<f32>()];
    let mut x = vec![0.0; session.input_len()];
    for step in 0_u64.. {
        let read = fill(input, &mut bytes)?;
        if read == 0 {
            break;
        }
        if read < bytes.len() {
            let what = format!(
                "the input ends within a step, after {} of its {}",
                count(read, "byte"),
                bytes.len()
            );
            return Err(Failure::new(what)
                .at(format_args!("{STDIN}, step {step}"))
                .help(format_args!(
                    "a step is {} of 4 bytes",
                    count(session.input_len(), "number")
                )));
        }
        for (x, bytes) in x.iter_mut().zip(bytes.as_chunks().0) {
            *x = f32::from_le_bytes(*bytes);
        }
        session
            .check(&x)
            .map_err(|error| Failure::from(error).at(format_args!("{STDIN}, step {step}")))?;
        for y in session.step(&x) {
            output.write_all(&y.to_le_bytes())?;
        }
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    Ok(output.flush()?)
}

/// Reads until `bytes` are full or the input ends; how many were read.
fn fill(input: &mut impl BufRead, bytes: &mut [u8]) -> Result<usize, Failure> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    Ok(read)
}
