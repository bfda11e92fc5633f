//! Who takes part, and what each is told to do. Words in braces are filled in by `field.rs`: the server's `{host}` and
//! `{port}`, the `{served}` directory, `{what}` in it is moved, which takes ftpish a `{-r}` where it is a tree, the new
//! and empty directory `{out}` that it is moved to, whose name among what is served is `{up}`, `{dir}` with the
//! servers' configurations, and curl's `{list}` of what to do.

use crate::servers::Server;

/// A program, or a pair of them, that moves files.
pub struct Contender {
    pub name: &'static str,
    pub server: Server,
    /// The client's programs.
    pub needs: &'static [&'static str],
    /// Fetches `{served}/{what}` as `{out}/{what}`.
    pub get: Option<Job>,
    /// Stores `{served}/{what}` as `{out}/{what}`.
    pub put: Option<Job>,
    /// Makes `{out}/{what}` what `{served}/{what}` is, where it is that already.
    pub again: Option<Job>,
    /// The same, where nothing is taken for the same by its size and time.
    pub compare: Option<Job>,
    /// Lists `{what}` on standard output.
    pub list: Option<Job>,
}

/// One piece of work.
#[derive(Clone, Copy)]
pub struct Job {
    /// The server's part, where it is started for this alone; it listens on `{port}` of `{near}`.
    pub serve: &'static str,
    /// The client's part: what is timed.
    pub run: &'static str,
}

const fn run(run: &'static str) -> Option<Job> {
    Some(Job { serve: "", run })
}

pub const FTPISH: &str = "ftpish";
pub const ONE: &str = "ftpish -j 1";
pub const FOUR: &str = "ftpish -j 4";
pub const CLEAR: &str = "ftpish --plaintext";
pub const RSYNC: &str = "rsync daemon";
pub const SCP: &str = "scp aes128-gcm";
pub const SFTP: &str = "sftp";
pub const NGINX: &str = "nginx + curl";
pub const VSFTPD: &str = "vsftpd + curl";
pub const LFTP: &str = "vsftpd + lftp";
pub const TAR: &str = "tar | nc";
pub const SOCAT: &str = "socat";

