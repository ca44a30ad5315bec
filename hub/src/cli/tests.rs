use std::path::Path;

use super::*;

/// 2026-02-01.
const NOW_MS: u64 = 1_769_904_000_000;

struct Ended {
    exit: Exit,
    out: String,
    err: String,
}

fn muster(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let mut world = World {
        out: &mut out,
        err: &mut err,
        input: Box::new(std::io::empty()),
        environment,
        now_ms: NOW_MS,
    };
    let exit =
        run(std::iter::once("muster").chain(arguments.iter().copied()).map(OsString::from), &mut world);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { exit, out: text(out), err: text(err) }
}

fn hub(dir: &Path) -> (String, String) {
    let hub = dir.join("hub");
    let ended = muster(&["init", "--dir", &hub.to_string_lossy(), "--trust-domain", "muster.example"], &[]);
    assert_eq!(ended.exit, Exit::Ok, "{}", ended.err);
    let config = hub.join("muster.toml").to_string_lossy().into_owned();
    assert!(ended.out.ends_with(&format!("\nNext: muster serve --config {config}\n")), "{}", ended.out);
    (config, hub.join("operator").to_string_lossy().into_owned())
}

#[test]
fn the_program_is_described_without_contradiction() {
    Program::command().debug_assert();
}

#[test]
fn help_is_an_answer_and_a_mistyped_command_is_wrong_usage() {
    let help = muster(&["--help"], &[]);
    assert_eq!((help.exit, help.err.as_str()), (Exit::Ok, ""));
    assert!(help.out.contains("Exit codes: 0 done"));
    let wrong = muster(&["tenent", "list"], &[]);
    assert_eq!((wrong.exit, wrong.out.as_str()), (Exit::Usage, ""));
    assert!(wrong.err.contains("tenant"), "{}", wrong.err);
    assert_eq!(muster(&["tenant", "create", "Acme"], &[]).exit, Exit::Usage);
}

#[test]
fn init_then_check_finds_a_hub_and_a_second_init_is_told_apart() {
    let dir = tempfile::tempdir().expect("directory");
    let (config, _) = hub(dir.path());
    let checked = muster(&["check", "--config", &config], &[]);
    assert_eq!(checked.exit, Exit::Ok, "{}", checked.out);
    assert!(checked.out.lines().all(|line| line.starts_with("ok ") || line.starts_with("warning ")));
    let old = std::fs::read(dir.path().join("hub/operator/key.pem")).expect("key");
    let renewed = muster(&["operator", "renew", "--config", &config], &[]);
    assert_eq!(renewed.exit, Exit::Ok, "{}", renewed.err);
    assert!(renewed.out.ends_with("valid until 2027-02-01T00:00:00Z\n"), "{}", renewed.out);
    assert_ne!(std::fs::read(dir.path().join("hub/operator/key.pem")).expect("key"), old);
    assert_eq!(muster(&["check", "--config", &config], &[]).exit, Exit::Ok);
    let again = muster(&["init", "--dir", &dir.path().join("hub").to_string_lossy()], &[]);
    assert_eq!(again.exit, Exit::Exists);
    assert!(
        again.err.contains("nothing is ever overwritten") && again.err.contains("next:"),
        "{}",
        again.err
    );
}

#[test]
fn check_says_which_variable_is_wrong_and_exits_with_its_own_code() {
    let dir = tempfile::tempdir().expect("directory");
    let (config, _) = hub(dir.path());
    let checked = muster(&["check", "--config", &config], &[("MUSTER__LISTENERS__HTTP__BIND", "x")]);
    assert_eq!(checked.exit, Exit::Invalid);
    assert!(checked.out.contains("did you mean \"listeners.https\""), "{}", checked.out);
    let checked = muster(&["-o", "json", "check", "--config", "/nowhere/muster.toml"], &[]);
    assert_eq!(checked.exit, Exit::Invalid);
    let found: serde_json::Value = serde_json::from_str(&checked.out).expect("JSON");
    assert_eq!(found["severity"], "error");
}

#[test]
fn a_hub_that_does_not_answer_is_told_apart_from_one_that_refuses() {
    let dir = tempfile::tempdir().expect("directory");
    let (config, operator) = hub(dir.path());
    // Nobody listens on the port of a listener that is closed again.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("https://{}", listener.local_addr().expect("address"));
    drop(listener);
    for way in [["--config", config.as_str()], ["--identity", operator.as_str()]] {
        let ended = muster(&["tenant", "list", "--hub", &url, way[0], way[1]], &[]);
        assert_eq!(ended.exit, Exit::Unreachable, "{}", ended.err);
        assert!(ended.err.contains("does not answer") && ended.err.contains(&url), "{}", ended.err);
    }
    let ended = muster(&["tenant", "list", "--hub", &url, "--identity", &operator, "-o", "json"], &[]);
    let body: ErrorBody = serde_json::from_str(&ended.err).expect("JSON");
    assert_eq!(body.error.code, "unreachable");
}

#[test]
fn an_identity_that_is_missing_exposed_or_mixed_up_is_wrong_usage() {
    let dir = tempfile::tempdir().expect("directory");
    let (_, operator) = hub(dir.path());
    let list = |identity: &str| muster(&["tenant", "list", "--identity", identity], &[]);
    let missing = list("/nowhere");
    assert_eq!(missing.exit, Exit::Usage);
    assert!(missing.err.contains("--identity <dir>"), "{}", missing.err);
    let key = Path::new(&operator).join("key.pem");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    assert!(list(&operator).err.contains("chmod 600"));
    std::fs::remove_file(&key).expect("remove");
    let other = rcgen::KeyPair::generate().expect("key").serialize_pem();
    crate::private_file::create(&key, other.as_bytes()).expect("create");
    assert!(list(&operator).err.contains("do not belong together"));
}

#[test]
fn an_operator_must_name_the_tenant() {
    let dir = tempfile::tempdir().expect("directory");
    let (_, operator) = hub(dir.path());
    let ended = muster(&["device", "list", "--identity", &operator], &[]);
    assert_eq!(ended.exit, Exit::Usage);
    assert!(ended.err.contains("--tenant <tenant>"), "{}", ended.err);
}

#[test]
fn an_app_that_cannot_be_created_leaves_no_key_behind() {
    let dir = tempfile::tempdir().expect("directory");
    let (_, operator) = hub(dir.path());
    let out = dir.path().join("app");
    let arguments = ["app", "create", "--tenant", "acme", "dashboard", "--identity", &operator];
    let place = ["--hub", "https://127.0.0.1:1", "--out", &out.to_string_lossy()];
    let ended = muster(&[arguments.as_slice(), &place].concat(), &[]);
    assert_eq!(ended.exit, Exit::Unreachable, "{}", ended.err);
    assert!(!out.exists());
    std::fs::create_dir(&out).expect("directory");
    std::fs::write(out.join("cert.pem"), "someone's").expect("write");
    let ended = muster(&[arguments.as_slice(), &place].concat(), &[]);
    assert_eq!(ended.exit, Exit::Exists, "{}", ended.err);
}

#[test]
fn completions_name_the_commands() {
    let ended = muster(&["completions", "bash"], &[]);
    assert_eq!(ended.exit, Exit::Ok);
    assert!(ended.out.contains("telemetry"));
}

mod backup;
mod calls;
mod inspection;
mod mqtt;
