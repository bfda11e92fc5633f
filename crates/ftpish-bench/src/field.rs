//! Where a row is run: servers that wait, data that is there, a new destination for each run, and a look at the result.
//! Contenders take turns, and begin with another one each time, so that what else the machine does meets all alike.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::contenders::{CLEAR, FTPISH, Job, named};
use crate::data::Data;
use crate::lists;
use crate::measure::{self, Cost};
use crate::outcome::Outcome;
use crate::relay::{Line, relay};
use crate::rows::{BYTES_A_CONNECTION, BYTES_A_SECOND, Link, ROUND_TRIP_MS, Row, Verb};
use crate::servers::{self, Ended, FAR, NEAR, Running, Server, THIN};

/// The place of the contest.
pub struct Field {
    ftpish: PathBuf,
    scale: f64,
    stop: Arc<AtomicBool>,
    line: Arc<Line>,
    made: Vec<Data>,
    servers: Vec<(Server, Result<Running, String>)>,
    /// All of it is in one directory and goes with it, behind the servers: fields are dropped in their order.
    work: TempDir,
}

/// A contender who is ready.
struct Turn {
    name: &'static str,
    server: Server,
    host: Ipv4Addr,
    port: u16,
    job: Job,
}

/// A new directory in `parent` with what every server needs: `served`, and ftpish's `state`.
pub fn work_in(parent: &Path) -> Result<TempDir, String> {
    let make = || {
        let work = tempfile::Builder::new().prefix("ftpish-bench.").tempdir_in(parent)?;
        fs::create_dir(work.path().join("served"))?;
        fs::create_dir(work.path().join("state"))?;
        io::Result::Ok(work)
    };
    make().map_err(|e| format!("cannot make a directory in {}: {e}", parent.display()))
}

impl Field {
    /// A field in `parent`, with nothing on it. When `stop` is set, it ends behind the command that runs.
    pub fn new(parent: &Path, ftpish: PathBuf, scale: f64, stop: Arc<AtomicBool>) -> Result<Self, String> {
        let work = work_in(parent)?;
        let line = Arc::new(Line::new(Duration::from_millis(ROUND_TRIP_MS), BYTES_A_SECOND));
        Ok(Self { ftpish, scale, stop, line, made: Vec::new(), servers: Vec::new(), work })
    }

