use std::{path::Path, time::Duration};

use super::*;
use crate::init::{Options, init};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;

fn acme() -> TenantId {
    "acme".parse().expect("id")
}

/// A hub with a tenant.
fn hub(dir: &Path) -> Config {
    let options = Options {
        dir: dir.join("hub"),
        trust_domain: "muster.example".parse().expect("domain"),
        server_names: ["localhost"].map(|name| name.try_into().expect("name")).to_vec(),
        bind: [127, 0, 0, 1].into(),
        mqtt_port: 0,
        https_port: 0,
        passphrase_file: None,
        tpm_roots: Vec::new(),
    };
    let config = Config::read(&init(&options, NOW_S).expect("init").config, [], &[]).expect("configuration");
    open(&config).create_tenant(&acme()).expect("created");
    config
}

fn open(config: &Config) -> Store {
    let opened = RootSource::new(config).open().expect("opens");
    assert!(opened.next.is_none());
    opened.store
}

fn has_tenant(config: &Config) -> bool {
    open(config).tenant(&acme()).expect("reads").is_some()
}

fn printing(byte: u8) -> KeyCommand {
    let digits = format!("{byte:02x}").repeat(32);
    KeyCommand { command: ["echo".to_owned(), digits].to_vec(), time_max: Duration::from_secs(20) }
}

#[test]
fn the_root_key_in_the_vault_is_replaced_and_the_old_file_opens_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let config = hub(dir.path());
    let layout = config.layout();
    let old = fs::read(layout.storage_key()).expect("there");
    for generation in 2..=3 {
        let store = open(&config);
        let status = RootSource::new(&config).rotate(&store, &[acme()], NOW_S).expect("replaced");
        assert_eq!(status.generation, generation);
    }
    assert!(has_tenant(&config) && !layout.next_storage_key().exists());
    fs::write(layout.storage_key(), old).expect("written");
    assert!(matches!(RootSource::new(&config).open(), Err(RootKeyError::Store(StoreError::WrongRootKey))));
}

/// Before the store took it; after the store took it and before the file was renamed.
#[test]
fn stopped_at_any_point_of_it_the_next_start_goes_on_with_the_key_that_the_store_has() {
    for is_taken in [false, true] {
        let dir = tempfile::tempdir().expect("directory");
        let config = hub(dir.path());
        let (layout, source) = (config.layout(), RootSource::new(&config));
        let present = fs::read(layout.storage_key()).expect("there");
        {
            let store = open(&config);
            if is_taken {
                source.rotate(&store, &[acme()], NOW_S).expect("replaced");
                fs::rename(layout.storage_key(), layout.next_storage_key()).expect("renamed");
                fs::write(layout.storage_key(), &present).expect("written");
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                fs::set_permissions(layout.storage_key(), private).expect("private");
            } else {
                let vault = source.vault().expect("opens");
                keyring::create_next_storage_key(&layout, &vault, &[9; 32]).expect("written");
            }
        }
        assert!(has_tenant(&config), "taken: {is_taken}");
        assert!(!layout.next_storage_key().exists() && layout.storage_key().exists());
        assert!(has_tenant(&config));
    }
}

#[test]
fn a_program_takes_the_place_of_the_vault_and_another_program_that_of_the_first() {
    let dir = tempfile::tempdir().expect("directory");
    let mut config = hub(dir.path());
    config.key_commands.storage_key = Some(printing(1));
    for byte in [1, 2] {
        let source = RootSource::new(&config);
        let Opened { store, next } = source.open().expect("opens with the one before");
        source.settle(&store, &next.expect("another one is to follow"), &[acme()], NOW_S).expect("replaced");
        assert!(matches!(source.rotate(&store, &[acme()], NOW_S), Err(RootKeyError::NotOurs)));
        drop(store);
        assert!(!config.layout().storage_key().exists(), "it opens nothing any more");
        assert!(has_tenant(&config), "the program alone, and the one before still named");
        config.key_commands.previous_storage_key = Some(printing(byte));
        config.key_commands.storage_key = Some(printing(byte + 1));
    }
    config.key_commands.storage_key = Some(printing(7));
    config.key_commands.previous_storage_key = None;
    assert!(matches!(RootSource::new(&config).open(), Err(RootKeyError::Store(StoreError::WrongRootKey))));
}
