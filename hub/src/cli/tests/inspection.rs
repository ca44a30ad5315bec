//! `clients`, `kick`, `topics` and `trace` as they are typed, up to the connection. What they show is told in
//! `tests/scenarios`.

use super::*;

#[test]
fn what_is_looked_into_is_named_and_only_once() {
    for wrong in [
        vec!["kick"],
        vec!["kick", "a", "--principal", "app/b"],
        vec!["topics", "--filter", "a/#/b"],
        vec!["trace"],
        vec!["trace", "--client", "a", "--topic", "b"],
        vec!["trace", "--topic", "a/#/b"],
        vec!["trace", "--client", "a", "--count", "0"],
    ] {
        let ended = muster(&wrong, &[]);
        assert_eq!(ended.exit, Exit::Usage, "{wrong:?}: {}", ended.err);
    }
}

#[test]
fn an_operator_names_the_tenant_it_looks_into_and_lists_the_clients_of_all() {
    let dir = tempfile::tempdir().expect("directory");
    let (_, operator) = hub(dir.path());
    for words in [vec!["kick", "a"], vec!["topics"], vec!["trace", "--client", "a"]] {
        let ended = muster(&[words.as_slice(), &["--identity", &operator]].concat(), &[]);
        assert_eq!(ended.exit, Exit::Usage, "{words:?}");
        assert!(ended.err.contains("--tenant <tenant>"), "{}", ended.err);
    }
    let nowhere = ["--identity", &operator, "--hub", "https://127.0.0.1:1"];
    let ended = muster(&[["clients"].as_slice(), &nowhere].concat(), &[]);
    assert_eq!(ended.exit, Exit::Unreachable, "{}", ended.err);
    let ended = muster(&[["trace", "--client", "a", "-t", "b"].as_slice(), &nowhere].concat(), &[]);
    assert_eq!(ended.exit, Exit::Unreachable, "{}", ended.err);
}
