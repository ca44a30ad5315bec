//! Sizes, words and suppressions, file by file.

use std::fs;

use crate::{files, root, shown};

/// The longest file, in lines. What grows past it is where all inputs meet: cut it by direction, phase or timer.
const LINES_MAX: usize = 600;
/// The longest line, in characters.
const COLUMNS_MAX: usize = 125;
/// Files that may be longer, each with the reason.
const LONGER: &[(&str, &str)] = &[];

/// Words that must not stand in our sources, with what to do instead. Split, so that this table does not find itself.
const BANNED: &[(&str, &str)] = &[
    (concat!("to", "do!("), "finish it, or file an issue"),
    (concat!("un", "implemented!("), "finish it, or file an issue"),
    (concat!("TO", "DO"), "finish it, or file an issue"),
    (concat!("FIX", "ME"), "fix it, or file an issue"),
    (concat!("#[", "allow("), "use #[expect(.., reason = \"..\")]"),
    (concat!("#![", "allow("), "use #![expect(.., reason = \"..\")]"),
    (concat!("un", "safe {"), "unsafe stands only in named FFI modules"),
    (concat!("/wo", "rk/"), "name no path of one machine"),
    (concat!("\"/ro", "ot/"), "name no path of one machine"),
    (concat!(" /ro", "ot/"), "name no path of one machine"),
];

#[test]
fn no_file_needs_scrolling_to_find_its_point() {
    for path in files(&[".rs"]) {
        let shown = shown(&path);
        let lines = fs::read_to_string(&path).expect("readable").lines().count();
        let excepted = LONGER.iter().any(|(name, _)| *name == shown);
        assert!(lines <= LINES_MAX || excepted, "{shown} has {lines} lines; the most is {LINES_MAX}");
    }
}

#[test]
fn no_line_is_wider_than_a_screen() {
    for path in files(&[".rs"]) {
        let text = fs::read_to_string(&path).expect("readable");
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            assert!(columns <= COLUMNS_MAX, "{}:{} has {columns} columns", shown(&path), number + 1);
        }
    }
}

#[test]
fn banned_words_do_not_appear() {
    for path in files(&[".rs", ".toml", ".md", ".sh", ".yml", "Makefile"]) {
        let text = fs::read_to_string(&path).expect("readable");
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in BANNED {
                assert!(!line.contains(word), "{}:{} has {word:?}: {instead}", shown(&path), number + 1);
            }
        }
    }
}

#[test]
fn tests_do_not_sleep_on_real_time() {
    for path in files(&[".rs"]) {
        let shown = shown(&path);
        // Elsewhere the clock of a test is virtual, and the compiler refuses `std::thread` what it refuses here.
        if !shown.starts_with("tests/") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("readable");
        for (number, line) in text.lines().enumerate() {
            let sleeps = line.contains(concat!("sl", "eep(")) && !line.trim_start().starts_with("//");
            assert!(!sleeps, "{shown}:{}: await a state instead", number + 1);
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let of_tests = |path: &str| path.contains("/tests/") || path.ends_with("tests.rs");
    for path in files(&[".rs"]).into_iter().filter(|path| !of_tests(&shown(path))) {
        let text = fs::read_to_string(&path).expect("readable");
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//!"), "{} does not begin with a module comment", shown(&path));
    }
}

#[test]
fn every_decision_is_in_the_index() {
    let index =
        fs::read_to_string(root().join("docs/decisions/README.md")).expect("docs/decisions/README.md exists");
    for entry in fs::read_dir(root().join("docs/decisions")).expect("readable").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name == "README.md" || index.contains(&name), "docs/decisions/{name} is not in the index");
    }
}
