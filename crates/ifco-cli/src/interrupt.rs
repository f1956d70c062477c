//! Ctrl-C, so that it leaves nothing half-written.
//!
//! Outside of writing it ends the command at once, as ever. While a file is being written it
//! waits until the file is there, which takes a moment: the alternative is a temporary file
//! left behind. What would take longer than a moment watches for it, and ends early.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

static WRITING: Mutex<()> = Mutex::new(());
static HANDLER: Once = Once::new();

/// What a shell expects of a command that Ctrl-C ended: 128 + SIGINT.
pub const INTERRUPTED: i32 = 130;

/// Whether Ctrl-C is to be waited for by [`watch`]'s caller, and whether it was pressed.
static WATCHED: AtomicBool = AtomicBool::new(false);
static PRESSED: AtomicBool = AtomicBool::new(false);

fn handle() {
    HANDLER.call_once(|| {
        // Without a handler an interrupt could leave a temporary file: no reason not to write.
        let _ = ctrlc::set_handler(|| {
            // Whoever presses it twice does not want to wait.
            if WATCHED.load(Ordering::Relaxed) && !PRESSED.swap(true, Ordering::Relaxed) {
                return;
            }
            let _finished = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
            std::process::exit(INTERRUPTED);
        });
    });
}

/// From here on Ctrl-C only sets the flag, which the caller looks at; a second one ends the
/// command at once.
pub fn watch() -> &'static AtomicBool {
    WATCHED.store(true, Ordering::Relaxed);
    handle();
    &PRESSED
}

/// Writes a file to its end, whatever keys are pressed.
pub fn write_whole<T>(write: impl FnOnce() -> T) -> T {
    handle();
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write()
}
