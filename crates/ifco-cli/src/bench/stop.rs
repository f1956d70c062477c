//! Ctrl-C ends the measuring, not the command: what was measured is still printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody pressed Ctrl-C.
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From here on. Who presses it twice does not want to wait for the prediction that runs.
    pub fn on_ctrl_c() -> Self {
        let asked_for = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&asked_for);
        // Without a handler Ctrl-C ends the command at once, which is no reason not to measure.
        let _ = ctrlc::set_handler(move || {
            if seen.swap(true, Ordering::SeqCst) {
                std::process::exit(crate::interrupt::INTERRUPTED);
            }
        });
        Self(asked_for)
    }

    pub fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
