//! Permission bits: what new names get, what existing ones keep, and what the receiving side's system adds.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use assert_cmd::Command;
use rustix::fs::{XattrFlags, setxattr};

use crate::harness::{Server, World, skip, with_umask};

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Files and directories with many sorts of bits, `top` among them.
fn make_tree(top: &Path) {
    for (dir, bits) in [("open", 0o777), ("", 0o775), ("private", 0o700), ("closed", 0o555)] {
        fs::create_dir_all(top.join(dir)).unwrap();
        fs::write(top.join(dir).join("file"), "content").unwrap();
        fs::write(top.join(dir).join("tool"), "#!/bin/sh").unwrap();
        set_mode(top.join(dir).join("file"), 0o666);
        set_mode(top.join(dir).join("tool"), 0o755);
        set_mode(top.join(dir), bits);
    }
}

/// Every name below `top`, and the bits of its original below `source` as `change` makes them.
#[track_caller]
fn assert_modes(source: &Path, top: &Path, change: impl Fn(u32) -> u32) {
    for name in ["", "file", "tool", "open", "open/file", "open/tool", "private", "closed", "closed/tool"] {
        let (original, copy) = (mode(source.join(name)), mode(top.join(name)));
        let wanted = change(original);
        assert_eq!(copy, wanted, "`{name}` is {copy:o}, not {wanted:o}, of {original:o}");
    }
}

/// A server under this umask, and what clients do under another one.
fn world(server: &str, client: &str) -> (World, Server, impl Fn(&World, &Server, &str)) {
    let world = World::empty();
    let serve = world.serve_command("--listen 127.0.0.1:0 --plaintext --no-sync");
    let server = Server::start(with_umask(&serve, server), world.path("server.log"));
    let client = client.to_owned();
    let run = move |world: &World, server: &Server, line: &str| {
        let client_ = world.stranger_to(&server.address).flags(["--plaintext".into()]);
        let command = with_umask(&client_.command(line.split_whitespace()), &client);
        let output = Command::from_std(command).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    (world, server, run)
}

#[test]
fn what_is_new_has_the_bits_of_its_source_under_the_receivers_umask() {
    for (umask, bits) in [("000", 0), ("022", 0o022), ("077", 0o077)] {
        let (world, server, run) = world("000", umask);
        make_tree(&world.root("tree"));
        for (name, line) in [("got", "get -r tree got"), ("synced", "sync :tree synced")] {
            run(&world, &server, line);
            assert_modes(&world.root("tree"), &world.here(name), |mode| mode & !bits);
        }
        run(&world, &server, "get tree/open/file tree/open/tool ./");
        assert_eq!((mode(world.here("file")), mode(world.here("tool"))), (0o666 & !bits, 0o755 & !bits));
        run(&world, &server, "get -r --perms tree exact");
        assert_modes(&world.root("tree"), &world.here("exact"), |mode| mode);
        let (world, server, run) = self::world(umask, "000");
        make_tree(&world.here("tree"));
        for (name, line) in [("put", "put -r tree put"), ("synced", "sync tree :synced")] {
            run(&world, &server, line);
            assert_modes(&world.here("tree"), &world.root(name), |mode| mode & !bits);
        }
        run(&world, &server, "put tree/open/file tree/open/tool /");
        assert_eq!((mode(world.root("file")), mode(world.root("tool"))), (0o666 & !bits, 0o755 & !bits));
        run(&world, &server, "put -r --perms tree exact");
        assert_modes(&world.here("tree"), &world.root("exact"), |mode| mode);
        run(&world, &server, "mkdir made -p made/below");
        assert_eq!(
            (mode(world.root("made")), mode(world.root("made/below"))),
            (0o777 & !bits, 0o777 & !bits)
        );
    }
}

#[test]
fn what_comes_from_standard_input_has_the_bits_of_any_new_file() {
    let (world, server, _) = world("077", "022");
    let client = world.stranger_to(&server.address).flags(["--plaintext".into()]);
    client.pipe(b"content", "put - new").ok();
    assert_eq!(mode(world.root("new")), 0o600);
}

#[test]
fn large_files_have_partial_files_of_their_own_and_the_same_bits() {
    let (world, server, run) = world("027", "027");
    fs::write(world.here("large"), vec![7; 9 << 20]).unwrap();
    set_mode(world.here("large"), 0o777);
    for jobs in [1, 2] {
        run(&world, &server, &format!("-j {jobs} put large up{jobs}"));
        run(&world, &server, &format!("-j {jobs} get up{jobs} back{jobs}"));
        assert_eq!(mode(world.root(format!("up{jobs}"))), 0o750);
        assert_eq!(mode(world.here(format!("back{jobs}"))), 0o750);
    }
}

#[test]
fn what_exists_keeps_its_bits_unless_they_are_to_be_those_of_the_source() {
    let (world, server, run) = world("022", "022");
    fs::create_dir(world.here("tree")).unwrap();
    fs::create_dir(world.root("tree")).unwrap();
    for (name, size) in [("small", 7), ("large", 5 << 20)] {
        fs::write(world.here("tree").join(name), vec![1; size]).unwrap();
        fs::write(world.root("tree").join(name), vec![2; size]).unwrap();
        set_mode(world.here("tree").join(name), 0o755);
        set_mode(world.root("tree").join(name), 0o606);
    }
    set_mode(world.root("tree"), 0o711);
    let is = |dir: u32, file: u32| {
        assert_eq!(mode(world.root("tree")), dir);
        for name in ["small", "large"] {
            assert_eq!(mode(world.root("tree").join(name)), file, "{name}");
            assert_eq!(fs::read(world.root("tree").join(name)).unwrap()[0], 1);
        }
    };
    run(&world, &server, "put tree/small tree/large tree/");
    is(0o711, 0o606);
    run(&world, &server, "sync tree :tree");
    is(0o711, 0o606);
    // It is no difference, then.
    run(&world, &server, "sync --dry-run tree :tree");
    run(&world, &server, "sync --perms tree :tree");
    is(0o755, 0o755);
    set_mode(world.here("tree/small"), 0o640);
    fs::write(world.root("tree/small"), "another").unwrap();
    run(&world, &server, "get tree/small tree/small");
    assert_eq!(mode(world.here("tree/small")), 0o640);
    run(&world, &server, "get --perms tree/small tree/small");
    assert_eq!(mode(world.here("tree/small")), 0o755);
}

#[test]
fn directories_below_one_with_setgid_have_it_too() {
    for umask in ["022", "077"] {
        let (world, server, run) = world(umask, umask);
        make_tree(&world.here("tree"));
        fs::create_dir(world.root("shared")).unwrap();
        set_mode(world.root("shared"), 0o2770);
        fs::create_dir(world.here("shared")).unwrap();
        set_mode(world.here("shared"), 0o2770);
        run(&world, &server, "put -r tree shared/");
        run(&world, &server, "sync tree :shared/synced");
        run(&world, &server, "put -r --perms tree shared/exact");
        run(&world, &server, "mkdir -p shared/made/below");
        run(&world, &server, "get -r shared shared/got");
        for top in [world.root("shared"), world.here("shared/got")] {
            for dir in ["tree", "tree/closed", "synced/open", "exact", "exact/private", "made/below"] {
                assert_eq!(mode(top.join(dir)) & 0o7000, 0o2000, "{}", top.join(dir).display());
            }
            assert_eq!(mode(top.join("tree/tool")) & 0o7000, 0);
        }
    }
}

/// Gives a directory a default ACL of these nine bits, with a mask and a named user beside them.
fn set_default_acl(dir: &Path, bits: u16) -> rustix::io::Result<()> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    let nobody = u32::MAX;
    for (tag, bits, id) in [
        (0x01_u16, bits >> 6, nobody),
        (0x02, 7, 1234),
        (0x04, 7, nobody),
        (0x10, bits >> 3, nobody),
        (0x20, bits, nobody),
    ] {
        value.extend([tag.to_le_bytes(), (bits & 7).to_le_bytes()].concat());
        value.extend(id.to_le_bytes());
    }
    setxattr(dir, "system.posix_acl_default", &value, XattrFlags::empty())
}

