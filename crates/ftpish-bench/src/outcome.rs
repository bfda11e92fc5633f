//! What came of a row: times, peaks of memory, and who has none.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::contenders::FTPISH;
use crate::measure::{Cost, median};

/// What came of a row.
#[derive(Serialize)]
pub struct Outcome {
    pub name: &'static str,
    /// The median of each contender's runs in seconds.
    pub medians: BTreeMap<&'static str, f64>,
    /// The peers' medians in terms of ftpish's.
    pub ratios: BTreeMap<&'static str, f64>,
    /// Each run.
    seconds: BTreeMap<&'static str, Vec<f64>>,
    /// Who did not, and why.
    pub failed: BTreeMap<&'static str, String>,
    /// Who was left out, and why.
    skipped: BTreeMap<&'static str, String>,
    /// The peak memory of ftpish's client in this row, and of its server until then, in KiB.
    pub memory: BTreeMap<&'static str, [u64; 2]>,
    /// The seconds of processor that ftpish's client and server took for this row once.
    pub processor: BTreeMap<&'static str, [f64; 2]>,
}

impl Outcome {
    /// Nothing came of it yet.
    pub fn new(name: &'static str) -> Self {
        let (medians, ratios, seconds, failed, skipped, memory, processor) = Default::default();
        Self { name, medians, ratios, seconds, failed, skipped, memory, processor }
    }

    /// Adds a run; one that failed takes the others of the same contender with it.
    pub fn add(&mut self, who: &'static str, took: Result<f64, String>) {
        match took {
            Ok(took) => {
                let all = self.seconds.entry(who).or_default();
                all.push(took);
                self.medians.insert(who, median(all));
            }
            Err(why) => {
                self.seconds.remove(who);
                self.medians.remove(who);
                self.failed.insert(who, why);
            }
        }
        let peers = self.medians.iter().filter(|(who, _)| !who.starts_with(FTPISH));
        let own = self.medians.get(FTPISH);
        self.ratios = peers.filter_map(|(who, theirs)| Some((*who, theirs / own?))).collect();
    }

    /// Adds what client and server took.
    pub fn add_cost(&mut self, who: &'static str, costs: Result<[Cost; 2], String>) {
        match costs {
            Ok(costs) => {
                self.memory.insert(who, costs.map(|cost| cost.memory));
                self.processor.insert(who, costs.map(|cost| cost.processor));
            }
            Err(why) => self.add(who, Err(why)),
        }
    }

    /// Notes who is left out.
    pub fn skip(&mut self, who: &'static str, why: String) {
        self.skipped.insert(who, why);
    }

    /// Whether a run of this contender failed.
    pub fn has_failed(&self, who: &str) -> bool {
        self.failed.contains_key(who)
    }

    /// The medians in a line.
    pub fn line(&self) -> String {
        let medians = self.medians.iter().map(|(who, seconds)| format!("{who} {seconds:.3}"));
        format!("{}: {}", self.name, medians.collect::<Vec<_>>().join(", "))
    }

    /// Who did not take part, a line each.
    pub fn absences(&self) -> impl Iterator<Item = String> {
        let failed = self.failed.iter().map(|(who, why)| format!("{}: {who} failed: {why}", self.name));
        let skipped = self.skipped.iter().map(|(who, why)| format!("{}: {who} skipped: {why}", self.name));
        failed.chain(skipped)
    }
}
