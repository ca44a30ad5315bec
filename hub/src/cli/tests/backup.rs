//! Backups of a hub that does not run, from its first to the restored one. `tests/scenarios/backup.rs` tells the same of
//! a running hub with devices.

use std::{fs, path::PathBuf};

use muster_broker::store::{RootKey, Store, StoreOptions};

use super::*;
use crate::{
    config::Config,
    vault::{Passphrase, Vault},
};

struct Story {
    dir: tempfile::TempDir,
    config: String,
}

impl Story {
    /// A hub with a recipient, a place for backups, and its root key in other hands.
    fn begin() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let (config, _) = hub(dir.path());
        let story = Self { dir, config };
        for name in ["backup", "escrow", "stranger"] {
            let made = story.muster(&["backup", "keygen", &story.path(name)]);
            assert_eq!(made.exit, Exit::Ok, "{}", made.err);
        }
        fs::copy(story.path("backup.pub.pem"), story.path("hub/backup.pub.pem")).expect("copy");
        let mut text = fs::read_to_string(&story.config).expect("configuration");
        text += &format!(
            "\n[backup]\nplace = \"{}\"\nrecipients = [\"backup.pub.pem\"]\n",
            story.path("backups")
        );
        fs::write(&story.config, text).expect("write");
        fs::copy(story.path("hub/passphrase"), story.path("passphrase")).expect("copy");
        let (recipient, root) = (story.path("escrow.pub.pem"), story.path("root.escrow"));
        let escrowed = story.muster(&["backup", "escrow", "--recipient", &recipient, "--out", &root]);
        assert_eq!(escrowed.exit, Exit::Ok, "{}", escrowed.err);
        story
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn muster(&self, arguments: &[&str]) -> Ended {
        muster(&[arguments, &["--config", &self.config]].concat(), &[])
    }

    fn run(&self) -> serde_json::Value {
        let made = self.muster(&["backup", "run", "--offline", "-o", "json"]);
        assert_eq!(made.exit, Exit::Ok, "{}", made.err);
        serde_json::from_str(&made.out).expect("JSON")
    }

    fn restore(&self, to: &str, key: &str, more: &[&str]) -> Ended {
        let (to, key, root) = (self.path(to), self.path(key), self.path("root.escrow"));
        let (root_key, passphrase) = (self.path("escrow.key.pem"), self.path("passphrase"));
        let arguments = ["restore", "--dir", &to, "--key", &key, "--root", &root, "--root-key", &root_key];
        self.muster(&[&arguments, ["--passphrase-file", &passphrase].as_slice(), more].concat())
    }

