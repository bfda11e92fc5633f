//! What came of it all: a table of medians, the bars and whether they were met, memory, and the same as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::contenders::{CONTENDERS, FTPISH};
use crate::idle;
use crate::measure::median;
use crate::outcome::Outcome;
use crate::rows::{Limit, MEMORY_KIB, ROUND_TRIP_MS, Row};

/// All figures of a run of the benchmark. The JSON is this, field by field.
#[derive(Serialize)]
pub struct Report {
    /// When, in seconds since 1970.
    began: u64,
    kernel: String,
    processors: usize,
    /// What else the machine did: the load averages before the run. Above zero, compare rows and not seconds.
    load_before: String,
    load_after: String,
    runs: u16,
    scale: f64,
    pub rows: Vec<Figures>,
    bars: Vec<Judged>,
    memory: Vec<Memory>,
    idle: Vec<Idle>,
}

/// A row.
#[derive(Serialize)]
pub struct Figures {
    pub name: &'static str,
    /// The median of each contender's runs in seconds.
    pub medians: BTreeMap<&'static str, f64>,
    seconds: BTreeMap<&'static str, Vec<f64>>,
    failed: BTreeMap<&'static str, String>,
    skipped: BTreeMap<&'static str, String>,
}

/// A number that was to be reached.
#[derive(Serialize)]
struct Judged {
    row: &'static str,
    who: &'static str,
    what: String,
    limit: f64,
    /// None where one of the two was not measured.
    reached: Option<f64>,
}

/// The peaks of ftpish's own memory in a row, in KiB.
#[derive(Serialize)]
struct Memory {
    row: &'static str,
    who: &'static str,
    client: u64,
    server: u64,
}

#[derive(Serialize)]
struct Idle {
    who: &'static str,
    connections: u16,
    limit: f64,
    /// What each takes of the server, in KiB.
    each: Option<f64>,
    failed: Option<String>,
}

