//! Where a row is run: servers that wait, data that is there, a fresh destination for each run, and a look at the result.
//! Contenders take turns, and begin with another one each time, so that what else the machine does meets all alike.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::contenders::{CLEAR, Contender, FTPISH, Job, named};
use crate::data::Data;
use crate::install::provide;
use crate::lists;
use crate::measure;
use crate::outcome::Outcome;
use crate::relay::{Line, relay};
use crate::rows::{BYTES_A_SECOND, ROUND_TRIP_MS, Row, Verb};
use crate::servers::{DATA_PORTS, Ended, FAR, NEAR, Place, Running, Server};

/// The place of the contest. All of it is in one directory, and goes with it.
pub struct Field {
    work: TempDir,
    ftpish: PathBuf,
    scale: f64,
    install: bool,
    stop: Arc<AtomicBool>,
    servers: Vec<Result<Running, (Server, String)>>,
    line: Arc<Line>,
    made: Vec<Data>,
}

impl Field {
    /// A field in `parent`, with nothing on it.
    pub fn new(
        parent: &Path,
        ftpish: PathBuf,
        scale: f64,
        install: bool,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let work = tempfile::Builder::new().prefix("ftpish-bench.").tempdir_in(parent);
        let work = work.map_err(|e| format!("cannot make a directory in {}: {e}", parent.display()))?;
        for dir in ["served", "out", "state"] {
            fs::create_dir(work.path().join(dir)).map_err(|e| format!("cannot make {dir}: {e}"))?;
        }
        let line = Arc::new(Line::new(Duration::from_millis(ROUND_TRIP_MS), BYTES_A_SECOND));
        Ok(Self { work, ftpish, scale, install, stop, servers: Vec::new(), line, made: Vec::new() })
    }

