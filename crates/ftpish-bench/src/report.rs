//! What came of it all: a table of medians, the bars and whether they were met, and the same as JSON.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::contenders::{CLEAR, CONTENDERS, FTPISH};
use crate::outcome::Outcome;
use crate::rows::{Bar, Goal, MEMORY_KIB, ROUND_TRIP_MS, Row};

/// What was to be reached, and whether it was.
#[derive(Serialize)]
pub struct Judged {
    pub row: &'static str,
    pub who: &'static str,
    pub goal: String,
    pub reached: Option<f64>,
    /// Whether that is good enough, or why it was not measured.
    pub verdict: String,
}

impl Judged {
    /// A number that is to be `limit` at most.
    pub fn at_most(
        row: &'static str,
        who: &'static str,
        limit: f64,
        unit: &str,
        reached: Result<f64, String>,
    ) -> Self {
        let goal = format!("at most {limit} {unit}");
        let met = reached.as_ref().is_ok_and(|reached| *reached <= limit);
        Self::new(row, who, goal, reached, met)
    }

    fn new(
        row: &'static str,
        who: &'static str,
        goal: String,
        reached: Result<f64, String>,
        met: bool,
    ) -> Self {
        let verdict = match &reached {
            Ok(_) if met => "met".to_owned(),
            Ok(_) => "missed".to_owned(),
            Err(why) => why.clone(),
        };
        Self { row, who, goal, reached: reached.ok(), verdict }
    }
}

/// All figures of a run of the benchmark. The JSON is this, field by field.
#[derive(Serialize)]
pub struct Report {
    /// When, in seconds since 1970.
    began: u64,
    kernel: String,
    processors: usize,
    /// Which, and what it can do.
    processor: String,
    /// What else the machine did: the load averages before the run. Above zero, compare rows and not seconds.
    load_before: String,
    runs: u16,
    scale: f64,
    pub rows: Vec<Outcome>,
    bars: Vec<Judged>,
}

impl Report {
    /// A report with nothing in it yet.
    pub fn new(runs: u16, scale: f64) -> Self {
        let read = |file| std::fs::read_to_string(file).unwrap_or_default().trim().to_owned();
        Self {
            began: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            kernel: read("/proc/sys/kernel/osrelease"),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            processor: crate::processor::describe(),
            load_before: read("/proc/loadavg"),
            runs,
            scale,
            rows: Vec::new(),
            bars: Vec::new(),
        }
    }

    /// Adds what came of a row, and judges it.
    pub fn add(&mut self, row: &Row, outcome: Outcome) {
        for Bar { who, goal } in row.bars {
            let median = |who| outcome.medians.get(who).ok_or_else(|| format!("{who} was not measured"));
            let ours = median(who);
            self.judge(match goal {
                Goal::TimesAsFast(factor, than) => {
                    let ratio = ours.and_then(|ours| Ok(median(than)? / ours));
                    let times = if *factor == 1.0 { String::new() } else { format!("{factor} times ") };
                    let goal = format!("{times}as fast as {than}");
                    let met = ratio.as_ref().is_ok_and(|ratio| ratio >= factor);
                    Judged::new(row.name, who, goal, ratio, met)
                }
                Goal::RoundTrips(count) => {
                    // What is done beside waiting takes less than one of them.
                    let whole = ours.map(|seconds| (seconds * 1000.0 / ROUND_TRIP_MS as f64).floor());
                    Judged::at_most(row.name, who, *count as f64, "whole round trips", whole)
                }
            });
        }
        self.rows.push(outcome);
    }

    /// Adds what was to be reached.
    pub fn judge(&mut self, judged: Judged) {
        self.bars.push(judged);
    }

    /// Judges the most memory that either end had in any row; there must be none to come.
    pub fn judge_memory(&mut self) {
        for who in [FTPISH, CLEAR] {
            let peaks = self.rows.iter().filter_map(|row| row.memory.get(who));
            if let Some(most) = peaks.flatten().max() {
                let [limit, most] = [MEMORY_KIB, *most].map(|kib| kib as f64 / 1024.0);
                self.judge(Judged::at_most("every row", who, limit, "MiB of memory at either end", Ok(most)));
            }
        }
    }

    /// Whether nobody failed at what they were asked to do.
    pub fn is_complete(&self) -> bool {
        self.rows.iter().all(|row| row.failed.is_empty())
    }