    fn pieces(&self) -> Vec<PathBuf> {
        fn walk(dir: PathBuf, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).expect("list") {
                let path = entry.expect("entry").path();
                if path.is_dir() { walk(path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(PathBuf::from(self.path("backups/chunks")), &mut found);
        found.sort();
        found
    }
}

/// The names of the files of a backup.
struct Names(Vec<String>);

impl muster_backup::Sink for Names {
    fn file(&mut self, path: &str, _: u32, _: &[u8]) -> Result<(), String> {
        self.0.push(path.to_owned());
        Ok(())
    }

    fn row(&mut self, _: &str, _: Vec<u8>, _: Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_hub_is_backed_up_and_restored_into_an_empty_directory() {
    let story = Story::begin();
    let first = story.run();
    let second = story.run();
    assert_eq!((&first["number"], &second["number"]), (&1.into(), &2.into()));
    assert!(second["bytes_written"].as_u64() < first["bytes_written"].as_u64(), "{first} {second}");
    let listed = story.muster(&["backup", "list", "-o", "json"]);
    assert_eq!(listed.out.lines().count(), 2, "{}", listed.err);

    let restored = story.restore("again", "backup.key.pem", &["--verify"]);
    assert_eq!(restored.exit, Exit::Ok, "{}", restored.err);
    let config = story.path("again/muster.toml");
    assert!(restored.out.ends_with(&format!("Next: muster serve --config {config}\n")), "{}", restored.out);
    let checked = muster(&["check", "--config", &config], &[]);
    assert_eq!(checked.exit, Exit::Ok, "{}", checked.out);
    for file in ["authorities/root.crt", "authorities/device.key", "vault", "server.crt", "backup.pub.pem"] {
        let [then, now] = ["hub", "again"].map(|hub| fs::read(story.path(&format!("{hub}/{file}"))));
        assert_eq!(then.expect("then"), now.expect("now"), "{file}");
    }
    let [then, now] = ["hub", "again"].map(|hub| fs::read(story.path(&format!("{hub}/operator/key.pem"))));
    assert_ne!(then.expect("then"), now.expect("now"), "the operator's key is in no backup");
    // It goes on where the other one was, and knows which backup was its last.
    let again = muster(&["backup", "run", "--offline", "-o", "json", "--config", &config], &[]);
    assert!(again.out.contains("\"number\":3"), "{}{}", again.out, again.err);
    let refused = story.muster(&["backup", "run", "--offline"]);
    assert!(refused.err.contains("was made later") || refused.err.contains("newest"), "{}", refused.err);
}

#[test]
fn neither_the_root_key_nor_a_passphrase_is_in_a_backup_and_without_each_key_nothing_is_restored() {
    let story = Story::begin();
    story.run();
    let place = muster_backup::Directory::new(Path::new(&story.path("backups")));
    let repository = muster_backup::Repository::open(&place).expect("a repository");
    let listed = muster_backup::choose(&place, None).expect("a backup");
    let opener = crate::backup::opener(Path::new(&story.path("backup.key.pem"))).expect("the key");
    let signer = repository.signer.parse().expect("a signer");
    let mut opened =
        muster_backup::Opened::open(&place, &repository, listed, &opener, &signer).expect("it opens");
    let mut names = Names(Vec::new());
    opened.read(&|table| table == muster_backup::FILES, &mut names).expect("read");
    let all = names.0.join(" ");
    assert!(all.contains("vault") && all.contains("authorities/device.key"), "{all}");
    for absent in ["storage.key", "passphrase", "operator/key.pem", "publication", "backup.json"] {
        assert!(!all.contains(absent), "{all}");
    }

    let stranger = story.restore("wrong", "stranger.key.pem", &[]);
    assert_eq!(stranger.exit, Exit::Refused, "{}", stranger.err);
    assert!(stranger.err.contains("it was made for"), "{}", stranger.err);
    // Whoever has the backup and its key, and an escrow of his own, is not let on.
    fs::rename(story.path("root.escrow"), story.path("root.away")).expect("rename");
    let other = Story::begin();
    fs::copy(other.path("root.escrow"), story.path("root.escrow")).expect("copy");
    fs::copy(other.path("escrow.key.pem"), story.path("escrow.key.pem.new")).expect("copy");
    fs::rename(story.path("escrow.key.pem.new"), story.path("escrow.key.pem")).expect("rename");
    let refused = story.restore("wrong", "backup.key.pem", &[]);
    assert_eq!(refused.exit, Exit::Refused, "{}", refused.err);
    assert!(refused.err.contains("is not signed by the hub"), "{}", refused.err);
    assert!(!fs::exists(story.path("wrong/store")).expect("looked"));
    let full = story.restore("hub", "backup.key.pem", &[]);
    assert_eq!(full.exit, Exit::Exists, "{}", full.err);
}

#[test]
fn damage_is_named_by_verify_and_taken_only_if_that_is_asked_for() {
    let story = Story::begin();
    let made = story.run();
    let signer = made["signer"].as_str().expect("signer");
    let key = story.path("backup.key.pem");
    let verify = |more: &[&str]| story.muster(&[&["backup", "verify"], more].concat());
    let whole = verify(&["--key", &key, "--signer", signer]);
    assert_eq!(whole.exit, Exit::Ok, "{}{}", whole.out, whole.err);
    assert_eq!(verify(&[]).exit, Exit::Ok);
    assert_eq!(verify(&["--expect", "2"]).exit, Exit::Failure);
    assert_eq!(verify(&["--signer", &"00".repeat(32)]).exit, Exit::Failure);
    for piece in story.pieces() {
        let name = piece.strip_prefix(story.path("backups")).expect("below").display().to_string();
        let bytes = fs::read(&piece).expect("piece");
        let mut broken = bytes.clone();
        *broken.last_mut().expect("a tag") ^= 1;
        fs::write(&piece, &broken).expect("write");
        let found = verify(&["--key", &key]);
        assert_eq!(found.exit, Exit::Failure);
        assert!(found.out.contains(&name) && found.out.contains("lost with it: "), "{}", found.out);
        let refused = story.restore("never", "backup.key.pem", &["--verify"]);
        assert_eq!(refused.exit, Exit::Failure);
        assert!(refused.err.contains("--damaged") && !fs::exists(story.path("never")).expect("looked"));
        fs::write(&piece, &bytes).expect("write");
    }
    let lost = story.pieces().remove(0);
    fs::remove_file(&lost).expect("remove");
    let found = verify(&[]);
    assert!(found.exit == Exit::Failure && found.out.contains("it is missing"), "{}", found.out);
}

#[test]
fn what_is_not_kept_is_pruned() {
    let story = Story::begin();
    for _ in 0..3 {
        story.run();
    }
    let dry = story.muster(&["backup", "prune", "--keep-last", "2", "--dry-run"]);
    assert!(dry.out.starts_with("1 backups would be removed, 2 kept"), "{}{}", dry.out, dry.err);
    let pruned = story.muster(&["backup", "prune", "--keep-last", "2"]);
    assert!(pruned.out.starts_with("1 backups removed, 2 kept"), "{}{}", pruned.out, pruned.err);
    let key = story.path("backup.key.pem");
    assert_eq!(story.muster(&["backup", "verify", "--key", &key]).exit, Exit::Ok);
}

#[test]
fn a_configuration_without_a_place_says_what_is_missing() {
    let dir = tempfile::tempdir().expect("directory");
    let (config, _) = hub(dir.path());
    let refused = muster(&["backup", "list", "--config", &config], &[]);
    assert_eq!(refused.exit, Exit::Usage, "{}", refused.err);
    assert!(refused.err.contains("--place"), "{}", refused.err);
    let place = "s3://bucket?endpoint=https://localhost";
    let refused = muster(&["backup", "list", "--place", place], &[]);
    assert!(refused.err.contains("AWS_ACCESS_KEY_ID"), "{}", refused.err);
}

impl Story {
    /// The store of the hub, which does not run.
    fn store(&self) -> Store {
        let text = fs::read_to_string(&self.config).expect("configuration");
        let config = Config::parse(Path::new(&self.config), &text, [], &[]).expect("configuration");
        let layout = config.layout();
        let passphrase = Passphrase::read(&config.passphrase_file).expect("passphrase");
        let vault = Vault::open(&layout.vault(), &passphrase).expect("vault");
        let root = crate::keyring::open_storage_key(&layout, &vault).expect("root key");
        let options = StoreOptions { disk_free_bytes_min: 0 };
        Store::open(&layout.store(), RootKey::from(root), options).expect("store")
    }

    /// A tenant that is registered and has keys.
    fn with_tenant(&self) -> TenantId {
        let acme: TenantId = "acme".parse().expect("an id");
        let store = self.store();
        store.create_tenant(&acme).expect("its keys");
        crate::registry::stored::write_tenant(&store, &acme);
        store.close();
        acme
    }
}

#[test]
fn a_tenant_whose_keys_were_destroyed_is_not_put_back() {
    let story = Story::begin();
    let acme = story.with_tenant();
    story.run();
    let store = story.store();
    store.shred_tenant(&acme, 1).expect("destroyed");
    store.close();
    drop(store);
    let key = story.path("backup.key.pem");
    let refused = story.muster(&["restore", "--tenant", "acme", "--key", &key]);
    assert!(
        refused.err.contains("its keys were destroyed since, for good"),
        "{}{}",
        refused.out,
        refused.err
    );
    let store = story.store();
    assert!(store.is_shredded(&acme).expect("read"), "and stays so");
    store.close();
}

#[test]
fn a_tenant_that_was_forgotten_is_in_no_backup_any_more() {
    let story = Story::begin();
    story.with_tenant();
    story.run();
    story.run();
    let key = story.path("backup.key.pem");
    let listed = story.muster(&["backup", "list", "--key", &key, "-o", "json"]);
    assert!(listed.out.contains("[\"acme\"]"), "{}{}", listed.out, listed.err);
    let restore = ["restore", "--tenant", "acme", "--key", &key, "--damaged"];
    let restored = story.muster(&restore);
    assert_eq!(restored.exit, Exit::Ok, "{}", restored.err);

    let forgotten = story.muster(&["backup", "forget", "--tenant", "acme"]);
    assert_eq!(forgotten.exit, Exit::Ok, "{}", forgotten.err);
    let refused = story.muster(&restore);
    assert!(refused.err.contains("its keys are no longer in it"), "{}{}", refused.out, refused.err);
    let verified = story.muster(&["backup", "verify", "--key", &key]);
    assert!(verified.out.contains("keys of tenant acme, and with them what they sealed"), "{}", verified.out);
    // The hub itself still has it: nothing was changed before the refusal.
    let again = story.muster(&["backup", "run", "--offline"]);
    assert_eq!(again.exit, Exit::Ok, "{}", again.err);
    assert_eq!(story.muster(&["restore", "--tenant", "acme", "--key", &key]).exit, Exit::Ok);
}
