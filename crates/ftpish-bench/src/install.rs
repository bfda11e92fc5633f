//! The peers' programs: found, or installed where that can be done.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where a program is. Servers are in directories that not everybody's PATH has.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether these programs are here, or were installed just now; the first that is not is told.
pub fn provide(needs: &[(&'static str, &'static str)], install: bool) -> Result<(), String> {
    for (program, package) in needs {
        if find(program).is_none()
            && install
            && find("apt-get").is_some()
            && rustix::process::getuid().is_root()
        {
            eprintln!("installing {package}");
            let mut apt = Command::new("apt-get");
            // At run level 1 a package starts no service that it brings.
            apt.args(["install", "-y", "-qq", package]).env("RUNLEVEL", "1");
            apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
            let _ = apt.status();
        }
        if find(program).is_none() {
            return Err(format!("no {program} here (in Debian's {package})"));
        }
    }
    Ok(())
}
