use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    init::{Options, init},
    limits::YEAR_S,
};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;

fn hub(dir: &Path) -> Config {
    let options = Options {
        dir: dir.join("hub"),
        trust_domain: "muster.example".parse().expect("domain"),
        server_names: vec!["localhost".try_into().expect("name")],
        bind: [127, 0, 0, 1].into(),
        mqtt_port: 8883,
        https_port: 8443,
        passphrase_file: None,
        tpm_roots: Vec::new(),
    };
    let made = init(&options, NOW_S).expect("init");
    Config::read(&made.config, [], &[]).expect("configuration")
}

fn bad(findings: &[Finding]) -> Vec<(Severity, &str)> {
    findings.iter().filter(|f| f.severity > Severity::Ok).map(|f| (f.severity, f.why.as_str())).collect()
}

#[test]
fn a_new_hub_lacks_nothing_but_the_roots_of_tpms() {
    let dir = tempfile::tempdir().expect("directory");
    let findings = check(&hub(dir.path()), NOW_S);
    assert_eq!(bad(&findings), [(Severity::Warning, "none is listed, so no TPM can prove itself")]);
    assert!(findings.iter().all(|f| f.severity == Severity::Ok || !f.next.is_empty()));
}

#[test]
fn what_expires_soon_is_a_warning_and_what_expired_an_error() {
    let dir = tempfile::tempdir().expect("directory");
    let config = hub(dir.path());
    let at =
        |now_s| check(&config, now_s).into_iter().find(|f| f.what.ends_with("cert.pem")).expect("looked at");
    assert_eq!(at(NOW_S + YEAR_S - 31 * DAY_S).severity, Severity::Ok);
    let soon = at(NOW_S + YEAR_S - 10 * DAY_S);
    assert_eq!(
        (soon.severity, soon.why.as_str()),
        (Severity::Warning, "it expires on 2027-02-01, in 10 days")
    );
    assert_eq!(at(NOW_S + YEAR_S).severity, Severity::Error);
}

#[test]
fn an_exposed_passphrase_and_a_damaged_key_are_errors() {
    let dir = tempfile::tempdir().expect("directory");
    let config = hub(dir.path());
    let layout = config.layout();
    let key = layout.authority_key(Role::Device);
    let mut sealed = std::fs::read(&key).expect("read");
    sealed[30] ^= 1;
    private_file::replace(&key, &sealed, true).expect("write");
    let findings = check(&config, NOW_S);
    assert!(
        bad(&findings).iter().any(|(s, why)| *s == Severity::Error && why.contains("the file was changed"))
    );
    std::fs::set_permissions(&config.passphrase_file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let findings = check(&config, NOW_S);
    assert!(bad(&findings).iter().any(|(s, why)| *s == Severity::Error && why.contains("chmod 600")));
}

#[test]
fn a_hub_that_listens_to_the_network_under_a_local_name_is_warned_about() {
    let dir = tempfile::tempdir().expect("directory");
    let path = hub(dir.path()).path;
    let config =
        Config::read(&path, [], &["listeners.mqtt_tls.bind=0.0.0.0:8883".to_owned()]).expect("valid");
    let findings = check(&config, NOW_S);
    assert!(findings.iter().any(|f| f.what == "server_names" && f.severity == Severity::Warning));
}

#[test]
fn ways_in_without_certificates_are_told() {
    let dir = tempfile::tempdir().expect("directory");
    let path = hub(dir.path()).path;
    let found = |settings: &[&str]| {
        let settings: Vec<_> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let findings = check(&Config::read(&path, [], &settings).expect("valid"), NOW_S);
        let mut found = findings.into_iter().filter(|f| f.what.starts_with("listeners."));
        (found.next().expect("told"), found.next())
    };
    let (plain, none) = found(&["listeners.mqtt_plain.tenant=acme"]);
    assert_eq!((plain.severity, none), (Severity::Warning, None));
    assert_eq!(plain.why, "no TLS and no certificates: whoever reaches 127.0.0.1:1883 is app plain of acme");
    let (unix, _) = found(&["listeners.mqtt_unix.tenant=acme"]);
    assert_eq!(unix.severity, Severity::Ok);
    let (unix, _) = found(&["listeners.mqtt_unix.tenant=acme", "listeners.mqtt_unix.mode=0666"]);
    assert_eq!(unix.severity, Severity::Warning);
    assert!(unix.why.contains("every process on this machine may open "), "{}", unix.why);
}

#[test]
fn a_revocation_list_that_is_old_is_a_warning_and_what_is_none_an_error() {
    let dir = tempfile::tempdir().expect("directory");
    let mut config = hub(dir.path());
    let manufacturer = muster_tpm::manufacturer::SimulatedManufacturer::well_known().expect("manufacturer");
    let list = dir.path().join("vendor.crl");
    std::fs::write(&list, manufacturer.revoke(&[]).expect("list")).expect("write");
    config.tpm_crls.push(list.clone());
    let of_list = |config: &Config| {
        let found =
            check(config, NOW_S).into_iter().find(|f| f.what.ends_with("vendor.crl")).expect("looked at");
        (found.severity, found.why)
    };
    assert_eq!(of_list(&config), (Severity::Warning, "a newer one was due on 2022-01-01".to_owned()));
    std::fs::write(&list, b"no list").expect("write");
    assert_eq!(of_list(&config), (Severity::Error, "it is no revocation list".to_owned()));
}

/// What is told of things whose name ends so.
fn of<'a>(findings: &'a [Finding], ends: &str) -> Vec<(Severity, &'a str)> {
    let named = findings.iter().filter(|found| found.what.ends_with(ends));
    named.map(|found| (found.severity, found.why.as_str())).collect()
}