#[test]
fn a_default_acl_holds_in_place_of_the_umask() {
    let (world, server, run) = world("000", "000");
    make_tree(&world.here("tree"));
    fs::write(world.here("large"), vec![7; 5 << 20]).unwrap();
    set_mode(world.here("large"), 0o777);
    for dir in [world.root("acl"), world.here("acl")] {
        fs::create_dir(&dir).unwrap();
        if let Err(error) = set_default_acl(&dir, 0o750) {
            return skip(format_args!("default ACLs: {error}"));
        }
    }
    run(&world, &server, "put -r tree large acl/");
    assert_modes(&world.here("tree"), &world.root("acl/tree"), |mode| mode & 0o750);
    assert_eq!(mode(world.root("acl/large")), 0o750);
    run(&world, &server, "get -r acl/tree acl/large acl/");
    assert_modes(&world.root("acl/tree"), &world.here("acl/tree"), |mode| mode & 0o750);
    assert_eq!(mode(world.here("acl/large")), 0o750);
}

#[test]
fn a_server_has_modes_of_its_own_and_a_user_more() {
    let world = World::empty();
    let users = world.path("users.toml").display().to_string();
    for user in ["ada", "bob"] {
        world.newcomer().pipe(b"open sesame", &format!("user add {users} {user} --password-fd 0")).ok();
    }
    let text = fs::read_to_string(&users).unwrap();
    let text =
        text.replace("[bob]\n", "[bob]\numask = \"077\"\nforce_mode = \"004\"\nforce_dir_mode = \"001\"\n");
    fs::write(&users, text).unwrap();
    let flags =
        format!("--plaintext --no-sync --users {users} --umask 027 --force-mode 020 --force-dir-mode 070");
    let server = world.start("127.0.0.1:0", &flags);
    make_tree(&world.here("tree"));
    let put = |user: &'static str, line: &str| {
        let client = world.stranger_to(&server.address).flags(["--plaintext".into()]);
        client.env("FTPISH_USER", user).env("FTPISH_PASSWORD", "open sesame").run(line).ok();
    };
    for (user, file, dir) in [("ada", 0o027, [0o020, 0o070]), ("bob", 0o077, [0o004, 0o001])] {
        for perms in ["", "--perms"] {
            put(user, &format!("put -r {perms} tree {user}{perms}"));
            assert_modes(&world.here("tree"), &world.root(format!("{user}{perms}")), |mode| {
                let forced = dir[usize::from([0o775, 0o777, 0o700, 0o555].contains(&mode))];
                mode & !file | forced
            });
        }
        put(user, &format!("mkdir {user}-made"));
        assert_eq!(mode(world.root(format!("{user}-made"))), 0o777 & !file | dir[1]);
    }
}