impl Report {
    /// A report with nothing in it yet.
    pub fn new(runs: u16, scale: f64) -> Self {
        Self {
            began: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            kernel: read("/proc/sys/kernel/osrelease"),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            load_before: read("/proc/loadavg"),
            load_after: String::new(),
            runs,
            scale,
            rows: Vec::new(),
            bars: Vec::new(),
            memory: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// Adds what came of a row, and judges it.
    pub fn add(&mut self, row: &Row, outcome: Outcome) {
        let Outcome { name, seconds, failed, skipped, memory } = outcome;
        let medians: BTreeMap<_, _> = seconds.iter().map(|(who, all)| (*who, median(all))).collect();
        for bar in row.bars {
            let ours = medians.get(bar.ours);
            let (what, limit, reached) = match bar.limit {
                Limit::Times(factor, theirs) => {
                    let ratio = ours.zip(medians.get(theirs)).map(|(ours, theirs)| ours / theirs);
                    (format!("times {}", theirs.replace('|', "\\|")), factor, ratio)
                }
                Limit::RoundTrips(count) => {
                    // What is done beside waiting takes less than one of them.
                    let whole = |seconds: &f64| (seconds * 1000.0 / ROUND_TRIP_MS as f64).floor();
                    ("whole round trips".to_owned(), count as f64, ours.map(whole))
                }
            };
            self.bars.push(Judged { row: name, who: bar.ours, what, limit, reached });
        }
        let peaks = memory.into_iter();
        self.memory.extend(peaks.map(|(who, (client, server))| Memory { row: name, who, client, server }));
        self.rows.push(Figures { name, medians, seconds, failed, skipped });
    }

    /// Adds what an idle connection takes.
    pub fn add_idle(
        &mut self,
        (who, limit): (&'static str, f64),
        connections: u16,
        each: Result<f64, String>,
    ) {
        let (each, failed) = each.map_or_else(|why| (None, Some(why)), |each| (Some(each), None));
        self.idle.push(Idle { who, connections, limit, each, failed });
    }

    /// Notes what the machine does now that all is done.
    pub fn finish(&mut self) {
        self.load_after = read("/proc/loadavg");
    }

    /// Whether nobody failed at what they were asked to do.
    pub fn is_complete(&self) -> bool {
        self.rows.iter().all(|row| row.failed.is_empty())
            && self.idle.iter().all(|idle| idle.failed.is_none())
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
        let Self { runs, scale, processors, kernel, .. } = self;
        let part = if *scale < 1.0 {
            format!(", {scale} of the work that rows are named after")
        } else {
            String::new()
        };
        writeln!(
            out,
            "Linux {kernel}, {processors} processors; load {} before, {} after.\n",
            self.load_before, self.load_after
        )?;
        if !self.rows.is_empty() {
            self.write_medians(out, &format!("seconds, medians of {runs}{part}"))?;
        }
        if self.rows.iter().any(|row| !row.failed.is_empty() || !row.skipped.is_empty()) {
            writeln!(out)?;
        }
        for row in &self.rows {
            for (who, why) in &row.failed {
                writeln!(out, "- {}: {who} failed: {why}", row.name)?;
            }
            for (who, why) in &row.skipped {
                writeln!(out, "- {}: {who} skipped: {why}", row.name)?;
            }
        }
        if !self.bars.is_empty() {
            writeln!(out, "\n| to reach | | at most | reached | |\n|---|---|---|---|---|")?;
        }
        for Judged { row, who, what, limit, reached } in &self.bars {
            let (number, met) = told(*limit, *reached);
            writeln!(out, "| {row} | {who} | {limit:.2} {what} | {number} | {met} |")?;
        }
        if !self.memory.is_empty() {
            writeln!(out, "\n| peak memory, MiB | | client | server | |\n|---|---|---|---|---|")?;
        }
        for Memory { row, who, client, server } in &self.memory {
            let [client_mib, server_mib] = [client, server].map(|kib| *kib as f64 / 1024.0);
            let (_, met) = told(MEMORY_KIB as f64, Some(*client.max(server) as f64));
            writeln!(out, "| {row} | {who} | {client_mib:.1} | {server_mib:.1} | {met} |")?;
        }
        if !self.idle.is_empty() {
            writeln!(
                out,
                "\n| {}: KiB of the server for each | | at most | reached | |\n|---|---|---|---|---|",
                idle::NAME
            )?;
        }
        for Idle { who, connections, limit, each, failed } in &self.idle {
            let (number, met) = told(*limit, *each);
            let why = failed.as_deref().unwrap_or(met);
            writeln!(out, "| {connections} | {who} | {limit:.2} | {number} | {why} |")?;
        }
        Ok(())
    }

    /// Who was how fast, with how often ftpish's time that is.
    fn write_medians(&self, out: &mut String, title: &str) -> std::fmt::Result {
        let takes_part = |who: &str| self.rows.iter().any(|row| row.medians.contains_key(who));
        let columns: Vec<_> = CONTENDERS.iter().map(|c| c.name).filter(|who| takes_part(who)).collect();
        let heads: Vec<_> = columns.iter().map(|who| who.replace('|', "\\|")).collect();
        writeln!(out, "| {title} | {} |\n|---{}|", heads.join(" | "), "|---".repeat(columns.len()))?;
        for row in &self.rows {
            write!(out, "| {} |", row.name)?;
            for who in &columns {
                match (row.medians.get(who), row.medians.get(FTPISH)) {
                    (Some(theirs), Some(ours)) if !who.starts_with(FTPISH) => {
                        write!(out, " {theirs:.3} ({:.1}x) |", theirs / ours)?;
                    }
                    (Some(seconds), _) => write!(out, " {seconds:.3} |")?,
                    (None, _) => write!(out, " |")?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn told(limit: f64, reached: Option<f64>) -> (String, &'static str) {
    match reached {
        Some(number) => (format!("{number:.2}"), if number <= limit { "met" } else { "**missed**" }),
        None => (String::new(), "not measured"),
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

/// A report with figures that nobody measured.
#[cfg(test)]
pub fn sample() -> Report {
    use crate::contenders::{CLEAR, RSYNC, SCP};
    use crate::rows::ROWS;

    let mut report = Report::new(3, 0.5);
    (report.began, report.processors) = (1, 2);
    (report.kernel, report.load_before, report.load_after) = ("6.1".into(), "0.00".into(), "1.00".into());
    let outcome = Outcome {
        name: ROWS[0].name,
        seconds: [(FTPISH, vec![0.9, 0.8, 1.0]), (CLEAR, vec![0.7]), (RSYNC, vec![0.6]), (SCP, vec![9.0])]
            .into(),
        failed: [("socat", "`socat`: no (exit status: 1)".to_owned())].into(),
        skipped: [("tar | nc", "no nc here".to_owned())].into(),
        memory: [(FTPISH, (10_000, 70_000))].into(),
    };
    report.add(&ROWS[0], outcome);
    let far = ROWS.iter().find(|row| row.name == "ls of ten entries at 50 ms").expect("it is a row");
    let seconds = [(FTPISH, vec![0.153]), (CLEAR, vec![0.151])].into();
    report.add(far, Outcome { name: far.name, seconds, ..Outcome::default() });
    report.add_idle((FTPISH, 24.0), 100, Ok(30.125));
    report.add_idle((CLEAR, 4.0), 100, Err("connection 7: refused".to_owned()));
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
        let json: serde_json::Value = serde_json::from_str(&sample().json()).unwrap();
        assert_eq!(json["rows"][0]["seconds"][FTPISH], serde_json::json!([0.9, 0.8, 1.0]));
        assert_eq!(json["rows"][0]["medians"][FTPISH], 0.9);
        assert_eq!(json["bars"][1]["limit"], 0.5);
        assert!(!sample().is_complete());
    }
}
