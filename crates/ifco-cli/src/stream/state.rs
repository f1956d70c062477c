//! The states of sessions, saved and restored as `.npz`.

use std::path::Path;

use ifco::Session;
use ifco::arrays::npz;
use ndarray::{ArrayD, ArrayViewD, IxDyn};

use super::Args;
use crate::failure::Failure;
use crate::interrupt;

/// The name must be that of an `.npz`, said before hours of work.
pub fn check_name(path: &Path) -> Result<(), Failure> {
    let extension = path.extension().map(|ext| ext.to_ascii_lowercase());
    match extension.as_deref().and_then(|ext| ext.to_str()) {
        Some("npz") => Ok(()),
        _ => Err(Failure::usage(format_args!(
            "the states are saved as .npz, not as {:?}",
            path.display().to_string()
        ))),
    }
}

/// In the file, the states of several sessions are told apart by their channel.
fn prefix(channel: usize, sessions: usize) -> String {
    match sessions {
        1 => String::new(),
        _ => format!("channel_{channel}/"),
    }
}

/// Restores what `--initial-state` names, if anything. States without channels are for all.
pub fn load(args: &Args, sessions: &mut [Session]) -> Result<(), Failure> {
    let Some(path) = &args.initial_state else {
        return Ok(());
    };
    let arrays: Vec<(String, Vec<f32>)> = npz::read(path)?
        .into_iter()
        .map(|(name, array): (String, ArrayD<f32>)| (name, array.iter().copied().collect()))
        .collect();
    let has_channels = arrays.iter().any(|(name, _)| name.starts_with("channel_"));
    let total = sessions.len();
    for (channel, session) in sessions.iter_mut().enumerate() {
        let own = prefix(channel, if has_channels { total.max(2) } else { 1 });
        let states = arrays
            .iter()
            .filter_map(|(name, values)| Some((name.strip_prefix(&own)?, &values[..])));
        session
            .set_states(states)
            .map_err(|error| Failure::from(error).at_file(path))?;
    }
    Ok(())
}

/// Saves to what `--state` names, if anything.
pub fn save(args: &Args, sessions: &[Session]) -> Result<(), Failure> {
    let Some(path) = &args.state else {
        return Ok(());
    };
    let mut arrays: Vec<(String, ArrayViewD<'_, f32>)> = Vec::new();
    for (channel, session) in sessions.iter().enumerate() {
        let prefix = prefix(channel, sessions.len());
        for (name, values) in session.states() {
            let view = ArrayViewD::from_shape(IxDyn(&[values.len()]), values)
                .map_err(|error| Failure::new(format_args!("a state cannot be saved: {error}")))?;
            arrays.push((format!("{prefix}{name}"), view));
        }
    }
    if arrays.is_empty() {
        return Err(Failure::new(
            "there is no state to save: the model remembers nothing",
        ));
    }
    Ok(interrupt::write_whole(|| npz::write(path, &arrays))?)
}
