//! `sub`, `pub` and `rr` as they are typed, up to the connection. What they do there is told in `tests/scenarios`.

use super::*;

/// An app's identity without a hub: `app create` needs one, its files do not.
fn app(dir: &Path) -> String {
    let (config, _) = hub(dir);
    let config = crate::config::Config::read(Path::new(&config), [], &[]).expect("configuration");
    let keyring = crate::keyring::Keyring::open(&config, NOW_MS / 1_000).expect("open");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let csr_pem = params.serialize_request(&key).and_then(|csr| csr.pem()).expect("request");
    let key_of_it = crate::authority::PublicKey::from_csr_pem(&csr_pem).expect("request");
    let who = "spiffe://muster.example/t/acme/app/dashboard".parse().expect("principal");
    let issued = keyring.client.issue_client(&key_of_it, &who, NOW_MS / 1_000, 3_600).expect("issued");
    let folder = dir.join("app");
    std::fs::create_dir(&folder).expect("directory");
    crate::private_file::create(&folder.join("key.pem"), key.serialize_pem().as_bytes()).expect("key");
    let chain = crate::keyring::pem(&[issued.certificate, keyring.client.certificate()]);
    let root = crate::keyring::pem(std::slice::from_ref(keyring.trust.root()));
    for (name, contents) in [("cert.pem", chain), ("ca.pem", root)] {
        crate::private_file::create_public(&folder.join(name), contents.as_bytes()).expect("write");
    }
    folder.to_string_lossy().into_owned()
}

#[test]
fn an_operator_has_no_topics_and_is_told_whose_identity_to_use() {
    let dir = tempfile::tempdir().expect("directory");
    let (_, operator) = hub(dir.path());
    for words in [vec!["sub", "#"], vec!["pub", "a", "b"], vec!["rr", "a", "b"]] {
        let ended = muster(&[words.as_slice(), &["--identity", &operator]].concat(), &[]);
        assert_eq!(ended.exit, Exit::Usage, "{words:?}");
        assert!(
            ended.err.contains("belongs to no tenant") && ended.err.contains("app create"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn what_makes_no_sense_is_wrong_usage_before_anybody_is_asked() {
    for wrong in [
        vec!["sub"],
        vec!["sub", "a/#/b"],
        vec!["sub", "a", "--qos", "3"],
        vec!["sub", "a", "--count", "0"],
        vec!["sub", "a", "--retained-only", "--no-retained"],
        vec!["sub", "a", "--expiry", "1h"],
        vec!["sub", "a", "--mqtt", "localhost"],
        vec!["pub", "a"],
        vec!["pub", "a/+", "b"],
        vec!["pub", "a", "b", "--lines"],
        vec!["pub", "a", "b", "--property", "c"],
        vec!["rr", "a", "b", "--timeout", "5"],
    ] {
        let ended = muster(&wrong, &[]);
        assert_eq!(ended.exit, Exit::Usage, "{wrong:?}: {}", ended.err);
    }
}

#[test]
fn a_hub_without_mqtt_is_unreachable_and_a_missing_file_is_wrong_usage() {
    let dir = tempfile::tempdir().expect("directory");
    let app = app(dir.path());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let place = listener.local_addr().expect("address").to_string();
    drop(listener);
    let ended = muster(&["pub", "a", "b", "--identity", &app, "--mqtt", &place], &[]);
    assert_eq!(ended.exit, Exit::Unreachable, "{}", ended.err);
    assert!(ended.err.contains("cannot publish to a") && ended.err.contains(&place), "{}", ended.err);
    let ended = muster(&["sub", "a", "--identity", &app, "-o", "json", "--mqtt", &place], &[]);
    assert_eq!(ended.exit, Exit::Unreachable, "{}", ended.err);
    let ended = muster(&["pub", "a", "@/nowhere", "--identity", &app, "--mqtt", &place], &[]);
    assert_eq!(ended.exit, Exit::Usage, "{}", ended.err);
    assert!(ended.err.contains("/nowhere"), "{}", ended.err);
}