#[test]
fn a_place_for_backups_and_those_who_open_them_are_looked_at() {
    let dir = tempfile::tempdir().expect("directory");
    let mut config = hub(dir.path());
    let file = |name: &str| dir.path().join(name);
    let key = muster_seal::Opener::generate(muster_seal::Kem::X25519).expect("a key");
    std::fs::write(file("one.pub.pem"), key.recipient().to_pem()).expect("write");
    std::fs::write(file("none.pub.pem"), "no key").expect("write");
    let mut found = |place: &str, recipients: &[&str], credentials: Option<&str>| {
        config.backup = Some(crate::config::Backup {
            place: place.to_owned(),
            recipients: recipients.iter().map(|name| file(name)).collect(),
            credentials_file: credentials.map(file),
        });
        check(&config, NOW_S)
    };
    let backups = file("backups").display().to_string();
    let findings = found(&backups, &["one.pub.pem"], None);
    assert_eq!(of(&findings, "one.pub.pem")[0].0, Severity::Ok);
    assert_eq!(of(&findings, "backups"), [(Severity::Ok, "the first backup makes the directory")]);
    let findings = found(&backups, &["none.pub.pem", "missing.pub.pem"], None);
    assert_eq!(of(&findings, "none.pub.pem")[0].0, Severity::Error);
    assert_eq!(of(&findings, "missing.pub.pem")[0].0, Severity::Error);
    let findings = found(&backups, &["one.pub.pem", "one.pub.pem"], None);
    assert_eq!(of(&findings, "backup.recipients")[0].0, Severity::Warning);

    let no_directory = file("one.pub.pem").display().to_string();
    let findings = found(&no_directory, &[], None);
    assert_eq!(of(&findings, "one.pub.pem"), [(Severity::Error, "it is no directory")]);
    let within = config_within(&file("hub"));
    assert_eq!(of(&found(&within, &[], None), "within")[0].0, Severity::Warning);

    let store = "s3://bucket/hub?endpoint=https://store.example";
    std::fs::write(file("credentials"), "key\nsecret\n").expect("write");
    assert_eq!(
        of(&found(store, &[], Some("credentials")), store)[0].0,
        Severity::Error,
        "others may read it"
    );
    std::fs::set_permissions(file("credentials"), std::fs::Permissions::from_mode(0o600)).expect("chmod");
    assert_eq!(of(&found(store, &[], Some("credentials")), store)[0].0, Severity::Ok);
    std::fs::write(file("credentials"), "key\n").expect("write");
    assert_eq!(of(&found(store, &[], Some("credentials")), store)[0].0, Severity::Error);
}

/// A directory within the one that is backed up.
fn config_within(hub: &Path) -> String {
    let within = hub.join("within");
    std::fs::create_dir(&within).expect("made");
    within.display().to_string()
}

#[test]
fn the_folder_of_tokens_for_influxdb_is_looked_at() {
    let dir = tempfile::tempdir().expect("directory");
    let mut config = hub(dir.path());
    let tokens = dir.path().join("tokens");
    let server = muster_influx::server::Server::new("http://127.0.0.1:1", "plant", None, &[]);
    config.influx = Some(crate::influx::Influx {
        server: server.expect("a server"),
        tokens: tokens.clone(),
        buckets: std::collections::BTreeMap::default(),
    });
    assert_eq!(of(&check(&config, NOW_S), "tokens")[0].0, Severity::Error, "it is not there");
    std::fs::create_dir(&tokens).expect("made");
    let none = of(&check(&config, NOW_S), "tokens").first().map(|found| found.0);
    assert_eq!(none, Some(Severity::Warning), "nothing is sent");
    for (name, token, mode) in [
        ("acme", "one", 0o600),
        ("copy", "one", 0o600),
        ("globex", "canary", 0o644),
        ("empty", "", 0o600),
        ("Not A Tenant", "x", 0o600),
    ] {
        std::fs::write(tokens.join(name), token).expect("write");
        std::fs::set_permissions(tokens.join(name), std::fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let findings = check(&config, NOW_S);
    assert_eq!(of(&findings, "/acme"), [(Severity::Ok, "a token, for the bucket acme")]);
    for (name, severity, part) in [
        ("/copy", Severity::Error, "another tenant"),
        ("/globex", Severity::Error, "chmod 600"),
        ("/empty", Severity::Error, "one word"),
        ("/Not A Tenant", Severity::Warning, "no tenant"),
    ] {
        let [(found, why)] = of(&findings, name)[..] else { panic!("{name}: {findings:?}") };
        assert!(found == severity && why.contains(part), "{name}: {why}");
    }
    assert!(findings.iter().all(|found| !found.why.contains("canary") && !found.next.contains("canary")));
}
