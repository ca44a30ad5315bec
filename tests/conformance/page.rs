//! `docs/conformance.md`, written from the statements and their evidence.

use std::{env, fmt::Write, fs};

use crate::{
    evidence::{Evidence, evidence},
    root,
    statements::{Binds, Number, Standard, standards},
};

/// Set to write the page instead of comparing it.
const WRITE: &str = "MUSTER_WRITE_CONFORMANCE";
/// Most exceptions of both standards together.
const EXCEPTIONS_MAX: usize = 5;
/// Pieces of evidence shown for one statement; the rest is counted.
const SHOWN_MAX: usize = 3;

/// How a statement stands.
enum Row<'a> {
    Covered(&'a [String]),
    Exception(&'a str),
    Waiting,
}

fn row<'a>(standard: &'a Standard, number: &Number, evidence: &'a Evidence) -> Row<'a> {
    let key = (standard.version, number.clone());
    if evidence.pending.contains_key(&key) {
        return Row::Waiting;
    }
    match (evidence.covered.get(&key), standard.exceptions.get(number)) {
        (Some(places), _) => Row::Covered(places),
        (None, Some(reason)) => Row::Exception(reason),
        (None, None) => Row::Waiting,
    }
}

fn page() -> String {
    let (standards, evidence) = (standards(), evidence());
    let mut text = String::from(HEAD);
    text.push_str("| standard | statements | of them bind a server | covered | exceptions | waiting |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|\n");
    for standard in &standards {
        let server: Vec<_> = standard.statements.iter().filter(|(_, s)| s.binds.a_server()).collect();
        let (mut covered, mut exceptions, mut waiting) = (0, 0, 0);
        for (number, _) in &server {
            match row(standard, number, &evidence) {
                Row::Covered(_) => covered += 1,
                Row::Exception(_) => exceptions += 1,
                Row::Waiting => waiting += 1,
            }
        }
        let (title, all, server) = (standard.title, standard.statements.len(), server.len());
        writeln!(text, "| {title} | {all} | {server} | {covered} | {exceptions} | {waiting} |").unwrap();
    }
    for standard in &standards {
        writeln!(text, "\n## {}: what binds a server\n", standard.title).unwrap();
        text.push_str("| statement | binds | in our words | covered by |\n|---|---|---|---|\n");
        table(&mut text, standard, &evidence, true);
        writeln!(text, "\n## {}: what binds clients only\n", standard.title).unwrap();
        text.push_str(
            "Where the hub notices a client that breaks one of these, it is shown what it does.\n\n",
        );
        text.push_str("| statement | binds | in our words | noticed in |\n|---|---|---|---|\n");
        table(&mut text, standard, &evidence, false);
    }
    text
}

fn table(text: &mut String, standard: &Standard, evidence: &Evidence, server: bool) {
    for (number, statement) in standard.statements.iter().filter(|(_, s)| s.binds.a_server() == server) {
        let binds = match statement.binds {
            Binds::Server => "server",
            Binds::Client => "client",
            Binds::Both => "both",
        };
        let shown = match row(standard, number, evidence) {
            Row::Covered(places) => shorten(places),
            Row::Exception(reason) => format!("**Exception**: {reason}"),
            Row::Waiting if server => match evidence.pending.get(&(standard.version, number.clone())) {
                Some(pending) => format!("**Waiting**; pending in {}", shorten(pending)),
                None => "**Waiting** for its evidence".to_owned(),
            },
            Row::Waiting => String::new(),
        };
        let (shown, summary) = (shown.replace('|', "\\|"), statement.summary.replace('|', "\\|"));
        writeln!(text, "| MQTT-{number} | {binds} | {summary} | {shown} |").unwrap();
    }
}

/// The first few, and how many there are beside them.
fn shorten(places: &[String]) -> String {
    let mut shown = places[..places.len().min(SHOWN_MAX)].join("; ");
    if places.len() > SHOWN_MAX {
        write!(shown, "; and {} more", places.len() - SHOWN_MAX).unwrap();
    }
    shown
}

const HEAD: &str = "\
# Conformance

Every numbered normative statement of MQTT 3.1.1 and of MQTT 5.0 (`[MQTT-x.y.z-n]`, appendix B of each standard), whom it
binds, and what shows that the hub keeps it. The standards' text is not repeated here: the middle column says in our
words what a statement is about.

**Do not edit this page.** It is written from `tests/conformance/statements-*.toml`, from
`tests/conformance/exceptions.toml`, from the names of the vectors in `tests/vectors/mqtt`, and from the tests whose
comment or body carries a statement's tag (`[MQTT-..]` for 5.0, `[MQTT311-..]` for 3.1.1). `make conformance` writes it
anew, and `make test` fails when it is out of step. A tag beside code that is no test counts for nothing, and a statement
that a pending vector names is waiting, whatever else covers a part of it.

A vector is bytes in and bytes out: `connect-5.json` and its like run against the session core without any I/O, against a
broker on loopback over TLS 1.3, and against the same broker over WebSocket; those in `wire/` tell stories of several
clients, and run against the broker over both.

";

#[test]
fn the_page_is_in_step() {
    let (path, page) = (root().join("docs/conformance.md"), page());
    if env::var_os(WRITE).is_some() {
        fs::write(&path, page).expect("the page can be written");
        return;
    }
    let on_disk = fs::read_to_string(&path).unwrap_or_default();
    let differs = on_disk.lines().zip(page.lines()).find(|(old, new)| old != new);
    assert!(on_disk == page, "docs/conformance.md is out of step, run `make conformance`: {differs:?}");
}

#[test]
fn every_statement_that_binds_a_server_is_covered_excepted_or_known_to_wait() {
    let evidence = evidence();
    let mut wrong = Vec::new();
    for standard in standards() {
        for (number, statement) in &standard.statements {
            let is_covered = matches!(row(&standard, number, &evidence), Row::Covered(_));
            let is_said = [standard.exceptions.contains_key(number), standard.waiting.contains(number)];
            let title = standard.title;
            match (statement.binds.a_server(), is_covered, is_said) {
                (true, true, [false, false])
                | (true, false, [true, false] | [false, true])
                | (false, _, [false, false]) => {}
                (true, false, [false, false]) => wrong.push(format!("{title}: {number} is not covered")),
                (false, ..) => wrong.push(format!("{title}: {number} needs no exception, it binds clients")),
                (_, true, _) => wrong.push(format!("{title}: {number} is covered, and waits or is excepted")),
                (_, _, [_, _]) => wrong.push(format!("{title}: {number} waits and is excepted")),
            }
        }
        for number in standard.exceptions.keys().chain(&standard.waiting) {
            if !standard.statements.contains_key(number) {
                wrong.push(format!("{}: {number} is no statement", standard.title));
            }
        }
    }
    assert!(wrong.is_empty(), "tests/conformance/exceptions.toml:\n{}", wrong.join("\n"));
}

#[test]
fn exceptions_are_few() {
    let count: usize = standards().iter().map(|standard| standard.exceptions.len()).sum();
    assert!(count <= EXCEPTIONS_MAX, "{count} exceptions; the most is {EXCEPTIONS_MAX}");
}
