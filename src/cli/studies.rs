//! What commands that make many runs share: a progress bar on stderr, and Ctrl-C that keeps what is finished.

use super::Failure;
use crate::study::replications::Control;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs `work` with a progress bar of `length` runs. The first Ctrl-C lets the runs that have begun end, the second ends
/// the process.
pub fn with_progress<R>(
    length: u64,
    quiet: bool,
    (check, antithetic): (bool, bool),
    work: impl FnOnce(Control) -> R,
) -> Result<R, Failure> {
    listen()?;
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {per_sec}, {eta} left")
        .expect("the template is well-formed");
    bar.set_style(style);
    let done = || bar.inc(1);
    let result = work(Control { stop: &STOP, done: &done, check, antithetic });
    bar.finish_and_clear();
    Ok(result)
}

/// Was Ctrl-C pressed?
pub fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

fn listen() -> Result<(), Failure> {
    static LISTENING: OnceLock<Result<(), String>> = OnceLock::new();
    let listening = LISTENING.get_or_init(|| {
        let stop = || {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        ctrlc::set_handler(stop).map_err(|error| error.to_string())
    });
    listening.clone().map_err(|error| Failure::Input(format!("error: cannot listen for Ctrl-C: {error}\n")))
}
