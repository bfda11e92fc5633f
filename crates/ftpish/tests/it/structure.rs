//! How the source files depend on each other: in one direction, without circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The source files of a crate, each by its module path.
fn modules(src: &Path) -> BTreeMap<Vec<String>, PathBuf> {
    let walk = walkdir::WalkDir::new(src).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = walk.map(walkdir::DirEntry::into_path);
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let named = sources.map(|path| {
        let relative = path.strip_prefix(src).unwrap().with_extension("");
        let mut names: Vec<_> = relative.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            names.pop();
        }
        (names, path)
    });
    named.filter(|(names, _)| !names.iter().any(|name| name.ends_with("tests"))).collect()
}

/// The code of a file, up to its tests, as tokens: names, `::`, braces and whatever else is one character.
fn tokens(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    let mut tokens: Vec<String> = Vec::new();
    for c in lines.collect::<Vec<_>>().join("\n").chars() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        match tokens.last_mut() {
            Some(last) if is_word(c) && last.chars().all(is_word) => last.push(c),
            Some(last) if c == ':' && last == ":" => last.push(c),
            _ if c.is_whitespace() => tokens.push(String::new()),
            _ => tokens.push(c.to_string()),
        }
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

/// Every path that begins at `crate`, `super` or `self`, with each branch of braces on its own.
fn paths(tokens: &[String], module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_inside = at > 0 && tokens[at - 1] == "::";
        let base = match token.as_str() {
            "crate" if !is_inside => Vec::new(),
            "super" if !is_inside && !module.is_empty() => module[..module.len() - 1].to_vec(),
            "self" if !is_inside => module.to_vec(),
            _ => continue,
        };
        if tokens.get(at + 1).is_some_and(|next| next == "::") {
            branches(&tokens[at + 2..], base, &mut found);
        }
    }
    found
}

/// Reads one path from here on; gives what is behind it.
fn branches<'t>(
    mut tokens: &'t [String],
    mut path: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> &'t [String] {
    loop {
        match tokens.first().map(String::as_str) {
            Some("{") => {
                tokens = &tokens[1..];
                while tokens.first().is_some_and(|token| token != "}") {
                    tokens = branches(tokens, path.clone(), found);
                    if tokens.first().is_some_and(|token| token == ",") {
                        tokens = &tokens[1..];
                    }
                }
                return tokens.get(1..).unwrap_or_default();
            }
            Some("super") => {
                path.pop();
            }
            Some("self") => {}
            Some(name) => path.push(name.to_owned()),
            None => return tokens,
        }
        tokens = &tokens[1..];
        if tokens.first().is_none_or(|next| next != "::") {
            found.push(path);
            // Of `a as b`, the first is what is meant.
            if tokens.first().is_some_and(|next| next == "as") {
                tokens = tokens.get(2..).unwrap_or_default();
            }
            return tokens;
        }
        tokens = &tokens[1..];
    }
}

/// What a file hands on under its own name: `pub use part::Name`.
fn handed_on(tokens: &[String], module: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for at in 0..tokens.len() {
        let is_use = tokens[at] == "use" && at > 0 && matches!(tokens[at - 1].as_str(), "pub" | ")");
        if !is_use {
            continue;
        }
        let mut found = Vec::new();
        let base =
            if matches!(tokens[at + 1].as_str(), "crate" | "super") { continue } else { module.to_vec() };
        branches(&tokens[at + 1..], base, &mut found);
        all.extend(found.into_iter().filter_map(|path| Some((path.last()?.clone(), path))));
    }
    all
}

/// The files that each file of a crate imports from; what only hands names on is looked through.
fn imports(src: &Path) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let modules = modules(src);
    let read: BTreeMap<_, _> =
        modules.iter().map(|(name, path)| (name, tokens(&fs::read_to_string(path).unwrap()))).collect();
    let faces: BTreeMap<_, _> = read.iter().map(|(name, tokens)| (*name, handed_on(tokens, name))).collect();
    let home = |path: &[String]| {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let longest = (0..=path.len()).rev().find(|end| modules.contains_key(&path[..*end]))?;
            let handed = path.get(longest).and_then(|name| faces[&path[..longest].to_vec()].get(name));
            match handed {
                Some(from) if *from != path => path = [&from[..], &path[longest + 1..]].concat(),
                _ => return Some(path[..longest].to_vec()),
            }
        }
        None
    };
    let imports = read.iter().map(|(name, tokens)| {
        let from = paths(tokens, name).iter().filter_map(|path| home(path)).collect::<BTreeSet<_>>();
        // A file's own parts are its own, and what the top of a crate has is no file's.
        let from = from.into_iter().filter(|from| !from.starts_with(name) && !from.is_empty());
        ((*name).clone(), from.collect())
    });
    imports.collect()
}

/// A circle, if there is one: the files that lead back to the first.
fn circle(imports: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Option<Vec<String>> {
    let mut left = imports.clone();
    loop {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, from)| from.iter().all(|from| !left.contains_key(from)))
            .map(|(name, _)| name.clone())
            .collect();
        if left.is_empty() {
            return None;
        }
        if free.is_empty() {
            // Each of these imports another one of them: to follow them comes round.
            let mut way = vec![left.keys().next().unwrap().clone()];
            loop {
                let last = way.last().unwrap();
                let next = left[last].iter().find(|from| left.contains_key(*from)).unwrap().clone();
                if let Some(start) = way.iter().position(|name| *name == next) {
                    return Some(way[start..].iter().map(|name| name.join("/")).collect());
                }
                way.push(next);
            }
        }
        free.iter().for_each(|name| {
            left.remove(name);
        });
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(crates).unwrap() {
        let src = entry.unwrap().path().join("src");
        let imports = imports(&src);
        seen += imports.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(circle(&imports), None, "in {}", src.display());
    }
    assert!(seen > 300, "{seen} imports are not all that there are");
}

#[test]
fn a_circle_is_found_through_braces_and_names_that_are_handed_on() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(scratch.path().join(name), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\npub use b::{B, Other};\n");
    write("a.rs", "use crate::{B, Other as O};\npub struct A(B);\n");
    write("b.rs", "// use crate::a::A;\npub struct B;\n");
    assert_eq!(circle(&imports(scratch.path())), None);
    write("b.rs", "use super::{a::{self, A}};\npub struct B(A);\n");
    assert_eq!(circle(&imports(scratch.path())), Some(vec!["a".to_owned(), "b".to_owned()]));
    write("b.rs", "pub struct B;\nfn f() { crate::a::g(); }\n");
    assert!(circle(&imports(scratch.path())).is_some());
}
