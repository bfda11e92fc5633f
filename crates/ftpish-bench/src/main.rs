//! ftpish beside its peers on the same work: `just bench`. All in turn in one run, in memory, each result compared with
//! its source; medians and ratios as a table, as JSON and as a chart.
//!
//! In the order of a run: `rows.rs` says what is measured and how good it is to be, `contenders.rs` who takes part and how,
//! `data.rs` makes what is moved (and `lists.rs` tells curl of it), `servers.rs` starts the servers and `relay.rs` makes links
//! long, `field.rs` runs a row, `measure.rs` holds the watch, `idle.rs` weighs connections that do nothing, `outcome.rs`
//! is what came of a row, `report.rs` and `chart.rs` tell it; `processor.rs` says on what.

mod chart;
mod contenders;
mod data;
mod field;
mod idle;
mod lists;
mod measure;
mod outcome;
mod processor;
mod relay;
mod report;
mod rows;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use crate::field::Field;
use crate::report::{Judged, Report};

/// Measure ftpish beside its peers.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Args {
    /// Only rows that have one of these words in their name.
    rows: Vec<String>,
    /// How often each contender does each row, in turn with the others.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// How much there is to do, as a part of the whole: 0.01 for a quick try.
    #[arg(long, value_name = "PART", default_value = "1", value_parser = scale)]
    scale: f64,
    /// Hide from all contenders what an ordinary processor does not have: VAES and AVX-512.
    #[arg(long)]
    ordinary: bool,
    /// The binary to measure.
    #[arg(long, value_name = "FILE", default_value = "target/release/ftpish")]
    ftpish: PathBuf,
    /// Where everything is made and moved: memory, if the disk is not to be measured.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    dir: PathBuf,
    /// Where the figures are written.
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    json: PathBuf,
    /// Where the chart is drawn.
    #[arg(long, value_name = "FILE", default_value = "target/bench.svg")]
    chart: PathBuf,
}

fn scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().map_err(|_| "not a number".to_owned())?;
    if scale > 0.0 && scale <= 1.0 { Ok(scale) } else { Err("not above 0 and at most 1".to_owned()) }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whether everybody did what they were asked to; whether ftpish was fast enough is told in the report.
fn run(args: &Args) -> Result<bool, String> {
    if args.ordinary && !processor::is_ordinary() {
        return Err(format!("cannot run again: {}", processor::pretend_ordinary()));
    }
    // Whoever is interrupted cleans up: gigabytes of memory are taken.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|e| format!("cannot wait for signals: {e}"))?;
    }
    let wanted =
        |name: &str| args.rows.is_empty() || args.rows.iter().any(|word| name.contains(word.as_str()));
    let rows: Vec<_> = rows::ROWS.iter().filter(|row| wanted(row.name)).collect();
    if rows.is_empty() && !wanted(idle::NAME) {
        return Err(format!("no row has any of these in its name: {}", args.rows.join(", ")));
    }
    let ftpish = args.ftpish.canonicalize().map_err(|e| format!("no {}: {e}", args.ftpish.display()))?;
    let mut report = Report::new(args.runs, args.scale);
    let mut complete = true;
    if !rows.is_empty() {
        let mut field = Field::new(&args.dir, ftpish.clone(), args.scale, Arc::clone(&stop))?;
        for row in rows {
            let outcome = field.run(row, args.runs)?;
            eprintln!("{}", outcome.line());
            outcome.absences().for_each(|absence| eprintln!("{absence}"));
            report.add(row, outcome);
        }
        complete = report.is_complete();
    }
    report.judge_memory();
    if wanted(idle::NAME) {
        let connections = idle::allowed((10_000.0 * args.scale) as u16).max(2);
        for (who, limit) in idle::KIB {
            let reached = idle::measure(&args.dir, &ftpish, connections, who == contenders::CLEAR);
            complete &= reached.is_ok();
            let unit = format!("KiB of the server for each of {connections}");
            report.judge(Judged::at_most(idle::NAME, who, limit, &unit, reached));
        }
    }
    print!("{}", report.markdown());
    let write = |path: &PathBuf, text: String| {
        let made =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, text));
        made.map_err(|e| format!("cannot write {}: {e}", path.display()))
    };
    write(&args.json, report.json())?;
    write(&args.chart, chart::draw(&report))?;
    Ok(complete)
}
