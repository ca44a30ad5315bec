use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::*;
use crate::{
    init::{InitError, Options, init},
    limits::YEAR_S,
};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;

fn options(dir: &Path) -> Options {
    Options {
        dir: dir.join("hub"),
        trust_domain: "muster.example".parse().expect("domain"),
        server_names: ["localhost", "127.0.0.1"].map(|n| n.try_into().expect("name")).to_vec(),
        bind: [127, 0, 0, 1].into(),
        mqtt_port: 8883,
        https_port: 8443,
        passphrase_file: None,
        tpm_roots: Vec::new(),
    }
}

fn config(dir: &Path, flags: &[&str]) -> Config {
    let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
    Config::read(&dir.join("hub/muster.toml"), [], &flags).expect("configuration")
}

#[test]
fn what_init_makes_opens_and_nothing_secret_is_open_to_others() {
    let dir = tempfile::tempdir().expect("directory");
    let made = init(&options(dir.path()), NOW_S).expect("init");
    let config = Config::read(&made.config, [], &[]).expect("configuration");
    let keyring = Keyring::open(&config, NOW_S).expect("open");
    assert_eq!(keyring.server_leaf.principal.to_string(), "spiffe://muster.example/t/operator/node/hub");
    assert_eq!(keyring.server.chain.len(), 2);
    assert_eq!(keyring.device.role(), Role::Device);
    let layout = config.layout();
    let mut private = vec![layout.passphrase(), layout.vault(), layout.storage_key(), layout.server_key()];
    private.extend(Role::ALL.map(|r| layout.authority_key(r)));
    private.push(layout.operator().join("key.pem"));
    for path in private {
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600, "{}", path.display());
    }
    for directory in [layout.data_dir().to_owned(), layout.authorities(), layout.operator()] {
        assert_eq!(std::fs::metadata(&directory).expect("there").mode() & 0o777, 0o700);
    }
    for role in Role::INTERMEDIATES {
        let sealed = std::fs::read(layout.authority_key(role)).expect("read");
        assert!(KeyPair::try_from(sealed).is_err(), "the {role} key lies open");
    }
}

#[test]
fn a_second_init_overwrites_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    init(&options(dir.path()), NOW_S).expect("init");
    let before = std::fs::read(dir.path().join("hub/vault")).expect("read");
    let again = init(&options(dir.path()), NOW_S);
    assert!(matches!(again, Err(InitError::AlreadyThere { .. })));
    assert_eq!(std::fs::read(dir.path().join("hub/vault")).expect("read"), before);
}

#[test]
fn init_uses_a_passphrase_that_is_there_and_refuses_one_that_others_can_read() {
    let dir = tempfile::tempdir().expect("directory");
    let passphrase = dir.path().join("passphrase");
    private_file::create(&passphrase, b"correct horse battery\n").expect("create");
    let options = Options { passphrase_file: Some(passphrase.clone()), ..options(dir.path()) };
    init(&options, NOW_S).expect("init");
    assert!(!dir.path().join("hub/passphrase").exists());
    Keyring::open(&config(dir.path(), &[]), NOW_S).expect("open");
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o640)).expect("chmod");
    let refused =
        Keyring::open(&config(dir.path(), &[]), NOW_S).map(|_| ()).expect_err("exposed").to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn init_copies_the_roots_of_tpm_manufacturers() {
    let dir = tempfile::tempdir().expect("directory");
    let root = Authority::new_root(&"tpm.example".parse().expect("domain"), NOW_S).expect("root");
    let file = dir.path().join("vendor.pem");
    std::fs::write(&file, pem(&[root.certificate()])).expect("write");
    let class = muster_tpm::endorsement::TpmClass::Simulated;
    init(&Options { tpm_roots: vec![(class, file)], ..options(dir.path()) }, NOW_S).expect("init");
    let config = config(dir.path(), &[]);
    let [root_file] = config.tpm_roots.as_slice() else { panic!("one root") };
    assert_eq!(pem_certificates(&root_file.file).expect("copied"), [root.certificate()]);
    assert_eq!(root_file.class, class);
}

#[test]
fn the_hubs_certificate_is_kept_while_it_fits_and_issued_anew_when_it_does_not() {
    let dir = tempfile::tempdir().expect("directory");
    init(&options(dir.path()), NOW_S).expect("init");
    let open =
        |flags: &[&str], now_s| Keyring::open(&config(dir.path(), flags), now_s).expect("open").server_leaf;
    let first = open(&[], NOW_S);
    assert_eq!(open(&[], NOW_S + YEAR_S / 2), first);
    let late = open(&[], NOW_S + YEAR_S * 3 / 4);
    assert_ne!(late.serial, first.serial);
    let renamed = open(&["server_names=hub.example"], NOW_S + YEAR_S * 3 / 4);
    assert_eq!(renamed.server_names, ["hub.example".try_into().expect("name")]);
    let other = open(&["server_names=hub.example", "node=hub-2"], NOW_S + YEAR_S * 3 / 4);
    assert_eq!(other.principal.id.as_str(), "hub-2");
    // A crash between key and certificate leaves a pair that does not belong together.
    let certificate = config(dir.path(), &[]).layout().server_certificate();
    let old = std::fs::read(&certificate).expect("read");
    open(&[], NOW_S);
    private_file::replace(&certificate, &old, false).expect("write");
    assert_eq!(open(&[], NOW_S).server_names.len(), 2);
}

#[test]
fn a_configuration_of_another_trust_domain_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    init(&options(dir.path()), NOW_S).expect("init");
    let opened = Keyring::open(&config(dir.path(), &["trust_domain=other.example"]), NOW_S);
    assert!(matches!(opened, Err(KeyringError::TrustDomain { .. })));
}

#[test]
fn a_hub_that_the_first_version_made_still_starts_and_gets_the_authorities_it_lacks() {
    let dir = tempfile::tempdir().expect("directory");
    init(&options(dir.path()), NOW_S).expect("init");
    let config = config(dir.path(), &[]);
    let layout = config.layout();
    let forget = || {
        for role in Role::LATER {
            std::fs::remove_file(layout.authority_certificate(role)).expect("removed");
        }
    };
    // The root's key was taken elsewhere: it works as before.
    forget();
    let (root, elsewhere) = (layout.authority_key(Role::Root), dir.path().join("root.key"));
    std::fs::rename(&root, &elsewhere).expect("moved");
    let keyring = Keyring::open(&config, NOW_S).expect("it starts without them");
    assert_eq!(keyring.authorities.len(), Role::INTERMEDIATES.len() - Role::LATER.len());
    // It is back for one start. What a crash left of a key is overwritten.
    std::fs::rename(&elsewhere, &root).expect("moved back");
    let keyring = Keyring::open(&config, NOW_S).expect("it makes them");
    assert_eq!(keyring.authorities.len(), Role::INTERMEDIATES.len());
    assert!(keyring.trust.authority(Role::Software).is_some());
}

#[test]
fn the_hubs_certificate_follows_the_tenants_that_it_may_serve() {
    let dir = tempfile::tempdir().expect("directory");
    init(&options(dir.path()), NOW_S).expect("init");
    let open = |flags: &[&str]| {
        let keyring = Keyring::open(&config(dir.path(), flags), NOW_S).expect("open");
        Tenants::of_certificate(&keyring.server.chain[0]).expect("readable").expect("there").to_string()
    };
    assert_eq!(open(&[]), "*");
    assert_eq!(open(&["certificates.tenants=[\"globex\", \"acme\"]"]), "acme,globex");
    assert_eq!(open(&[]), "*");
}
