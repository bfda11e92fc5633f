//! The bar of a transfer: the only file that knows indicatif. One thread draws it, from counters that the transfer
//! writes, so that drawing costs the transfer nothing.

use std::sync::mpsc;
use std::time::Duration;

use ftpish_client::Progress;
use indicatif::{ProgressBar, ProgressStyle};

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
    let mut bar = None;
    while finished.recv_timeout(DRAW_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
        let bar = bar.get_or_insert_with(|| new_bar(name, progress.total()));
        if bar.length() != progress.total() {
            *bar = new_bar(name, progress.total());
        }
        bar.set_position(progress.done());
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

fn new_bar(name: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => {
            "{prefix:.bold} {bar:30} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"
        }
        None => "{prefix:.bold} {spinner} {binary_bytes}  {binary_bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is constant and right");
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::no_length(),
    };
    bar.with_style(style).with_prefix(name.to_owned())
}
