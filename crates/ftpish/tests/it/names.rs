//! `mkdir`, `rm` and `mv`: names made, taken away and changed, without a word where it worked.

use std::fs;

use insta::assert_snapshot;

use crate::harness::{World, names};

#[test]
fn mkdir_makes_directories_and_with_parents_whole_paths() {
    let world = World::plaintext();
    world.run("mkdir one two").ok().silent();
    world.run("mkdir -p one three/four/five").ok().silent();
    assert_eq!(names(&world.root("")), ["one", "three", "two"]);
    assert!(world.root("three/four/five").is_dir());
    assert_snapshot!(world.run("mkdir six/seven").exits(6).stderr, @r"
    ftpish: cannot make `six/seven`: no such file or directory on the server
    hint: `ls` shows what is there
    ");
    assert_snapshot!(world.run("mkdir one").exits(8).stderr, @"ftpish: cannot make `one`: file exists");
}

#[test]
fn rm_removes_files_and_with_recursive_whole_trees() {
    let world = World::plaintext();
    fs::create_dir_all(world.root("tree/below")).unwrap();
    fs::create_dir(world.root("empty")).unwrap();
    fs::write(world.root("tree/below/file"), "").unwrap();
    fs::write(world.root("file"), "").unwrap();
    world.run("rm file empty").ok().silent();
    assert_snapshot!(world.run("rm tree").exits(9).stderr, @r"
    ftpish: cannot remove `tree`: directory not empty
    hint: rm -r removes a directory with all it holds
    ");
    world.run("rm -r tree").ok().silent();
    assert_eq!(names(&world.root("")), [""; 0]);
    assert_snapshot!(world.run("rm -r /").exits(7).stderr, @"ftpish: cannot remove `.`: the served root itself stays where it is");
}

#[test]
fn mv_renames_moves_into_directories_and_replaces_unless_told_not_to() {
    let world = World::plaintext();
    fs::create_dir(world.root("dir")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(world.root(name), name).unwrap();
    }
    world.run("mv a renamed").ok().silent();
    world.run("mv b dir").ok().silent();
    world.run("mv renamed dir/").ok().silent();
    assert_eq!(names(&world.root("dir")), ["b", "renamed"]);
    assert_snapshot!(world.run("mv -n c dir/b").exits(8).stderr, @"ftpish: cannot move `c`: file exists");
    world.run("mv c dir/b").ok().silent();
    assert_eq!(fs::read_to_string(world.root("dir/b")).unwrap(), "c");
    world.run("mv dir/b .").ok().silent();
    assert_eq!(names(&world.root("")), ["b", "dir"]);
    world.run("mv b new/").exits(6);
    assert_eq!(names(&world.root("")), ["b", "dir"]);
}

#[test]
fn patterns_stand_for_names_on_either_side() {
    let world = World::plaintext();
    fs::create_dir_all(world.root("d/deep")).unwrap();
    for name in ["a.log", "b.log", "c.txt", "d/e.log", "d/deep/f.log", "[a].log"] {
        fs::write(world.root(name), name).unwrap();
    }
    assert_eq!(world.run("cat [ab].log").ok().text, "a.logb.log");
    assert_eq!(world.run("cat [a].log").ok().text, "[a].log", "what is there by that name comes first");
    assert_eq!(world.run("ls **/*.log").ok().text.matches(".log").count(), 5);
    world.run("get -q **/?.log flat/").ok();
    assert_eq!(names(&world.here("flat")), ["a.log", "b.log", "e.log", "f.log"]);
    world.run("put -q flat/{a,b}.* /d").ok();
    assert!(world.root("d/a.log").exists() && world.root("d/b.log").exists());
    world.run("rm *.log").ok();
    assert!(!world.root("a.log").exists() && world.root("c.txt").exists());
    world.run("rm *.log").exits(6);
    world.run("rm -f *.log").ok();
}