/// Everybody. The order is that of the table.
pub const CONTENDERS: &[Contender] = &[
    Contender {
        name: FTPISH,
        server: Server::Ftpish,
        needs: &[],
        get: run("{ftpish} -q --server {host}:{port} get {-r} {what} {out}/"),
        put: run("{ftpish} -q --server {host}:{port} put {-r} {served}/{what} /{up}/"),
        again: run("{ftpish} -q sync {served}/{what} ftpish://{host}:{port}/{up}/{what}"),
        compare: run("{ftpish} -q sync --checksum {served}/{what} ftpish://{host}:{port}/{up}/{what}"),
        list: run("{ftpish} -q --server {host}:{port} ls {what}"),
    },
    Contender {
        name: ONE,
        server: Server::Ftpish,
        needs: &[],
        get: run("{ftpish} -q --server {host}:{port} get -j 1 {-r} {what} {out}/"),
        put: run("{ftpish} -q --server {host}:{port} put -j 1 {-r} {served}/{what} /{up}/"),
        again: None,
        compare: None,
        list: None,
    },
    Contender {
        name: FOUR,
        server: Server::Ftpish,
        needs: &[],
        get: run("{ftpish} -q --server {host}:{port} get -j 4 {-r} {what} {out}/"),
        put: run("{ftpish} -q --server {host}:{port} put -j 4 {-r} {served}/{what} /{up}/"),
        again: None,
        compare: None,
        list: None,
    },
    Contender {
        name: CLEAR,
        server: Server::FtpishPlaintext,
        needs: &[],
        get: run("{ftpish} -q --plaintext --server {host}:{port} get {-r} {what} {out}/"),
        put: run("{ftpish} -q --plaintext --server {host}:{port} put {-r} {served}/{what} /{up}/"),
        again: run("{ftpish} -q --plaintext sync {served}/{what} ftpish://{host}:{port}/{up}/{what}"),
        compare: run(
            "{ftpish} -q --plaintext sync --checksum {served}/{what} ftpish://{host}:{port}/{up}/{what}",
        ),
        list: run("{ftpish} -q --plaintext --server {host}:{port} ls {what}"),
    },
    Contender {
        name: RSYNC,
        server: Server::Rsync,
        needs: &["rsync"],
        get: run("rsync -r rsync://{host}:{port}/files/{what} {out}/"),
        put: run("rsync -r {served}/{what} rsync://{host}:{port}/files/{up}/"),
        again: run("rsync -rt {served}/{what} rsync://{host}:{port}/files/{up}/"),
        compare: run("rsync -rtc {served}/{what} rsync://{host}:{port}/files/{up}/"),
        list: run("rsync rsync://{host}:{port}/files/{what}/"),
    },
    Contender {
        name: SCP,
        server: Server::Ssh,
        needs: &["scp"],
        get: run("scp -qr -P {port} -F {dir}/ssh -c aes128-gcm@openssh.com {host}:{served}/{what} {out}/"),
        put: run("scp -qr -P {port} -F {dir}/ssh -c aes128-gcm@openssh.com {served}/{what} {host}:{out}/"),
        again: None,
        compare: None,
        list: None,
    },
    Contender {
        name: SFTP,
        server: Server::Ssh,
        needs: &["sftp"],
        get: None,
        put: None,
        again: None,
        compare: None,
        list: run("sh -c 'echo ls -1 {served}/{what} | sftp -q -P {port} -F {dir}/ssh -b - {host}'"),
    },
    Contender {
        name: NGINX,
        server: Server::Nginx,
        needs: &["curl"],
        get: run("curl -sSf -Z --parallel-max 8 --create-dirs -K {list}"),
        put: run("curl -sSf -Z --parallel-max 8 -K {list}"),
        again: None,
        compare: None,
        list: run("curl -sSf http://{host}:{port}/{what}/"),
    },
    Contender {
        name: VSFTPD,
        server: Server::Vsftpd,
        needs: &["curl"],
        // One at a time, curl 7.88 now and then waits a second for nothing: its poll forgets the connection.
        get: run("curl -sSf -Z --parallel-max 8 --create-dirs -K {list}"),
        put: run("curl -sSf -Z --parallel-max 8 --ftp-create-dirs -K {list}"),
        again: None,
        compare: None,
        list: run("curl -sSf ftp://{host}:{port}/{what}/"),
    },
    Contender {
        name: LFTP,
        server: Server::Vsftpd,
        needs: &["lftp"],
        get: run("lftp -c 'open ftp://{host}:{port}; mirror -P 8 {what} {out}/{what}'"),
        put: run("lftp -c 'open ftp://{host}:{port}; mirror -R -P 8 {served}/{what} {up}/{what}'"),
        again: run("lftp -c 'open ftp://{host}:{port}; mirror -R -P 8 {served}/{what} {up}/{what}'"),
        compare: None,
        list: None,
    },
    Contender {
        name: TAR,
        server: Server::Once,
        needs: &["nc", "tar"],
        get: Some(Job {
            serve: "sh -c 'tar -C {served} -cf - {what} | nc -lN {near} {port}'",
            run: "sh -c 'nc -d {host} {port} | tar -C {out} -xf -'",
        }),
        put: Some(Job {
            serve: "sh -c 'nc -dl {near} {port} | tar -C {out} -xf -'",
            run: "sh -c 'tar -C {served} -cf - {what} | nc -N {host} {port}'",
        }),
        again: None,
        compare: None,
        list: None,
    },
    Contender {
        name: SOCAT,
        server: Server::Once,
        needs: &["socat"],
        get: Some(Job {
            serve: "socat -u -b 1048576 OPEN:{served}/{what} TCP4-LISTEN:{port},bind={near},reuseaddr",
            run: "socat -u -b 1048576 TCP4:{host}:{port} CREATE:{out}/{what}",
        }),
        put: Some(Job {
            serve: "socat -u -b 1048576 TCP4-LISTEN:{port},bind={near},reuseaddr CREATE:{out}/{what}",
            run: "socat -u -b 1048576 OPEN:{served}/{what} TCP4:{host}:{port}",
        }),
        again: None,
        compare: None,
        list: None,
    },
];

/// The contender of this name.
pub fn named(name: &str) -> &'static Contender {
    CONTENDERS
        .iter()
        .find(|contender| contender.name == name)
        .expect("rows name contenders by their constants")
}
