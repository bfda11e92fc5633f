//! Files that tell clients what to do, where their arguments cannot: curl's lists of what to fetch and to store, and sftp's
//! batches.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::data::Data;
use crate::servers::Server;

/// Writes what the clients of this server need for this data into `dir`, if it is not yet there.
pub fn write(dir: &Path, host: Ipv4Addr, port: u16, server: Server, data: Data) -> io::Result<()> {
    let what = data.name();
    match server {
        Server::Nginx => curl(dir, "http", host, port, what),
        Server::Vsftpd => curl(dir, "ftp", host, port, what),
        Server::Ssh => {
            let own = format!(
                "IdentityFile {dir}/key\nIdentitiesOnly yes\nStrictHostKeyChecking no\n\
                 UserKnownHostsFile /dev/null\nLogLevel ERROR\n",
                dir = dir.display()
            );
            fs::write(dir.join("ssh"), own)?;
            fs::write(dir.join(format!("sftp.{what}")), format!("ls -1 {}/served/{what}\n", dir.display()))
        }
        Server::Ftpish | Server::FtpishPlaintext | Server::Rsync | Server::Once => Ok(()),
    }
}

fn curl(dir: &Path, scheme: &str, host: Ipv4Addr, port: u16, what: &str) -> io::Result<()> {
    let [get, put] = ["get", "put"].map(|verb| dir.join(format!("{scheme}.{verb}.{host}.{what}")));
    if get.exists() {
        return Ok(());
    }
    let served = dir.join("served");
    let mut files = Vec::new();
    walk(&served.join(what), &mut files)?;
    files.sort();
    let (mut gets, mut puts) = (String::new(), String::new());
    for file in &files {
        let name = file.strip_prefix(&served).unwrap_or(file).display();
        let (file, dir) = (file.display(), dir.display());
        let _ = writeln!(gets, "url = \"{scheme}://{host}:{port}/{name}\"\noutput = \"{dir}/out/{name}\"");
        let _ = writeln!(puts, "url = \"{scheme}://{host}:{port}/up/{name}\"\nupload-file = \"{file}\"");
    }
    fs::write(get, gets)?;
    fs::write(put, puts)
}

/// Adds the files at or below `path`.
fn walk(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        walk(&entry?.path(), files)?;
    }
    Ok(())
}