    /// Runs a row. Only what stops the whole contest is an error.
    pub fn run(&mut self, row: &Row, runs: u16, slow: bool) -> Result<Outcome, String> {
        let mut outcome = Outcome { name: row.name, ..Outcome::default() };
        if !self.made.contains(&row.data) {
            row.data
                .make(&self.dir("served"), self.scale)
                .map_err(|e| format!("cannot make the data: {e}"))?;
            self.made.push(row.data);
        }
        let mut ready = Vec::new();
        for name in row.contenders {
            match self.prepare(row, named(name), slow) {
                Ok(turn) => ready.push(turn),
                Err(why) => drop(outcome.skipped.insert(name, why)),
            }
        }
        for run in 0..usize::from(runs) {
            for at in 0..ready.len() {
                let turn = &ready[(run + at) % ready.len()];
                if self.stop.load(Ordering::Relaxed) {
                    return Err("interrupted".to_owned());
                }
                // Whoever failed once is not waited for again.
                if outcome.failed.contains_key(turn.name) {
                    continue;
                }
                match self.timed(row, turn) {
                    Ok(seconds) => outcome.seconds.entry(turn.name).or_default().push(seconds),
                    Err(why) => {
                        outcome.seconds.remove(turn.name);
                        outcome.failed.insert(turn.name, why);
                    }
                }
            }
        }
        for turn in ready.iter().filter(|turn| [FTPISH, CLEAR].contains(&turn.name)) {
            if !outcome.failed.contains_key(turn.name) {
                outcome.memory.insert(turn.name, self.weighed(row, turn)?);
            }
        }
        self.fresh(row)?;
        Ok(outcome)
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Starts what a contender needs; the error is why it is left out.
    fn prepare(&mut self, row: &Row, contender: &'static Contender, slow: bool) -> Result<Turn, String> {
        if row.slow.contains(&contender.name) && !slow {
            return Err("takes minutes; --slow lets it".to_owned());
        }
        provide(contender.needs, self.install)?;
        let port = self.port_of(contender.server)?;
        let host = if row.far { FAR } else { NEAR };
        let listed = lists::write(self.work.path(), host, port, contender.server, row.data);
        listed.map_err(|e| format!("cannot write its list: {e}"))?;
        let Job { serve, run } = row.verb.of(contender).ok_or("it has no way to do that")?;
        let fill = |words: &str| {
            words
                .replace("{ftpish}", &self.ftpish.display().to_string())
                .replace("{host}", &host.to_string())
                .replace("{port}", &port.to_string())
                .replace("{listen}", &port.to_string())
                .replace("{what}", row.data.name())
                .replace("{served}", &self.dir("served").display().to_string())
                .replace("{out}", &self.dir("out").display().to_string())
                .replace("{dir}", &self.work.path().display().to_string())
        };
        let turn =
            Turn { name: contender.name, server: contender.server, port, serve: fill(serve), run: fill(run) };
        if turn.server == Server::Ftpish {
            // The first client learns the host key.
            let line = fill("{ftpish} -q --accept-new --server {host}:{port} ls /");
            self.go(&line).map_err(|why| format!("the server does not answer: {why}"))?;
        }
        Ok(turn)
    }

    /// Where a server is, which is started if it was not yet.
    fn port_of(&mut self, server: Server) -> Result<u16, String> {
        for started in &self.servers {
            match started {
                Ok(running) if running.server == server => return Ok(running.port),
                Err((failed, why)) if *failed == server => return Err(why.clone()),
                _ => {}
            }
        }
        let started = provide(server.needs(), self.install).and_then(|()| {
            let (served, state) = (self.dir("served"), self.dir("state"));
            let place = Place {
                ftpish: &self.ftpish,
                served: &served,
                dir: self.work.path(),
                state: &state,
                connections: None,
            };
            server.start(&place)
        });
        let started = started.and_then(|running| {
            let last = running.port + if server == Server::Vsftpd { DATA_PORTS } else { 0 };
            for port in running.port..=last {
                let listener =
                    TcpListener::bind((FAR, port)).map_err(|e| format!("no relay to {server:?}: {e}"))?;
                relay(listener, (NEAR, port).into(), Arc::clone(&self.line));
            }
            Ok(running)
        });
        let port = started.as_ref().map(|running| running.port).map_err(Clone::clone);
        self.servers.push(started.map_err(|why| (server, why)));
        port
    }

    /// Does it once, from a fresh start to a result that is right; tells the seconds.
    fn timed(&self, row: &Row, turn: &Turn) -> Result<f64, String> {
        self.fresh(row)?;
        let serve = self.serve(turn)?;
        let began = Instant::now();
        self.go(&turn.run)?;
        let mut took = began.elapsed();
        if let Some(mut serve) = serve {
            measure::finish(&mut serve.0).map_err(|e| e.to_string())?;
            // A file that is stored is stored when the server's side is done, too.
            if row.verb == Verb::Put {
                took = began.elapsed();
            }
        }
        self.check(row)?;
        Ok(took.as_secs_f64())
    }

    /// Does it once more, and tells the peak memory of client and server in KiB.
    fn weighed(&self, row: &Row, turn: &Turn) -> Result<(u64, u64), String> {
        self.fresh(row)?;
        let server = self.servers.iter().flatten().find(|running| running.server == turn.server);
        let server = server.and_then(Running::pid).ok_or("the server is gone")?;
        measure::forget_peak(server).map_err(|e| format!("cannot begin to weigh the server: {e}"))?;
        let mut child = self.start(&turn.run, "client")?;
        let (status, client) = measure::finish_with_peak(&mut child).map_err(|e| e.to_string())?;
        let server = measure::peak_of(server).filter(|_| status.success()).ok_or("the server is gone")?;
        Ok((client, server))
    }

    /// Starts the server's part of a transfer, where there is one.
    fn serve(&self, turn: &Turn) -> Result<Option<Ended>, String> {
        if turn.serve.is_empty() {
            return Ok(None);
        }
        let mut serve = Ended(self.start(&turn.serve, "server")?);
        crate::servers::await_listening(turn.port, &mut serve)?;
        Ok(Some(serve))
    }

    fn start(&self, line: &str, name: &str) -> Result<std::process::Child, String> {
        measure::start(line, self.work.path(), name).map_err(|e| format!("cannot run `{line}`: {e}"))
    }

    /// Runs a command to its end, which must be a good one.
    fn go(&self, line: &str) -> Result<(), String> {
        let status = measure::finish(&mut self.start(line, "client")?).map_err(|e| e.to_string())?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(self.dir("client.err")).unwrap_or_default();
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        Err(format!("`{line}`: {said} ({status})"))
    }

    /// Leaves nothing of the run before: but for a second run, what the first one made.
    fn fresh(&self, row: &Row) -> Result<(), String> {
        let up = self.dir("served/up");
        let made = (|| {
            for dir in [&self.dir("out"), &up] {
                if dir.exists() {
                    fs::remove_dir_all(dir)?;
                }
                fs::create_dir(dir)?;
            }
            if row.verb == Verb::Again {
                let copied = Command::new("cp").arg("-rp").arg(self.source(row)).arg(&up).status()?;
                assert!(copied.success(), "cp copies");
            }
            std::io::Result::Ok(())
        })();
        made.map_err(|e| format!("cannot clear the destination: {e}"))
    }

    fn source(&self, row: &Row) -> PathBuf {
        self.dir("served").join(row.data.name())
    }

    /// Compares what arrived with what was sent, or counts what was listed.
    fn check(&self, row: &Row) -> Result<(), String> {
        let arrived = match row.verb {
            Verb::Get => self.dir("out"),
            Verb::Put | Verb::Again => self.dir("served/up"),
            Verb::List => {
                let listed = fs::read_to_string(self.dir("client.out")).unwrap_or_default();
                let (listed, there) = (
                    listed.lines().filter(|line| line.contains("file-0")).count(),
                    row.data.files(self.scale),
                );
                return if listed == there {
                    Ok(())
                } else {
                    Err(format!("lists {listed} of {there} entries"))
                };
            }
        };
        let arrived = arrived.join(row.data.name());
        let differs = Command::new("diff").arg("-rq").arg(self.source(row)).arg(&arrived).output();
        let differs = differs.map_err(|e| format!("cannot run diff: {e}"))?;
        if differs.status.success() {
            return Ok(());
        }
        let said = [differs.stdout, differs.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        Err(format!(
            "what arrived is not what was sent: {}",
            said.lines().next().unwrap_or("diff says nothing")
        ))
    }
}

/// A contender with its words filled in.
struct Turn {
    name: &'static str,
    server: Server,
    port: u16,
    serve: String,
    run: String,
}
