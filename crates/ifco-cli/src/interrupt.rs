//! Ctrl-C, so that it leaves nothing half-written.
//!
//! Outside of writing it ends the command at once, as ever. While a file is being written it
//! waits until the file is there, which takes a moment: the alternative is a temporary file
//! left behind.

use std::sync::{Mutex, Once, PoisonError};

static WRITING: Mutex<()> = Mutex::new(());
static HANDLER: Once = Once::new();

/// What a shell expects of a command that Ctrl-C ended: 128 + SIGINT.
pub const INTERRUPTED: i32 = 130;

/// Writes a file to its end, whatever keys are pressed.
pub fn write_whole<T>(write: impl FnOnce() -> T) -> T {
    HANDLER.call_once(|| {
        // Without a handler an interrupt could leave a temporary file: no reason not to write.
        let _ = ctrlc::set_handler(|| {
            let _finished = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
            std::process::exit(INTERRUPTED);
        });
    });
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write()
}
