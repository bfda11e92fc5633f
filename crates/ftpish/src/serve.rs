//! `serve`: a server, until Ctrl-C or SIGTERM.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ftpish_protocol::Secret;
use ftpish_protocol::text::escape;
use ftpish_server::{
    Accounts, Config, Identity, Limits, Policy, Rights, Server, Shutdown, User, Users, hash, random_password,
};
use ftpish_storage::{ModePolicy, Root, descriptors};
use ftpish_transport::Endpoint;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use crate::cli::{Anonymous, Global, Serve};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::log::Log;
use crate::sandbox::{self, Account, Reach};
use crate::session::state_dir;
use crate::ui::{self, print};

/// Serves, and says why not. Whatever it says goes through the log, so that it never waits for who reads that.
pub fn run(args: &Serve, global: &Global) -> ExitCode {
    let log = Log::default();
    start_log(&log, args, global);
    let served = serve(args, global, &log);
    if let Err(failure) = &served {
        let _ = (&log).write_all(ui::describe(failure).as_bytes());
    }
    log.finish(io::stderr());
    served.map_or_else(|failure| ExitCode::from(failure.exit as u8), |()| ExitCode::SUCCESS)
}

fn serve(args: &Serve, global: &Global, log: &Log) -> Result<(), Failure> {
    let account = args.user.as_deref().map(Account::find).transpose()?;
    let once = once(args, global);
    let read_only = args.read_only || !may_write(args, once.is_some())?;
    let policy = Policy { read_only, rule: None };
    let accounts = accounts(args, once.as_ref())?;
    let roots = roots(args, accounts.as_ref())?;
    let modes = modes(args);
    let root = Root::open(&args.root, !args.no_sync).map_err(|error| {
        let root = escape(args.root.as_os_str().as_encoded_bytes()).to_string();
        Failure::new(Exit::NotFound, format!("cannot serve `{root}`: {error}"))
    })?;
    let identity = match global.plaintext {
        true => None,
        false => Some(
            Identity::load_or_create(&state_dir(global)?)
                .map_err(|error| Failure::new(Exit::HostKey, error.to_string()))?,
        ),
    };
    let mut listeners = Vec::new();
    for endpoint in &args.listen {
        listeners.push(endpoint.listen().map_err(|error| cannot_listen(endpoint, &error))?);
    }
    // A connection is a descriptor, and has others: for the file that moves, and for its directory.
    let connections = usize::from(args.max_connections).min(descriptors::limit() / 2);
    let limits = Limits::default();
    // Of the rest, those who are logged in already are sure.
    let unauthenticated = connections.div_ceil(2).min(limits.unauthenticated);
    let per_address = args.max_per_address.into();
    let limits = Limits { connections, per_address, unauthenticated, ..limits };
    let listening = listeners.iter().map(Endpoint::of).collect::<io::Result<Vec<_>>>();
    let server = Server::new(
        Config { root: root.with_policy(modes), policy, limits, accounts, identity: identity.clone() },
        listeners,
    );
    let cannot_start = |error: io::Error| Failure::new(Exit::Other, format!("cannot start: {error}"));
    let (listening, server) = (listening.map_err(cannot_start)?, server.map_err(cannot_start)?);
    // Before the first thread starts: each begins with what this one may do.
    let confined = give_up(&roots, read_only, &state_dir(global)?, &listening, account.as_ref())?;
    log.start(io::stderr()).map_err(cannot_start)?;
    stop_on_signals(server.shutdown()).map_err(cannot_start)?;
    Log::take_panics();
    let announcement = Announcement {
        served: roots[0].clone(),
        read_only,
        confined,
        listening,
        identity,
        login: login(args, once),
    };
    // Before the lines to paste: whoever has read those finds the notes in the log.
    for note in announcement.notes().filter(|_| !global.quiet) {
        let _ = (&*log).write_all(note.as_bytes());
    }
    // On a thread of its own: standard output may be stuck, and the server works without it.
    std::thread::Builder::new()
        .name("announce".to_owned())
        .spawn(move || {
            if let Err(failure) = announcement.print() {
                tracing::warn!(%failure, "cannot say what is served");
            }
        })
        .map_err(cannot_start)?;
    match server.run().map_err(cannot_start)? {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Interrupted, "1 connection did not end in time, and was cut")),
        cut => {
            let line = format!("{cut} connections did not end in time, and were cut");
            Err(Failure::new(Exit::Interrupted, line))
        }
    }
}

