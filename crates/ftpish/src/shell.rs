//! The shell: a line becomes words, words become the command line's own commands. On a terminal with history and
//! completion; elsewhere a batch, which ends at the first error.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::Parser as _;
use ftpish_client::ServerUrl;
use ftpish_protocol::message::Kind;
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, Refusal, RemotePath};
use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use signal_hook::consts::SIGINT;
use walkdir::WalkDir;

use crate::cli::{Global, Line, ShellCommand};
use crate::commands;
use crate::complete::Completion;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::location::Location;
use crate::session::Session;
use crate::ui::{Ui, print};

/// How many lines of history are kept.
const HISTORY: usize = 1000;

/// Whether there is a next line.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

/// Runs the shell on standard input.
pub fn run(global: &Global, ui: &Ui) -> Result<(), Failure> {
    let mut session = Session::new(global, ui)?;
    // Ctrl-C ends what is under way; at the prompt it is a key like any other.
    signal_hook::flag::register(SIGINT, session.interrupt.flag())
        .map_err(|error| Failure::new(Exit::Other, format!("cannot handle signals: {error}")))?;
    if io::stdin().is_terminal() { interactive(session) } else { batch(&mut session) }
}

/// Lines from a file or a pipe. Any bytes; `#` begins a comment.
fn batch(session: &mut Session) -> Result<(), Failure> {
    session.input_is_commands = true;
    for (number, line) in io::stdin().lock().split(b'\n').enumerate() {
        let line =
            line.map_err(|error| Failure::new(Exit::Other, format!("cannot read the batch: {error}")))?;
        match execute(&line, session) {
            Ok(Next::Line) => {}
            Ok(Next::Leave) => break,
            Err(failure) if failure.is_broken_pipe() => return Err(failure),
            Err(failure) => {
                session.ui.say(format_args!(
                    "line {}: {}",
                    number + 1,
                    ServerUrl::redact(&escape(&line).to_string())
                ));
                return Err(failure);
            }
        }
    }
    Ok(())
}

fn interactive(mut session: Session) -> Result<(), Failure> {
    let ui = session.ui;
    let history = session.state().join("history");
    // Says at once if there is no server, rather than at the first command.
    let greeted = session.client()?.welcome().map(drop);
    greeted.map_err(|error| Failure::client(format!("cannot use {}", session.endpoint()), error))?;
    ui.say(format_args!("connected to {}; `help` lists the commands, Ctrl-D leaves", session.endpoint()));
    let session = RefCell::new(session);
    let terminal =
        |error: ReadlineError| Failure::new(Exit::Other, format!("cannot use the terminal: {error}"));
    let mut editor = editor(FileHistory::new(), &session).map_err(terminal)?;
    // No history is no reason not to start.
    let _ = editor.load_history(&history);
    'read: loop {
        let prompt = prompt(&session.borrow().cwd);
        let text = match editor.readline(&prompt) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(terminal(error)),
        };
        // What was pasted comes as one text of several lines.
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let _ = editor.add_history_entry(ServerUrl::redact(line));
            let (done, interrupted) = {
                let mut session = session.borrow_mut();
                let done = execute(line.as_bytes(), &mut session);
                let interrupted = session.interrupt.is_set();
                // Not before the next command: a Ctrl-C that comes as it starts is meant for it.
                session.interrupt.clear();
                (done, interrupted)
            };
            match done {
                Ok(Next::Line) => {}
                Ok(Next::Leave) => break 'read,
                Err(failure) => ui.failure(&failure),
            }
            if interrupted {
                // Lines behind it are dropped, and so are those that the editor has read ahead.
                let history = std::mem::take(editor.history_mut());
                editor = self::editor(history, &session).map_err(terminal)?;
                continue 'read;
            }
        }
    }
    if std::fs::create_dir_all(history.parent().unwrap_or(Path::new("."))).is_ok() {
        let _ = editor.save_history(&history);
    }
    Ok(())
}

/// An editor that has read nothing yet.
fn editor<'a>(
    history: FileHistory,
    session: &'a RefCell<Session>,
) -> Result<Editor<Completion<'a>, FileHistory>, ReadlineError> {
    let config = Config::builder().completion_type(CompletionType::List).history_ignore_space(true).build();
    let mut editor = Editor::with_history(config, history)?;
    editor.set_max_history_size(HISTORY)?;
    editor.set_helper(Some(Completion::new(session)));
    Ok(editor)
}

