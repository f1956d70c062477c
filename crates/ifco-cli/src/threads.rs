//! `--threads`: how many of them the recurrent layers may use.

use std::num::NonZeroUsize;

use crate::failure::Failure;

#[derive(clap::Args)]
pub struct ThreadsArgs {
    /// Threads to use [default: IFCO_THREADS, or as many as the machine runs at once]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl ThreadsArgs {
    /// Tells the engine; gives how many there are then. A variable that is no number is an error
    /// here, where somebody reads it; the library takes it for absent.
    pub fn apply(&self) -> Result<usize, Failure> {
        if let Some(threads) = self.threads {
            ifco::set_threads(threads.get());
            return Ok(threads.get());
        }
        match std::env::var("IFCO_THREADS") {
            Ok(text) if !text.trim().is_empty() && text.trim().parse::<NonZeroUsize>().is_err() => {
                Err(Failure::usage(format_args!(
                    "the environment variable IFCO_THREADS is {text:?}, expected a number of \
                     threads"
                ))
                .help("unset it, or give --threads N"))
            }
            _ => Ok(ifco::threads()),
        }
    }
}
