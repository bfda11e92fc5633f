//! What came of one row: times, failures, who was left out.

use std::collections::BTreeMap;

use crate::measure::median;

/// What came of a row.
#[derive(Default)]
pub struct Outcome {
    pub name: &'static str,
    /// Each run in seconds.
    pub seconds: BTreeMap<&'static str, Vec<f64>>,
    /// Who did not, and why.
    pub failed: BTreeMap<&'static str, String>,
    /// Who was left out, and why.
    pub skipped: BTreeMap<&'static str, String>,
    /// The peak memory of ftpish's client and server in KiB.
    pub memory: BTreeMap<&'static str, (u64, u64)>,
}

impl Outcome {
    /// The medians in a line, and below it what went wrong.
    pub fn line(&self) -> String {
        let medians = self.seconds.iter().map(|(who, seconds)| format!("{who} {:.3}", median(seconds)));
        let mut line = format!("{}: {}", self.name, medians.collect::<Vec<_>>().join(", "));
        for (who, why) in &self.failed {
            line += &format!("\n  {who} FAILED: {why}");
        }
        for (who, why) in &self.skipped {
            line += &format!("\n  {who} skipped: {why}");
        }
        line
    }
}
