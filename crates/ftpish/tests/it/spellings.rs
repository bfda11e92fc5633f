//! Names that differ by case alone, on a disk that takes them for one.

use std::fs;

use insta::assert_snapshot;

use crate::disk::Disk;
use crate::harness::{Outcome, World};

/// Does `test` with `out` on such a disk; not at all where there can be none. It gets a way to run a line there, and one to
/// read what has come.
fn on_a_folding_disk(test: impl Fn(&World, &dyn Fn(&str) -> Outcome, &dyn Fn(&str) -> String)) {
    let world = World::plaintext();
    fs::create_dir(world.here("out")).unwrap();
    let Some(disk) = Disk::that_folds_case(&world.here("out")) else { return };
    for (path, content) in
        [("Docs/a", "1"), ("README", "upper"), ("docs/a", "22"), ("docs/b", "3"), ("readme", "lower")]
    {
        fs::create_dir_all(world.root("tree").join(path).parent().unwrap()).unwrap();
        fs::write(world.root("tree").join(path), content).unwrap();
    }
    let client = world.client();
    let run = |line: &str| client.run_in(&disk, line);
    let read = |path: &str| fs::read_to_string(disk.path(&world.here("out").join(path))).unwrap();
    test(&world, &run, &read);
}

#[test]
fn in_a_tree_the_second_is_refused_and_the_first_stays() {
    on_a_folding_disk(|_, run, read| {
        let outcome = run("get -q -r tree out").exits(12);
        assert_snapshot!(outcome.stderr, @r"
        ftpish: cannot get `tree/docs/a`: `out/tree/docs/a`: the file system does not tell it from Docs/a, which was written just before
        ftpish: cannot get `tree/readme`: `out/tree/readme`: the file system does not tell it from README, which was written just before
        ftpish: 2 of the names in `tree` were not done
        ");
        assert_eq!(["tree/readme", "tree/docs/a", "tree/docs/b"].map(read), ["upper", "1", "3"]);
    });
}

#[test]
fn large_files_that_move_by_themselves_are_told_apart_too() {
    on_a_folding_disk(|world, run, read| {
        fs::create_dir(world.root("large")).unwrap();
        for (size, names) in [(5 << 20, ["MIDDLE", "middle"]), (33 << 20, ["BIG", "big"])] {
            for name in names {
                let path = world.root("large").join(name);
                fs::write(&path, name).unwrap();
                fs::File::options().write(true).open(path).unwrap().set_len(size).unwrap();
            }
        }
        let outcome = run("get -q -r -j 2 large out").exits(12);
        for names in [["MIDDLE", "middle"], ["BIG", "big"]] {
            // Over several connections either may be the first.
            let first =
                names.into_iter().find(|name| read(&format!("large/{name}")).starts_with(*name)).unwrap();
            let told =
                format!("the file system does not tell it from {first}, which was written just before");
            assert!(outcome.stderr.contains(&told), "{}", outcome.stderr);
        }
        assert!(
            outcome.stderr.ends_with("ftpish: 2 of the names in `large` were not done\n"),
            "{}",
            outcome.stderr
        );
    });
}

#[test]
fn of_several_files_the_second_is_refused_and_the_first_stays() {
    on_a_folding_disk(|_, run, read| {
        let outcome = run("get -q tree/README tree/readme out/").exits(12);
        assert_snapshot!(outcome.stderr, @r"
        ftpish: cannot get `tree/readme`: `out/readme`: the file system does not tell it from README, which was written just before
        ftpish: 1 of 2 were not done
        ");
        assert_eq!(read("readme"), "upper");
    });
}

#[test]
fn what_a_sync_has_written_is_not_removed_as_what_the_source_lacks() {
    on_a_folding_disk(|world, run, read| {
        for gone in ["readme", "docs/a"] {
            fs::remove_file(world.root("tree").join(gone)).unwrap();
        }
        run("get -r tree out").ok();
        fs::write(world.root("tree/README"), "another").unwrap();
        let outcome = run("sync -q --delete :tree out/tree").exits(12);
        assert_snapshot!(outcome.stderr, @r"
        ftpish: cannot remove `tree/docs/a`: `out/tree/docs/a`: the file system does not tell it from Docs/a, which was written just before
        ftpish: cannot remove `tree/readme`: `out/tree/readme`: the file system does not tell it from README, which was written just before
        ftpish: 2 of the names in `tree` were not done
        ");
        assert_eq!(["tree/readme", "tree/docs/a", "tree/docs/b"].map(read), ["another", "1", "3"]);
    });
}
