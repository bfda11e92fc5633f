//! Files whose file system tells another size than they have: below /proc none at all, below /sys a page. All that is there
//! moves, in every way.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Client, Server, World, skip};

/// A directory whose files have more bytes than their file system tells, and one whose files have fewer.
const LYING: [&str; 2] = ["/proc/sys/kernel/keys", "/sys/kernel/mm/transparent_hugepage/khugepaged"];

/// The files in a directory that can be read, and what they have.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            // What counts something may be another number by the time it moves.
            Some((name, fs::read(&path).ok()?)).filter(|_| fs::read(&path).ok() == fs::read(&path).ok())
        })
        .collect();
    files.retain(|(name, content)| {
        let told = dir.join(name).metadata().map_or(0, |found| found.len());
        told != content.len() as u64 && !matches!(name.as_str(), "full_scans" | "pages_collapsed")
    });
    files
}

#[track_caller]
fn assert_there(dir: &Path, files: &[(String, Vec<u8>)]) {
    for (name, content) in files {
        assert_eq!(&fs::read(dir.join(name)).unwrap(), content, "{name}");
    }
}

/// Serves a directory, for a client of the same world.
fn serving<'a>(world: &'a World, dir: &str) -> (Server, Client<'a>) {
    let mut serve = world.command();
    serve.args(["serve", dir, "--listen", "127.0.0.1:0", "--plaintext", "--read-only", "--state-dir"]);
    serve.arg(world.path("other-state"));
    let server = Server::start(serve, world.path("other.log"));
    let client = world.stranger_to(&server.address).flags(["--plaintext".into()]);
    (server, client)
}

#[test]
fn what_has_another_size_than_is_told_is_stored_as_it_is() {
    for dir in LYING {
        let from = PathBuf::from(dir);
        let files = files(&from);
        if files.len() < 2 {
            skip(format_args!("{dir} has no files that lie about their size"));
            continue;
        }
        let world = World::plaintext();
        world.run("mkdir several repaired").ok();
        let paths: Vec<_> = files.iter().map(|(name, _)| format!("{dir}/{name}")).collect();
        world.run(&format!("put {} one", paths[0])).ok();
        assert_eq!(fs::read(world.root("one")).unwrap(), files[0].1);
        world.run(&format!("put {} several/ --manifest noted", paths.join(" "))).ok();
        assert_there(&world.root("several"), &files);
        for path in &paths {
            world.run(&format!("put --repair {path} repaired/")).ok();
            world.run(&format!("put --digest md5 -j 2 {path} repaired/")).ok();
        }
        assert_there(&world.root("repaired"), &files);
        world.run("verify --manifest noted several").code.unwrap();
        for (line, to) in [(format!("put -r {dir} tree"), "tree"), (format!("sync {dir} :synced"), "synced")]
        {
            world.run(&line);
            assert_there(&world.root(to), &files);
        }
        world.client().pipe(&fs::read(&paths[0]).unwrap(), "put - piped").ok();
        assert_eq!(fs::read(world.root("piped")).unwrap(), files[0].1);
    }
}

#[test]
fn what_has_another_size_than_is_told_is_fetched_as_it_is() {
    for dir in LYING {
        let files = files(Path::new(dir));
        if files.len() < 2 {
            skip(format_args!("{dir} has no files that lie about their size"));
            continue;
        }
        let world = World::empty();
        let (_server, client) = serving(&world, dir);
        let names: Vec<_> = files.iter().map(|(name, _)| name.clone()).collect();
        for to in ["several", "repaired"] {
            fs::create_dir(world.here(to)).unwrap();
        }
        client.run(&format!("get {} one", names[0])).ok();
        assert_eq!(fs::read(world.here("one")).unwrap(), files[0].1);
        client.run(&format!("get {} several/", names.join(" "))).ok();
        assert_there(&world.here("several"), &files);
        for (name, content) in &files {
            client.run(&format!("get --repair {name} repaired/")).ok();
            client.run(&format!("get --digest md5 -j 2 {name} repaired/")).ok();
            assert_eq!(client.run(&format!("cat {name}")).ok().text.as_bytes(), content);
            let digest = ftpish_protocol::Algorithm::Blake3.digest(content).hex();
            assert!(client.run(&format!("hash {name}")).ok().text.starts_with(&digest));
        }
        assert_there(&world.here("repaired"), &files);
        for (line, to) in [("get -r . tree", "tree"), ("sync : synced", "synced")] {
            client.run(line);
            assert_there(&world.here(to), &files);
        }
    }
}