    /// The figures as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names are strings, and a String takes all") + "\n"
    }

    /// The figures as tables.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a String takes all");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { kernel, processors, processor, load_before, .. } = self;
        writeln!(out, "Linux {kernel}, {processors} processors, {processor}, load before it {load_before}.")?;
        if !self.rows.is_empty() {
            self.write_medians(out)?;
        }
        for (at, absence) in self.rows.iter().flat_map(Outcome::absences).enumerate() {
            writeln!(out, "{}- {absence}", if at == 0 { "\n" } else { "" })?;
        }
        self.write_processor_time(out)?;
        if !self.bars.is_empty() {
            writeln!(out, "\n| to reach | | | reached | |\n|---|---|---|---|---|")?;
        }
        for Judged { row, who, goal, reached, verdict } in &self.bars {
            let goal = cell(goal);
            let verdict = if verdict == "missed" { "**missed**".to_owned() } else { cell(verdict) };
            let reached = reached.map(|number| format!(" {number:.3}")).unwrap_or_default();
            writeln!(out, "| {row} | {who} | {goal} |{reached} | {verdict} |")?;
        }
        Ok(())
    }

    /// What both ends of ftpish took of the processor in one run.
    fn write_processor_time(&self, out: &mut String) -> std::fmt::Result {
        let rows: Vec<_> = self.rows.iter().filter(|row| !row.processor.is_empty()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n| seconds of processor, client + server | {FTPISH} | {CLEAR} |\n|---|---|---|")?;
        for row in rows {
            write!(out, "| {} |", row.name)?;
            for who in [FTPISH, CLEAR] {
                match row.processor.get(who) {
                    Some([client, server]) => write!(out, " {client:.2} + {server:.2} |")?,
                    None => write!(out, " |")?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// Who was how fast, and how often ftpish's time that is.
    fn write_medians(&self, out: &mut String) -> std::fmt::Result {
        let takes_part = |who: &str| self.rows.iter().any(|row| row.medians.contains_key(who));
        let columns: Vec<_> = CONTENDERS.iter().map(|c| c.name).filter(|who| takes_part(who)).collect();
        let heads: Vec<_> = columns.iter().map(|who| cell(who)).collect();
        let Self { runs, scale, .. } = self;
        let part = if *scale < 1.0 { format!(", {scale} of the work that rows tell") } else { String::new() };
        writeln!(out, "\n| seconds, medians of {runs}{part} | {} |", heads.join(" | "))?;
        writeln!(out, "|---{}|", "|---".repeat(columns.len()))?;
        for row in &self.rows {
            write!(out, "| {} |", row.name)?;
            for who in &columns {
                match (row.medians.get(who), row.ratios.get(who)) {
                    (Some(seconds), Some(ratio)) => write!(out, " {seconds:.3} ({ratio:.1}x) |")?,
                    (Some(seconds), None) => write!(out, " {seconds:.3} |")?,
                    (None, _) => write!(out, " |")?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Text that does not end its cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A report with figures that nobody measured.
#[cfg(test)]
pub fn sample() -> Report {
    use crate::contenders::{RSYNC, SCP, SOCAT, TAR};
    use crate::measure::Cost;
    use crate::rows::ROWS;

    let mut report = Report::new(3, 0.5);
    (report.began, report.processors) = (1, 2);
    (report.kernel, report.load_before) = ("6.1".into(), "0.00".into());
    report.processor = "AMD EPYC (aes)".into();
    let mut near = Outcome::new(ROWS[0].name);
    for (who, took) in [(FTPISH, 0.9), (FTPISH, 0.8), (FTPISH, 1.0), (CLEAR, 0.7), (RSYNC, 0.6), (SCP, 9.0)] {
        near.add(who, Ok(took));
    }
    near.add(SOCAT, Ok(0.1));
    near.add(SOCAT, Err("`socat`: no (exit status: 1)".to_owned()));
    near.skip(TAR, "no nc here".to_owned());
    near.add_cost(
        FTPISH,
        Ok([Cost { memory: 10_000, processor: 0.5 }, Cost { memory: 70_000, processor: 0.25 }]),
    );
    report.add(&ROWS[0], near);
    let row = ROWS.iter().find(|row| row.name == "ls of ten entries at 50 ms").expect("it is a row");
    let mut far = Outcome::new(row.name);
    for (who, took) in [(FTPISH, 0.153), (CLEAR, 0.151), (RSYNC, 0.4)] {
        far.add(who, Ok(took));
    }
    for who in [FTPISH, CLEAR] {
        far.add_cost(who, Ok([8192, 1024].map(|memory| Cost { memory, processor: 0.0 })));
    }
    report.add(row, far);
    report.judge_memory();
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_readable() {
        insta::assert_snapshot!(sample().markdown());
    }

    #[test]
    fn the_json_has_every_run_and_every_bar() {
        use crate::contenders::SCP;

        let json: serde_json::Value = serde_json::from_str(&sample().json()).unwrap();
        assert_eq!(json["rows"][0]["seconds"][FTPISH], serde_json::json!([0.9, 0.8, 1.0]));
        assert_eq!(json["rows"][0]["medians"][FTPISH], 0.9);
        assert_eq!(json["rows"][0]["ratios"][SCP], 10.0);
        assert_eq!(json["bars"][1]["reached"], 10.0);
        assert!(!sample().is_complete());
    }
}