/// The user of a password that holds for one run of the server.
const ONCE: &str = "once";

/// How a client logs in.
enum Login {
    Nobody,
    Users,
    /// As [`ONCE`], by a password for this run of the server.
    Once(Secret),
}

fn login(args: &Serve, once: Option<Secret>) -> Login {
    match once {
        Some(password) => Login::Once(password),
        None if args.users.is_some() => Login::Users,
        None => Login::Nobody,
    }
}

/// A password for this run, where other machines can connect and nothing says who may. Only a person at a terminal is
/// shown it: whatever else standard output is may be kept as a log.
fn once(args: &Serve, global: &Global) -> Option<Secret> {
    let wanted = args.users.is_none() && args.anonymous.is_none() && !global.plaintext;
    let remote = !args.listen.iter().all(Endpoint::is_local);
    (wanted && remote && io::stdout().is_terminal()).then(random_password)
}

/// Whether clients may change anything; and whether the server may start at all.
fn may_write(args: &Serve, once: bool) -> Result<bool, Failure> {
    match args.anonymous {
        // What each of them may do is a matter of their rights.
        _ if args.users.is_some() || once => Ok(true),
        Some(right) => Ok(right == Anonymous::Write),
        None if args.listen.iter().all(Endpoint::is_local) => Ok(true),
        None => {
            Err(Failure::usage("other machines could connect there, and there are no accounts to ask for")
                .hint(
                    "--users FILE says who may log in; --anonymous lets everybody read, --anonymous write lets everybody change what is served; on a terminal, and encrypted, a password for this run is made",
                ))
        }
    }
}

/// The accounts of `--users`, and what those may do who have none; or the one of this run's password.
fn accounts(args: &Serve, once: Option<&Secret>) -> Result<Option<Accounts>, Failure> {
    if let Some(hash) = once.and_then(hash) {
        let mut users = Users::default();
        users.add(ONCE, User::new(hash));
        return Ok(Some(Accounts::new(users, None)));
    }
    let Some(file) = &args.users else { return Ok(None) };
    let anonymous = args.anonymous.map(|right| match right {
        Anonymous::Read => Rights::new(&Rights::READ, Vec::new()),
        Anonymous::Write => Rights::new(&Rights::ALL, Vec::new()),
    });
    Ok(Some(Accounts::new(Users::load(file)?, anonymous)))
}

/// All that is served: the root, and then those that users have apart from it. Each must be there, or its user could
/// not be told what is wrong.
fn roots(args: &Serve, accounts: Option<&Accounts>) -> Result<Vec<PathBuf>, Failure> {
    let apart = accounts.into_iter().flat_map(Accounts::roots_apart);
    let real = |root: &Path| {
        root.canonicalize().map_err(|error| {
            let root = escape(root.as_os_str().as_encoded_bytes()).to_string();
            Failure::new(Exit::NotFound, format!("cannot serve `{root}`: {error}"))
        })
    };
    [args.root.as_path()].into_iter().chain(apart).map(real).collect()
}

/// What permission bits files get that clients store. A umask is this process's from now on, too: the kernel holds new names to it.
fn modes(args: &Serve) -> ModePolicy {
    if let Some(umask) = args.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask.bits()));
    }
    let none = ModePolicy::default();
    ModePolicy {
        umask: args.umask.unwrap_or(none.umask),
        force_file: args.force_mode.unwrap_or(none.force_file),
        force_dir: args.force_dir_mode.unwrap_or(none.force_dir),
    }
}

