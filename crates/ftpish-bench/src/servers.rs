//! The servers: found or installed, started on free ports, ended with the run.
//!
//! Each listens on 127.0.0.2, and the relay to it on the same port of 127.0.0.1. So a port tells whom one talks to, the
//! address how far away it is, and the ports that FTP opens for its data are found at the other end of the line, too.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::install::find;

/// Where a server is without a relay, and where with one.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// See [`NEAR`].
pub const FAR: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// How many ports the FTP server has for data: two a transfer at once would do, but for those that closed a moment ago.
pub const DATA_PORTS: u16 = 64;

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
    pub server: Server,
    pub port: u16,
    process: Option<Ended>,
}

/// What a server is told of where it is.
pub struct Place<'a> {
    pub ftpish: &'a Path,
    pub served: &'a Path,
    /// For keys, configurations and logs.
    pub dir: &'a Path,
    /// For ftpish's own keys.
    pub state: &'a Path,
    /// How many clients ftpish is to serve at once, if more than it does by itself.
    pub connections: Option<u16>,
}

impl Server {
    /// The programs that it needs, and the Debian packages that have them.
    pub fn needs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Ftpish | Self::FtpishPlaintext | Self::Once => &[],
            Self::Rsync => &[("rsync", "rsync")],
            Self::Ssh => &[("sshd", "openssh-server"), ("ssh-keygen", "openssh-client")],
            Self::Nginx => &[("nginx", "nginx")],
            Self::Vsftpd => &[("vsftpd", "vsftpd")],
        }
    }

    /// Starts it, and waits until it listens.
    pub fn start(self, place: &Place<'_>) -> Result<Running, String> {
        let port = free_ports(if self == Self::Vsftpd { DATA_PORTS + 1 } else { 1 })?;
        let mut running = Running { server: self, port, process: None };
        if let Some(mut command) = self.command(place, port)? {
            let log = place.dir.join(format!("{self:?}.log"));
            let out = File::create(&log).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
            let err = out.try_clone().map_err(|e| e.to_string())?;
            command.stdin(Stdio::null()).stdout(out).stderr(err);
            let child = command.spawn().map_err(|e| format!("cannot start {self:?}: {e}"))?;
            let process = running.process.insert(Ended(child));
            await_listening(port, process).map_err(|why| {
                format!("{self:?}: {why}: {}", fs::read_to_string(&log).unwrap_or_default().trim())
            })?;
        }
        Ok(running)
    }

    fn command(self, place: &Place<'_>, port: u16) -> Result<Option<Command>, String> {
        let Place { ftpish, served, dir, .. } = *place;
        let config = dir.join(format!("{self:?}.conf"));
        let write = |text: String| {
            fs::write(&config, text).map_err(|e| format!("cannot write {}: {e}", config.display()))
        };
        let served = served.display();
        let command = match self {
            Self::Once => return Ok(None),
            Self::Ftpish | Self::FtpishPlaintext => {
                let mut command = Command::new(ftpish);
                command.env("FTPISH_STATE_DIR", place.state).arg("serve").arg(place.served);
                command.args(["-q", "--listen", &format!("{NEAR}:{port}")]);
                if self == Self::FtpishPlaintext {
                    command.arg("--plaintext");
                }
                if let Some(connections) = place.connections {
                    command.arg(format!("--max-connections={connections}"));
                }
                command
            }
            Self::Rsync => {
                write(format!(
                    "use chroot = no\n[files]\npath = {served}\nread only = no\nuid = {}\ngid = {}\n",
                    rustix::process::getuid(),
                    rustix::process::getgid(),
                ))?;
                let mut command = Command::new("rsync");
                command.args(["--daemon", "--no-detach", &format!("--address={NEAR}")]);
                command.arg(format!("--port={port}")).arg(format!("--config={}", config.display()));
                command
            }
            Self::Ssh => {
                let key = dir.join("key");
                let mut keygen = Command::new("ssh-keygen");
                let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
                made.map_err(|e| format!("cannot make a key: {e}"))?;
                // sshd run by root wants it, and only its unit makes it.
                let _ = fs::create_dir_all("/run/sshd");
                write(format!(
                    "HostKey {key}\nAuthorizedKeysFile {key}.pub\nStrictModes no\nPidFile none\n\
                     Subsystem sftp internal-sftp\nListenAddress {NEAR}:{port}\n",
                    key = key.display(),
                ))?;
                // It runs itself anew for each connection, by its whole name.
                let sshd = find("sshd").ok_or("no sshd here")?;
                let mut command = Command::new(sshd);
                command.arg("-D").arg("-f").arg(&config);
                command
            }
            Self::Nginx => {
                let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
                write(format!(
                    "daemon off; {user} worker_processes auto; pid {dir}/nginx.pid; error_log stderr;\n\
                     events {{}}\nhttp {{ access_log off; sendfile on; keepalive_requests 1000000;\n\
                     client_body_temp_path {dir}/nginx.body; client_max_body_size 0;\n\
                     server {{ listen {NEAR}:{port}; root {served}; autoindex on;\n\
                     dav_methods PUT; create_full_put_path on; }} }}\n",
                    dir = dir.display(),
                ))?;
                let mut command = Command::new(find("nginx").ok_or("no nginx here")?);
                command.arg("-p").arg(dir).arg("-c").arg(&config);
                command
            }
            Self::Vsftpd => {
                let (first, last) = (port + 1, port + DATA_PORTS);
                write(format!(
                    "listen=YES\nbackground=NO\nlisten_address={NEAR}\nlisten_port={port}\n\
                     run_as_launching_user=YES\nseccomp_sandbox=NO\nanonymous_enable=YES\nno_anon_password=YES\n\
                     anon_root={served}\nallow_writeable_chroot=YES\nwrite_enable=YES\nanon_upload_enable=YES\n\
                     anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_umask=022\nxferlog_enable=NO\n\
                     anon_world_readable_only=NO\npasv_min_port={first}\npasv_max_port={last}\n"
                ))?;
                let mut command = Command::new(find("vsftpd").ok_or("no vsftpd here")?);
                command.arg(&config);
                command
            }
        };
        Ok(Some(command))
    }
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
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A process that is ended with its owner, and waited for.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // One that ended by itself and was waited for is signalled no more.
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
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

/// The first of so many ports in a row that nobody has, at either distance. They lie below those that the system gives
/// to clients, so that nobody else takes them a moment later.
fn free_ports(count: u16) -> Result<u16, String> {
    let is_free =
        |port: u16| [NEAR, FAR].iter().all(|host| TcpListener::bind(SocketAddr::from((*host, port))).is_ok());
    let mut candidates = std::iter::repeat_with(|| fastrand::u16(15_000..30_000)).take(1000);
    candidates.find(|first| (*first..first + count).all(is_free)).ok_or_else(|| "no free ports".to_owned())
}
