//! The servers: found, started on free ports, ended with the run.
//!
//! Each listens on 127.0.0.2, and the relay to it on the same port of 127.0.0.1: a port tells whom one talks to, the
//! address how far away it is.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Where a server is without a relay, and where with one.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// See [`NEAR`].
pub const FAR: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// See [`NEAR`].
pub const THIN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Ftpish,
    FtpishPlaintext,
    Rsync,
    Ssh,
    Nginx,
    Vsftpd,
    /// Started for each transfer, by the contender.
    Once,
}

/// A running server, or for [`Server::Once`] the port that it will have.
pub struct Running {
    pub port: u16,
    process: Option<Ended>,
}

impl Server {
    /// The programs that it needs.
    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Ftpish | Self::FtpishPlaintext | Self::Once => &[],
            Self::Rsync => &["rsync"],
            Self::Ssh => &["sshd", "ssh-keygen"],
            Self::Nginx => &["nginx"],
            Self::Vsftpd => &["vsftpd"],
        }
    }

    /// Starts it in `dir`, where `served` is what it serves, and waits until it listens. ftpish is given `flags`, too.
    pub fn start(self, ftpish: &Path, dir: &Path, flags: &[String]) -> Result<Running, String> {
        let programs = self.needs().iter().map(|program| find(program)).collect::<Result<Vec<_>, _>>()?;
        let program = programs.first().map_or(ftpish, PathBuf::as_path);
        let port = free_port()?;
        let mut process = None;
        if self != Self::Once {
            let mut command = Command::new(program);
            self.configure(&mut command, dir, port)?;
            if matches!(self, Self::Ftpish | Self::FtpishPlaintext) {
                command.args(flags);
            }
            let log = dir.join(format!("{self:?}.log"));
            let out = File::create(&log).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
            let err = out.try_clone().map_err(|e| e.to_string())?;
            command.stdin(Stdio::null()).stdout(out).stderr(err);
            let started = process.insert(Ended::start(command)?);
            await_listening(port, started).map_err(|why| {
                format!("{self:?}: {why}: {}", fs::read_to_string(&log).unwrap_or_default().trim())
            })?;
        }
        Ok(Running { port, process })
    }

    /// Adds the arguments, and writes the configuration that they name.
    fn configure(self, command: &mut Command, dir: &Path, port: u16) -> Result<(), String> {
        let config = dir.join(format!("{self:?}.conf"));
        let text = self.configuration(dir, port);
        fs::write(&config, text).map_err(|e| format!("cannot write {}: {e}", config.display()))?;
        match self {
            Self::Once => {}
            Self::Ftpish | Self::FtpishPlaintext => {
                command.env("FTPISH_STATE_DIR", dir.join("state")).arg("serve").arg(dir.join("served"));
                command.args(["-q", "--listen", &format!("{NEAR}:{port}")]);
                command.args((self == Self::FtpishPlaintext).then_some("--plaintext"));
            }
            Self::Rsync => {
                command.args(["--daemon", "--no-detach", &format!("--address={NEAR}")]);
                command.arg(format!("--port={port}")).arg(format!("--config={}", config.display()));
            }
            Self::Ssh => {
                let mut keygen = Command::new("ssh-keygen");
                let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join("key")).status();
                made.map_err(|e| format!("cannot make a key: {e}"))?;
                let client = format!(
                    "IdentityFile {dir}/key\nIdentitiesOnly yes\nStrictHostKeyChecking no\n\
                     UserKnownHostsFile /dev/null\nLogLevel ERROR\n",
                    dir = dir.display()
                );
                fs::write(dir.join("ssh"), client).map_err(|e| format!("cannot configure ssh: {e}"))?;
                // sshd run by root wants it, and only its unit makes it.
                let _ = fs::create_dir_all("/run/sshd");
                command.arg("-D").arg("-f").arg(&config);
            }
            Self::Nginx => drop(command.arg("-p").arg(dir).arg("-c").arg(&config)),
            Self::Vsftpd => drop(command.arg(&config)),
        }
        Ok(())
    }

    fn configuration(self, dir: &Path, port: u16) -> String {
        let dir = dir.display();
        match self {
            Self::Once | Self::Ftpish | Self::FtpishPlaintext => String::new(),
            Self::Rsync => {
                // A daemon that root started would become somebody else.
                let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
                let who =
                    if user.is_root() { format!("uid = {user}\ngid = {group}\n") } else { String::new() };
                format!("use chroot = no\n[files]\npath = {dir}/served\nread only = no\n{who}")
            }
            Self::Ssh => format!(
                "HostKey {dir}/key\nAuthorizedKeysFile {dir}/key.pub\nStrictModes no\nPidFile none\n\
                 Subsystem sftp internal-sftp\nListenAddress {NEAR}:{port}\n"
            ),
            Self::Nginx => {
                let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
                format!(
                    "daemon off; {user} worker_processes auto; pid {dir}/nginx.pid; error_log stderr;\n\
                     events {{}}\nhttp {{ access_log off; sendfile on; keepalive_requests 1000000;\n\
                     client_body_temp_path {dir}/nginx.body; client_max_body_size 0;\n\
                     server {{ listen {NEAR}:{port}; root {dir}/served; autoindex on;\n\
                     dav_methods PUT; create_full_put_path on; }} }}\n"
                )
            }
            Self::Vsftpd => format!(
                "listen=YES\nbackground=NO\nlisten_address={NEAR}\nlisten_port={port}\n\
                 run_as_launching_user=YES\nseccomp_sandbox=NO\nanonymous_enable=YES\nno_anon_password=YES\n\
                 anon_root={dir}/served\nallow_writeable_chroot=YES\nwrite_enable=YES\nanon_upload_enable=YES\n\
                 anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_umask=022\nxferlog_enable=NO\n\
                 anon_world_readable_only=NO\n"
            ),
        }
    }
}

