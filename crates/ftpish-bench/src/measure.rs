//! The watch and the scales: how long a command takes, how much memory it takes, and what the middle of several runs is.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a command may take before it is killed: the slowest peer on the longest link needs four minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often a command's memory is looked at. What is asked for is the peak so far, so only what it gains in the last
/// moment is missed.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A command, given as a shell would be, but without one: a shell takes as long as a short command. It runs in `dir`,
/// where what it prints is kept as NAME.out and NAME.err.
pub fn command(line: &str, dir: &Path, name: &str) -> io::Result<Command> {
    let words = shlex::split(line).ok_or_else(|| io::Error::other(format!("not words: {line}")))?;
    let (program, arguments) = words.split_first().ok_or_else(|| io::Error::other("no words"))?;
    let keep = |what: &str| File::create(dir.join(format!("{name}.{what}")));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).env("FTPISH_STATE_DIR", dir.join("state"));
    command.stdin(Stdio::null()).stdout(keep("out")?).stderr(keep("err")?);
    Ok(command)
}

/// Waits for a command, and kills it when it takes too long.
pub fn finish(child: &mut Child) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    let (done, ended) = channel::<()>();
    thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let status = child.wait();
    drop(done);
    status
}

/// What a process takes.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The most memory that it had, in KiB.
    pub memory: u64,
    /// Seconds of processor.
    pub processor: f64,
}

/// Waits for a command, and tells what it took.
pub fn finish_with_cost(child: &mut Child) -> io::Result<(ExitStatus, Cost)> {
    let pid = Pid::from_child(child);
    let mut cost = Cost { memory: 0, processor: 0.0 };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, cost));
        }
        // A process that has just ended has no memory any more.
        cost.memory = cost.memory.max(peak_of(pid).unwrap_or(0));
        cost.processor = processor_of(pid).unwrap_or(cost.processor);
        thread::sleep(LOOK_EVERY);
    }
}

/// The seconds of processor that a process has taken, in its own code and in the kernel's (proc_pid_stat(5): fields 14
/// and 15, in clock ticks, of which Linux has 100 a second).
pub fn processor_of(pid: Pid) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')')?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().ok());
    Some(ticks.sum::<Option<u64>>()? as f64 / 100.0)
}

/// The most memory that a process had so far, in KiB.
pub fn peak_of(pid: Pid) -> Option<u64> {
    status(pid, "VmHWM:")
}

/// The memory that it has now, in KiB.
pub fn memory_of(pid: Pid) -> Option<u64> {
    status(pid, "VmRSS:")
}

fn status(pid: Pid, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// The middle one of several numbers, or the mean of the two in the middle. There must be one.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), 3.0);
    }

    #[test]
    fn a_command_is_its_words_and_its_output_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut command =
            command("sh -c 'echo \"$0\"; echo no >&2; exit 3' 'a  b'", dir.path(), "x").unwrap();
        assert_eq!(finish(&mut command.spawn().unwrap()).unwrap().code(), Some(3));
        assert_eq!(fs::read_to_string(dir.path().join("x.out")).unwrap(), "a  b\n");
        assert_eq!(fs::read_to_string(dir.path().join("x.err")).unwrap(), "no\n");
    }

    #[test]
    fn a_process_has_memory() {
        let own = rustix::process::getpid();
        assert!(memory_of(own).unwrap() > 100);
        assert!(peak_of(own).unwrap() > 100);
        let before = processor_of(own).unwrap();
        while processor_of(own).unwrap() == before {}
    }
}
