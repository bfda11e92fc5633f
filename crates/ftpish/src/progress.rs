//! The bars of a transfer, one for the whole and one for each large file among many: the only file that knows indicatif.
//! One thread draws them, from counters that the transfer writes, so that drawing costs the transfer nothing.

use std::sync::mpsc;
use std::time::Duration;

use ftpish_client::{Part, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

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
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let bar = bars.add(ProgressBar::no_length().with_style(style(None)).with_prefix(name.to_owned()));
    let mut parts: Vec<(Part, ProgressBar)> = Vec::new();
    while finished.recv_timeout(DRAW_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
        // Before there is a connection there may be a question about its key, which a bar must not cover.
        if progress.total().is_none() && progress.done() == 0 {
            continue;
        }
        if bars.is_hidden() {
            bars.set_draw_target(ProgressDrawTarget::stderr());
        }
        if let Some(total) = progress.total().filter(|total| bar.length() != Some(*total)) {
            bar.set_style(style(Some(total)));
            bar.set_length(total);
        }
        let scanning = if progress.is_scanning() { "  scanning" } else { "" };
        match progress.files() {
            0 => bar.set_message(scanning),
            1 => bar.set_message(format!("  1 file{scanning}")),
            files => bar.set_message(format!("  {files} files{scanning}")),
        }
        bar.set_position(progress.done());
        let now = progress.parts();
        parts.retain(|(part, bar)| {
            let goes_on = now.iter().any(|now| is_same(now, part));
            if !goes_on {
                bar.finish_and_clear();
                bars.remove(bar);
            }
            goes_on
        });
        for part in now {
            let bar = match parts.iter().find(|(shown, _)| is_same(shown, &part)) {
                Some((_, bar)) => bar,
                None => {
                    let bar = ProgressBar::new(part.size).with_style(style(Some(part.size)));
                    let bar = bars.add(bar.with_prefix(part.name.clone()));
                    parts.push((part.clone(), bar));
                    &parts[parts.len() - 1].1
                }
            };
            bar.set_position(part.done);
        }
    }
    let _ = bars.clear();
}

/// Whether it is the same file on the same connection.
fn is_same(a: &Part, b: &Part) -> bool {
    (a.lane, a.size, &a.name) == (b.lane, b.size, &b.name)
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => {
            "{prefix:.bold}{msg} {bar:30} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"
        }
        None => "{prefix:.bold}{msg} {spinner} {binary_bytes}  {binary_bytes_per_sec}",
    };
    ProgressStyle::with_template(template).expect("the template is constant and right")
}