fn cannot_listen(endpoint: &Endpoint, error: &io::Error) -> Failure {
    let failure = Failure::new(Exit::Connect, format!("cannot listen on {endpoint}: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            failure.hint("another server has this address; choose another with --listen")
        }
        _ => failure,
    }
}

/// Logs to standard error: connections, and with `--verbose` each request. `FTPISH_LOG` says it finer.
fn start_log(log: &Log, args: &Serve, global: &Global) {
    let level = match (global.quiet, args.verbose) {
        (_, true) => "debug",
        (true, false) => "warn",
        (false, false) => "info",
    };
    let filter = EnvFilter::try_from_env("FTPISH_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    // A second server in one process keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_target(false)
        .with_writer(log.clone())
        .try_init();
}

/// The first signal drains, the second ends the process at once.
fn stop_on_signals(shutdown: Shutdown) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            shutdown.start();
        }
        if signals.next().is_some() {
            std::process::exit(Exit::Interrupted as i32);
        }
    });
    Ok(())
}

/// Gives up what serving does not need; whether that is every other file, too.
fn give_up(
    roots: &[PathBuf],
    read_only: bool,
    state: &Path,
    listening: &[Endpoint],
    account: Option<&Account>,
) -> Result<bool, Failure> {
    let sockets = listening.iter().filter_map(|endpoint| match endpoint {
        Endpoint::Unix(path) => Some(path.as_path()),
        Endpoint::Tcp(..) => None,
    });
    let reach = Reach {
        roots: roots.iter().map(PathBuf::as_path).collect(),
        writable: !read_only,
        state,
        sockets: sockets.collect(),
    };
    let confined = sandbox::harden().and_then(|()| sandbox::confine(&reach));
    let confined = confined.map_err(|error| {
        Failure::new(Exit::Other, format!("cannot confine the server to what it serves: {error}"))
    })?;
    account.map_or(Ok(()), Account::assume)?;
    Ok(confined)
}

/// What is served, and the line to type on the other side.
struct Announcement {
    served: PathBuf,
    read_only: bool,
    confined: bool,
    listening: Vec<Endpoint>,
    identity: Option<Identity>,
    login: Login,
}

impl Announcement {
    /// Lines for standard error.
    fn notes(&self) -> impl Iterator<Item = &'static str> {
        let once = matches!(self.login, Login::Once(_));
        let clear = self.identity.is_none();
        let once = once.then_some(
            "the password of `once` is valid until this server ends; --users FILE is for longer\n",
        );
        let clear =
            clear.then_some("not encrypted: others on the network can read and change what is sent\n");
        once.into_iter().chain(clear)
    }

    /// Lines for standard output.
    fn print(&self) -> Result<(), Failure> {
        let served = escape(self.served.as_os_str().as_encoded_bytes());
        let how = if self.read_only { "read-only" } else { "to read and write" };
        let sandbox = match self.confined {
            true => "in a sandbox",
            false => "without a sandbox: this kernel has no Landlock",
        };
        print(format_args!("serving {served} {how}, {sandbox}"))?;
        self.listening.iter().try_for_each(|endpoint| print(format_args!("  {}", self.command(endpoint))))
    }

    /// A client's command that comes in at `endpoint`.
    fn command(&self, endpoint: &Endpoint) -> String {
        let login = match self.login {
            Login::Nobody => String::new(),
            Login::Users => " --login NAME".to_owned(),
            Login::Once(_) => format!(" --login {ONCE}"),
        };
        match (&self.identity, &self.login, endpoint) {
            (Some(identity), Login::Once(password), Endpoint::Tcp(..)) => {
                let (password, key) = (password.reveal(), identity.fingerprint());
                format!("ftpish ls 'ftpish://{ONCE}:{password}@{}/#{key}'", endpoint.in_url())
            }
            (Some(identity), ..) => {
                format!("ftpish --server {endpoint} --host-key {}{login} ls", identity.fingerprint())
            }
            (None, ..) => format!("ftpish --server {endpoint} --plaintext{login} ls"),
        }
    }
}