    /// Runs a row. Only what stops the whole contest is an error.
    pub fn run(&mut self, row: &Row, runs: u16) -> Result<Outcome, String> {
        if !self.made.contains(&row.data) {
            row.data
                .make(&self.dir("served"), self.scale)
                .map_err(|e| format!("cannot make the data: {e}"))?;
            self.made.push(row.data);
        }
        let mut outcome = Outcome::new(row.name);
        let mut turns = Vec::new();
        for name in row.contenders {
            match self.prepare(row, name) {
                Ok(turn) => turns.push(turn),
                Err(why) => outcome.skip(name, why),
            }
        }
        for run in 0..usize::from(runs) {
            for at in 0..turns.len() {
                let turn = &turns[(run + at) % turns.len()];
                if self.stop.load(Ordering::Relaxed) {
                    return Err("interrupted".to_owned());
                }
                // Whoever failed once is not waited for again.
                if !outcome.has_failed(turn.name) {
                    outcome.add(turn.name, self.timed(row, turn));
                }
            }
        }
        for turn in &turns {
            if [FTPISH, CLEAR].contains(&turn.name) && !outcome.has_failed(turn.name) {
                outcome.add_cost(turn.name, self.weighed(row, turn));
            }
        }
        Ok(outcome)
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Starts what a contender needs; the error is why it is left out.
    fn prepare(&mut self, row: &Row, name: &'static str) -> Result<Turn, String> {
        let contender = named(name);
        for program in contender.needs {
            servers::find(program)?;
        }
        let server = contender.server;
        let port = self.port_of(server)?;
        let host = match row.link {
            Link::Near => NEAR,
            Link::Far => FAR,
            Link::Thin => THIN,
        };
        let job = row.verb.of(contender).ok_or("it has no way to do that")?;
        if server == Server::Ftpish {
            // The first client learns the host key.
            let line = format!("{} -q --accept-new --server {host}:{port} ls /", self.ftpish.display());
            self.go(&line).map_err(|why| format!("the server does not answer: {why}"))?;
        }
        Ok(Turn { name, server, host, port, job })
    }

    /// Where a server is, which is started if it was not yet, with a relay to it for each link.
    fn port_of(&mut self, server: Server) -> Result<u16, String> {
        let port =
            |started: &Result<Running, String>| started.as_ref().map(|it| it.port).map_err(Clone::clone);
        if let Some((_, started)) = self.servers.iter().find(|(who, _)| *who == server) {
            return port(started);
        }
        let started = server.start(&self.ftpish, self.work.path(), &[]).and_then(|running| {
            let listen = |host: Ipv4Addr| {
                TcpListener::bind((host, running.port)).map_err(|e| format!("no relay to {server:?}: {e}"))
            };
            let (near, line) = ((NEAR, running.port).into(), Arc::clone(&self.line));
            relay(listen(FAR)?, near, move || Arc::clone(&line));
            let thin = || Line::new(Duration::from_millis(ROUND_TRIP_MS), BYTES_A_CONNECTION);
            relay(listen(THIN)?, near, move || Arc::new(thin()));
            Ok(running)
        });
        let port = port(&started);
        self.servers.push((server, started));
        port
    }

    /// Does it once, from a fresh start to a result that is right; tells the seconds.
    fn timed(&self, row: &Row, turn: &Turn) -> Result<f64, String> {
        let destination = self.fresh(row, turn)?;
        let out = destination.path();
        let serve = self.serve(row, turn, out)?;
        let line = self.fill(turn.job.run, row, turn, out);
        let began = Instant::now();
        self.go(&line)?;
        let mut took = began.elapsed();
        if let Some(mut serve) = serve {
            measure::finish(&mut serve.0).map_err(|e| e.to_string())?;
            // A file that is stored is stored when the server's side is done, too.
            if row.verb == Verb::Put {
                took = began.elapsed();
            }
        }
        self.check(row, out)?;
        Ok(took.as_secs_f64())
    }

    /// Does it once more, and tells what client and server took; the server's memory is its peak in all so far.
    fn weighed(&self, row: &Row, turn: &Turn) -> Result<[Cost; 2], String> {
        let destination = self.fresh(row, turn)?;
        let server = self.servers.iter().find(|(who, _)| *who == turn.server);
        let server =
            server.and_then(|(_, started)| started.as_ref().ok()?.pid()).ok_or("it has no server")?;
        let before = measure::processor_of(server).ok_or("the server is gone")?;
        let mut client = self.start(&self.fill(turn.job.run, row, turn, destination.path()), "client")?;
        let (status, client) = measure::finish_with_cost(&mut client).map_err(|e| e.to_string())?;
        let memory = measure::peak_of(server).filter(|_| status.success()).ok_or("the server is gone")?;
        let processor = measure::processor_of(server).unwrap_or(before) - before;
        Ok([client, Cost { memory, processor }])
    }

    /// A destination in which nothing was before, and which goes with all that comes to be in it; for a second run, what
    /// the first one made.
    fn fresh(&self, row: &Row, turn: &Turn) -> Result<TempDir, String> {
        let parent = match row.verb {
            Verb::Get | Verb::List => self.work.path().to_owned(),
            Verb::Put | Verb::Again | Verb::Compare => self.dir("served"),
        };
        let make = || {
            let destination = tempfile::Builder::new().prefix("run-").tempdir_in(parent)?;
            if matches!(row.verb, Verb::Again | Verb::Compare) {
                let copied =
                    Command::new("cp").arg("-rp").arg(self.source(row)).arg(destination.path()).status()?;
                assert!(copied.success(), "cp copies");
            }
            let url = |path: &str| self.fill(path, row, turn, destination.path());
            match (row.verb, turn.job.run.contains("{list}")) {
                (Verb::Get, true) => {
                    let list =
                        lists::gets(&self.source(row), &url("{scheme}://{host}:{port}"), destination.path())?;
                    fs::write(self.dir("list"), list)?;
                }
                (Verb::Put, true) => {
                    let list = lists::puts(&self.source(row), &url("{scheme}://{host}:{port}/{up}"))?;
                    fs::write(self.dir("list"), list)?;
                }
                _ => {}
            }
            io::Result::Ok(destination)
        };
        make().map_err(|e| format!("cannot make a destination: {e}"))
    }

    /// Puts what they stand for in place of words in braces.
    fn fill(&self, words: &str, row: &Row, turn: &Turn, out: &Path) -> String {
        let up = out.file_name().unwrap_or_default();
        let meanings = [
            ("{ftpish}", self.ftpish.display().to_string()),
            ("{scheme}", if turn.server == Server::Vsftpd { "ftp" } else { "http" }.to_owned()),
            ("{host}", turn.host.to_string()),
            ("{near}", NEAR.to_string()),
            ("{port}", turn.port.to_string()),
            ("{-r}", if row.data.is_tree() { "-r" } else { "" }.to_owned()),
            ("{what}", row.data.name().to_owned()),
            ("{served}", self.dir("served").display().to_string()),
            ("{out}", out.display().to_string()),
            ("{up}", up.display().to_string()),
            ("{list}", self.dir("list").display().to_string()),
            ("{dir}", self.work.path().display().to_string()),
        ];
        meanings.iter().fold(words.to_owned(), |line, (word, meaning)| line.replace(word, meaning))
    }

    /// Starts the server's part of a transfer, where there is one.
    fn serve(&self, row: &Row, turn: &Turn, out: &Path) -> Result<Option<Ended>, String> {
        if turn.job.serve.is_empty() {
            return Ok(None);
        }
        let line = self.fill(turn.job.serve, row, turn, out);
        let command = measure::command(&line, self.work.path(), "server").map_err(|e| e.to_string())?;
        let mut serve = Ended::start(command)?;
        servers::await_listening(turn.port, &mut serve)?;
        Ok(Some(serve))
    }

    fn start(&self, line: &str, name: &str) -> Result<Child, String> {
        let started = measure::command(line, self.work.path(), name).and_then(|mut command| command.spawn());
        started.map_err(|e| format!("cannot run `{line}`: {e}"))
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

    fn source(&self, row: &Row) -> PathBuf {
        self.dir("served").join(row.data.name())
    }

    /// Compares what arrived with what was sent, or counts what was listed.
    fn check(&self, row: &Row, out: &Path) -> Result<(), String> {
        if row.verb == Verb::List {
            let listed = fs::read_to_string(self.dir("client.out")).unwrap_or_default();
            let listed = listed.lines().filter(|line| line.contains("file-0")).count();
            let there = row.data.files(self.scale);
            let right = (listed == there).then_some(());
            return right.ok_or_else(|| format!("lists {listed} of {there} entries"));
        }
        let arrived = out.join(row.data.name());
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
