//! What curl is to fetch or store, as a list in a file: ten thousand names fit no command line.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A list of all files at or below `top`, to be fetched from below `url` into `out`.
pub fn gets(top: &Path, url: &str, out: &Path) -> io::Result<String> {
    list(top, |list, _, name| writeln!(list, "url = \"{url}/{name}\"\noutput = \"{}/{name}\"", out.display()))
}

/// A list of all files at or below `top`, to be stored below `url`.
pub fn puts(top: &Path, url: &str) -> io::Result<String> {
    list(top, |list, file, name| {
        writeln!(list, "url = \"{url}/{name}\"\nupload-file = \"{}\"", file.display())
    })
}

/// Adds something for each file and its name, which begins with that of `top`.
fn list(top: &Path, mut add: impl FnMut(&mut String, &Path, &str) -> std::fmt::Result) -> io::Result<String> {
    let mut files = Vec::new();
    walk(top, &mut files)?;
    files.sort();
    let mut list = String::new();
    for file in &files {
        let name = file.strip_prefix(top.parent().unwrap_or(top)).unwrap_or(file);
        add(&mut list, file, &name.display().to_string()).expect("a String takes all");
    }
    Ok(list)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_each_file_by_the_name_that_it_gets() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("t");
        fs::create_dir_all(top.join("d")).unwrap();
        for file in ["b", "d/a"] {
            fs::write(top.join(file), "").unwrap();
        }
        let got = gets(&top, "http://h", Path::new("/out")).unwrap();
        let lines = [
            "url = \"http://h/t/b\"",
            "output = \"/out/t/b\"",
            "url = \"http://h/t/d/a\"",
            "output = \"/out/t/d/a\"",
        ];
        assert_eq!(got.lines().collect::<Vec<_>>(), lines);
        let put = puts(&top.join("b"), "ftp://h/up").unwrap();
        assert_eq!(put, format!("url = \"ftp://h/up/b\"\nupload-file = \"{}/b\"\n", top.display()));
    }
}
