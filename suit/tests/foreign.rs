//! Envelopes across languages, live: `taylor-suit` from PyPI makes some that we read, and a checker in Python that
//! shares no code with us takes ours. Both are installed by `setup/clients` and `setup/install`; without them this
//! fails.

#![expect(clippy::expect_used, reason = "the whole program is a test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use muster_schemas::firmware::{Digest, Sequence, Uuid};
use muster_suit::{Envelope, Facts, NewManifest, Signer as _, SoftKey, carry_out, class_id, vendor_id};
use tempfile::TempDir;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Where the clients of others are; asks no registry when they are there already.
fn installed() -> PathBuf {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop");
    let output =
        Command::new(here().join("../setup/clients")).arg(&clients).output().expect("setup/clients runs");
    assert!(
        output.status.success(),
        "what others made is missing:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    clients
}

fn made(key: &Path, manifest: &Path) -> Vec<u8> {
    let output = Command::new(installed().join("python/bin/python"))
        .arg(here().join("tests/foreign.py"))
        .args([Path::new("make"), key, manifest])
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    data_encoding::HEXLOWER.decode(output.stdout.trim_ascii()).expect("hexadecimal")
}

fn checked(public: &Path, envelope: &Path) -> Output {
    Command::new("python3")
        .arg(here().join("tests/foreign.py"))
        .args([Path::new("check"), public, envelope])
        .output()
        .expect("Python runs; python3-cryptography is in setup/packages")
}

#[test]
fn we_read_what_taylor_signs_with_a_key_of_ours() {
    let folder = TempDir::new().expect("a folder");
    let key = SoftKey::generate().expect("a key");
    let path = folder.path().join("key.pem");
    fs::write(&path, key.to_pem().expect("PEM").as_bytes()).expect("written");
    for (name, facts) in [
        ("one-image", facts("arm.com", None)),
        ("slots-and-versions", Facts { slot: Some(1), ..facts("acme.example", Some("pump-mk2")) }),
    ] {
        let bytes = made(&path, &here().join(format!("vectors/taylor-{name}.json")));
        let envelope = Envelope::open(&bytes).expect("an envelope");
        assert_eq!(envelope.signers(&[key.public()]), [key.public()], "{name}");
        let manifest = envelope.manifest().expect("a manifest");
        let images = carry_out(&manifest, &facts).expect("for this device");
        assert_eq!(images.first().map(|image| image.size), Some(34_768), "{name}");
        // And our own signature goes beside taylor's.
        let ours = SoftKey::generate().expect("a key");
        let both = envelope.signed_by(&ours).expect("signed");
        let keys = [key.public(), ours.public()];
        assert_eq!(Envelope::open(&both).expect("an envelope").signers(&keys).len(), 2);
    }
}

fn facts(domain: &str, class: Option<&str>) -> Facts {
    let vendor = vendor_id(domain);
    let drafts: Uuid = "1492af14-2569-5e48-bf42-9b2d51f2ab45".parse().expect("a UUID");
    let class = class.map_or(drafts, |class| class_id(vendor, class));
    let version = Some("1.2.3".parse().expect("a version"));
    Facts { vendor, class, unit: None, slot: None, version }
}

#[test]
fn a_checker_in_another_language_takes_ours_and_no_byte_less() {
    let folder = TempDir::new().expect("a folder");
    let key = SoftKey::generate().expect("a key");
    let (public, path) = (folder.path().join("key.pub.pem"), folder.path().join("envelope"));
    fs::write(&public, key.public().to_pem()).expect("written");
    let vendor = vendor_id("acme.example");
    let manifest = NewManifest {
        sequence: Sequence(12),
        vendor,
        class: class_id(vendor, "pump-mk2"),
        image: Digest([7; 32]),
        size: 3_002_368,
        version: Some("1.4.0-rc.2".parse().expect("a version")),
        uri: Some("https://firmware.acme.example/1.4.0.bin".into()),
        invoke: true,
    };
    let unsigned = manifest.envelope();
    let signed = Envelope::open(&unsigned).expect("an envelope").signed_by(&key).expect("signed");
    fs::write(&path, &signed).expect("written");
    let output = checked(&public, &path);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.trim_ascii(), b"12");
    for place in [20, signed.len() / 4, signed.len() / 2, signed.len() - 1] {
        let mut changed = signed.clone();
        *changed.get_mut(place).expect("a byte") ^= 1;
        fs::write(&path, &changed).expect("written");
        assert!(!checked(&public, &path).status.success(), "byte {place}");
    }
}
