//! The bar of a transfer: the only file that knows indicatif. One thread draws it, from counters that the transfer
//! writes, so that drawing costs the transfer nothing.

use std::sync::mpsc;
use std::time::Duration;

use ftpish_client::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ui::Ui;

/// How often the bar is drawn. What ends sooner gets none.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Does `work` while a bar shows how far it is, if there is anybody to see it.
pub fn watch<T>(ui: &Ui, name: &str, work: impl FnOnce(&Progress) -> T) -> T {
    let progress = Progress::default();
    if !ui.bars {
        return work(&progress);
    }
    let (finished, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let drawing = scope.spawn(|| draw(name, &progress, wait));
        let outcome = work(&progress);
        drop(finished);
        // A bar that could not be drawn is no reason to doubt the transfer.
        let _ = drawing.join();
        outcome
    })
}

fn draw(name: &str, progress: &Progress, finished: mpsc::Receiver<()>) {
    // Made now, so that its clock runs from the beginning of the transfer, and shown to those who have to wait.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    bar.set_style(style(None));
    bar.set_prefix(name.to_owned());
    while finished.recv_timeout(DRAW_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
        // Before there is a connection there may be a question about its key, which a bar must not cover.
        if progress.total().is_none() && progress.done() == 0 {
            continue;
        }
        if bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if let Some(total) = progress.total().filter(|total| bar.length() != Some(*total)) {
            bar.set_style(style(Some(total)));
            bar.set_length(total);
        }
        bar.set_position(progress.done());
    }
    bar.finish_and_clear();
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => {
            "{prefix:.bold} {bar:30} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"
        }
        None => "{prefix:.bold} {spinner} {binary_bytes}  {binary_bytes_per_sec}",
    };
    ProgressStyle::with_template(template).expect("the template is constant and right")
}