/// Where a program is; the error says that it is nowhere. Servers are in directories that not everybody's PATH has, and sshd
/// asks to be run by its whole name.
pub fn find(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let file = dirs.find_map(|dir| Some(dir.join(program)).filter(|file| file.is_file()));
    file.ok_or_else(|| format!("no {program} here"))
}

impl Running {
    /// The server's process; none for [`Server::Once`].
    pub fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|Ended(child)| Pid::from_child(child))
    }
}

/// Waits until a server listens on its port.
pub fn await_listening(port: u16, Ended(server): &mut Ended) -> Result<(), String> {
    let began = Instant::now();
    while !is_listening(port) {
        if let Ok(Some(status)) = server.try_wait() {
            return Err(format!("it ended ({status})"));
        }
        if began.elapsed() > PATIENCE {
            return Err("it does not listen".to_owned());
        }
        // Peers do not tell when they listen.
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A process, and those that it started, which are ended with their owner.
pub struct Ended(pub Child);

impl Ended {
    /// Starts a command as the first of a process group, so that a pipeline is ended as a whole.
    pub fn start(mut command: Command) -> Result<Self, String> {
        let child = command.process_group(0).spawn();
        child.map(Self).map_err(|e| format!("cannot start {}: {e}", command.get_program().display()))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // One that ended by itself and was waited for is signalled no more.
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::TERM);
            let _ = self.0.wait();
        }
    }
}

/// Whether somebody listens there. A connection would tell, too, but use up a server that takes only one.
fn is_listening(port: u16) -> bool {
    // proc_net_tcp(5): the second word is the local address in hexadecimal, the fourth the state; 0A is listening.
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        // NEAR, as the table writes it; the relay has the same port elsewhere.
        words.next() == Some(&format!("0200007F:{port:04X}")) && words.nth(1) == Some("0A")
    })
}

/// A port that nobody has, at either distance. It lies below those that the system gives to clients, so that nobody else takes
/// it a moment later.
fn free_port() -> Result<u16, String> {
    let is_free = |port: &u16| {
        [NEAR, FAR, THIN].iter().all(|host| TcpListener::bind(SocketAddr::from((*host, *port))).is_ok())
    };
    let mut candidates = std::iter::repeat_with(|| fastrand::u16(15_000..30_000)).take(1000);
    candidates.find(is_free).ok_or_else(|| "no free ports".to_owned())
}