fn prompt(cwd: &RemotePath) -> String {
    if cwd.is_root() { "ftpish:/> ".to_owned() } else { format!("ftpish:/{cwd}> ") }
}

/// Does what one line says.
fn execute(line: &[u8], session: &mut Session) -> Result<Next, Failure> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(Next::Line);
    }
    if let Some(command) = line.strip_prefix(b"!") {
        return run_local(command, session).map(|()| Next::Line);
    }
    let words = shlex::bytes::split(line).ok_or_else(|| Failure::usage("a quote is never closed"))?;
    let words = words.into_iter().map(OsString::from_vec);
    match Line::try_parse_from(words) {
        Ok(Line { command }) => run_command(command, session),
        // Help that was asked for is no error.
        Err(error) if !error.use_stderr() => print(error.render()).map(|()| Next::Line),
        Err(error) => {
            let text = error.render().to_string();
            Err(Failure::usage(text.trim_end().trim_start_matches("error: ")))
        }
    }
}

fn run_command(command: ShellCommand, session: &mut Session) -> Result<Next, Failure> {
    match command {
        ShellCommand::Verb(verb) => commands::run(&verb, session)?,
        ShellCommand::Cd { dir } => cd(dir, session)?,
        ShellCommand::Pwd => print(format_args!(
            "/{}",
            if session.cwd.is_root() { String::new() } else { session.cwd.to_string() }
        ))?,
        ShellCommand::Lcd { dir } => lcd(dir)?,
        ShellCommand::Lpwd => lpwd()?,
        ShellCommand::Lls { dir } => lls(&dir.unwrap_or(PathBuf::from(".")))?,
        ShellCommand::Exit => return Ok(Next::Leave),
    }
    Ok(Next::Line)
}

fn cd(dir: Option<Location>, session: &mut Session) -> Result<(), Failure> {
    let path = match dir {
        None => RemotePath::root(),
        Some(location) => session.resolve(&location)?,
    };
    let tried = format!("cannot go to `{path}`");
    // Links are followed by whoever opens the directory, so it is listed; what is in it does not matter here.
    let entry = session.client()?.stat(&path).map_err(|error| Failure::client(&tried, error))?;
    match entry.kind {
        Kind::Dir => {}
        Kind::Link => {
            let opened = session.client()?.ls(&path, &mut |_| Ok(()));
            opened.map_err(|error| Failure::client(&tried, error))?;
        }
        Kind::File | Kind::Other => {
            return Err(Failure::new(Exit::of(Code::NotDirectory), format!("{tried}: it is no directory")));
        }
    }
    session.cwd = path;
    Ok(())
}

fn lcd(dir: Option<PathBuf>) -> Result<(), Failure> {
    let dir = match dir.or_else(|| std::env::var_os("HOME").map(PathBuf::from)) {
        Some(dir) => dir,
        None => return Err(Failure::usage("there is no home directory: name one")),
    };
    std::env::set_current_dir(&dir).map_err(|error| local(&format!("go to `{}`", shown(&dir)), &error))
}

fn lpwd() -> Result<(), Failure> {
    let dir = std::env::current_dir().map_err(|error| local("tell the local directory", &error))?;
    print(shown(&dir))
}

fn lls(dir: &Path) -> Result<(), Failure> {
    for entry in WalkDir::new(dir).min_depth(1).max_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let error = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links"));
            local(&format!("list `{}`", shown(dir)), &error)
        })?;
        let slash = if entry.file_type().is_dir() { "/" } else { "" };
        print(format_args!("{}{slash}", escape(entry.file_name().as_encoded_bytes())))?;
    }
    Ok(())
}

/// A line for the local shell.
fn run_local(command: &[u8], session: &Session) -> Result<(), Failure> {
    let mut shell = Process::new("sh");
    shell.arg("-c").arg(OsString::from_vec(command.to_vec()));
    if session.input_is_commands {
        // What is left of the batch is not the command's to read.
        shell.stdin(Stdio::null());
    }
    match shell.status() {
        Err(error) => Err(local("run sh", &error)),
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(Exit::Other, format!("`{}`: {status}", escape(command)))),
    }
}

fn local(tried: &str, error: &io::Error) -> Failure {
    let refusal = Refusal::from_io(error);
    Failure::new(Exit::of(refusal.code), format!("cannot {tried}: {refusal} here"))
}

fn shown(path: &Path) -> impl std::fmt::Display {
    escape(path.as_os_str().as_encoded_bytes())
}
