//! `muster-sign` as people use it: each command as a process, on files in a folder of its own.

#![expect(clippy::expect_used, reason = "the whole program is a test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use muster_schemas::firmware::Sequence;
use muster_suit::{Envelope, Root, RootDraft};
use tempfile::TempDir;

/// A desk: a folder, and the program.
struct Desk {
    folder: TempDir,
    environment: Vec<(String, PathBuf)>,
}

impl Desk {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder"), environment: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster-sign"));
        command.current_dir(self.folder.path()).env_remove("MUSTER_SIGN_PIN");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(line.split_whitespace()).output().expect("the program runs")
    }

    /// What it prints when it does what was asked.
    fn done(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What it says when it does not, and how it ends.
    fn refused(&self, line: &str) -> (String, Option<i32>) {
        let output = self.run(line);
        assert!(!output.status.success(), "{line}");
        (String::from_utf8(output.stderr).expect("text"), output.status.code())
    }

    fn keys(&self, names: &[&str]) {
        for name in names {
            self.done(&format!("key new --out {name}.pem --public {name}.pub.pem"));
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("written");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("readable")
    }

    /// A root that takes two of three root keys and one of two firmware keys.
    fn root(&self) {
        self.keys(&["r1", "r2", "r3", "f1", "f2", "hub"]);
        self.done(
            "root new --tenant acme --root r1.pub.pem --root r2.pub.pem --root r3.pub.pem --root-threshold 2 \
             --firmware f1.pub.pem --firmware f2.pub.pem --firmware-threshold 1 --hub hub.pub.pem --out root.1",
        );
        self.done("root sign root.1 --key r1.pem --key r3.pem");
    }

    fn manifest(&self) {
        self.write("image", b"not much of an image");
        self.done(
            "manifest --image image --vendor acme.example --class pump-mk2 --sequence 12 --version 1.4.0-rc.2 \
             --uri https://acme.example/1.4.0 --out manifest",
        );
    }
}

#[test]
fn a_tenant_signs_firmware_from_the_first_key_to_a_verified_manifest() {
    let desk = Desk::new();
    desk.root();
    let shown = desk.done("root show root.1");
    assert!(shown.contains("root of acme, version 1, expires 20"), "{shown}");
    assert!(shown.contains("signed by 2 of the 2 root keys"), "{shown}");
    let root = Root::first(&desk.read("root.1")).expect("a root that holds");
    assert_eq!((root.root.threshold, root.firmware.threshold), (2, 1));

    desk.manifest();
    let (said, code) = desk.refused("verify manifest --root root.1");
    assert!(said.contains("is signed by 0 firmware keys of acme, which takes 1"), "{said}");
    assert_eq!(code, Some(1));
    desk.done("sign manifest --key f2.pem");
    let verified =
        desk.done("verify manifest --root root.1 --image image --vendor acme.example --class pump-mk2");
    assert!(verified.contains("verified: signed by 1 firmware keys of acme"), "{verified}");
    assert!(verified.contains("version  1.4.0-rc.2") && verified.contains("20 bytes"), "{verified}");
    let bytes = desk.read("manifest");
    let envelope = Envelope::open(&bytes).expect("an envelope");
    assert_eq!(envelope.manifest().expect("a manifest").sequence, Sequence(12));

    // A second signature beside the first, and none twice.
    let shown = desk.done("sign manifest --key f1.pem --key f2.pem --key f1.pem");
    assert!(shown.contains("signatures: 2"), "{shown}");
}

#[test]
fn the_same_image_gives_the_same_manifest() {
    let desk = Desk::new();
    desk.manifest();
    let first = desk.read("manifest");
    fs::remove_file(desk.path("manifest")).expect("removed");
    desk.manifest();
    assert_eq!(desk.read("manifest"), first);
}

#[test]
fn what_does_not_fit_is_not_verified() {
    let desk = Desk::new();
    desk.root();
    desk.manifest();
    desk.done("sign manifest --key f1.pem");
    desk.write("other", b"another image altogether");
    let (said, _) = desk.refused("verify manifest --root root.1 --image other");
    assert!(said.contains("is about another image"), "{said}");
    let (said, _) = desk.refused("verify manifest --root root.1 --vendor acme.example --class pump-mk3");
    assert!(said.contains("is for devices of the class"), "{said}");
    let (said, _) = desk.refused("verify manifest --root root.1 --vendor globex.example --class pump-mk2");
    assert!(said.contains("is for devices of the vendor"), "{said}");
    let mut changed = desk.read("manifest");
    *changed.last_mut().expect("bytes") ^= 1;
    desk.write("changed", &changed);
    let (said, _) = desk.refused("verify changed --root root.1");
    assert!(said.contains("has a digest that is not that of the manifest"), "{said}");
    let (said, _) = desk.refused("sign changed --key f1.pem");
    assert!(said.contains("digest"), "{said}");
    // A root key is no firmware key.
    desk.manifest_of_stranger();
    let (said, _) = desk.refused("verify strange --root root.1");
    assert!(said.contains("is signed by 0 firmware keys"), "{said}");
}

impl Desk {
    fn manifest_of_stranger(&self) {
        self.done(
            "manifest --image image --vendor acme.example --class pump-mk2 --sequence 13 --out strange",
        );
        self.done("sign strange --key r1.pem --key hub.pem");
    }
}

#[test]
fn a_root_is_rotated_by_old_and_new_keys() {
    let desk = Desk::new();
    desk.root();
    desk.keys(&["r4", "f3"]);
    let text = desk.done(
        "root rotate root.1 --root r1.pub.pem --root r4.pub.pem --firmware f3.pub.pem --firmware-threshold 1 \
         --expires 2090-01-31 --out root.2",
    );
    assert!(text.contains("version 2, expires 2090-01-31T00:00:00Z"), "{text}");
    assert!(text.contains("signed by 0 of the 2 root keys of version 1 that it takes"), "{text}");
    desk.done("root sign root.2 --key r1.pem --key r4.pem");
    let shown = desk.done("root show root.2 --after root.1");
    assert!(
        shown.contains("it does not follow: it is signed by 1 root keys of the version before"),
        "{shown}"
    );
    desk.done("root sign root.2 --key r2.pem");
    let shown = desk.done("root show root.2 --after root.1");
    assert!(shown.contains("it follows on version 1"), "{shown}");
    let first = Root::first(&desk.read("root.1")).expect("the first");
    let second = first.next(&desk.read("root.2")).expect("the second");
    assert_eq!((second.version, second.hub, second.firmware.keys.len()), (2, first.hub, 1));
    // A firmware key that the new root does not have signs no more.
    desk.manifest();
    desk.done("sign manifest --key f1.pem");
    desk.done("verify manifest --root root.1");
    desk.refused("verify manifest --root root.2");
}

#[test]
fn keys_are_only_their_owners_and_nothing_is_written_over() {
    let desk = Desk::new();
    let printed = desk.done("key new --out k.pem --public k.pub.pem");
    assert_eq!(desk.done("key show k.pem"), printed);
    assert_eq!(desk.done("key show k.pub.pem"), printed);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(desk.path("k.pem")).expect("there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
    let before = desk.read("k.pem");
    let (said, code) = desk.refused("key new --out k.pem");
    assert!(said.contains("is there already"), "{said}");
    assert_eq!((code, desk.read("k.pem")), (Some(6), before));
    // What it prints can be kept as a public key, words and all.
    desk.write("printed.pem", printed.as_bytes());
    assert_eq!(desk.done("key show printed.pem"), printed);
}

#[test]
fn a_key_has_the_name_that_openssl_finds_and_its_signatures_verify_there() {
    let desk = Desk::new();
    let printed = desk.done("key new --out k.pem --public k.pub.pem");
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        let output = command.current_dir(desk.folder.path()).args(line.split_whitespace()).output();
        let output = output.expect("openssl runs; it is in the package openssl");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    openssl("pkey -pubin -in k.pub.pem -outform DER -out k.der");
    let hash = openssl("dgst -sha256 -r k.der");
    assert!(printed.starts_with(&format!("key {}\n", &hash[..16])), "{hash} {printed}");
    openssl("pkey -in k.pem -noout -check");
    // And a key of openssl's signs.
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out foreign.pem");
    desk.manifest();
    assert!(desk.done("sign manifest --key foreign.pem").contains("signatures: 1"));
}

#[test]
fn complaints_say_what_and_why_and_what_next() {
    let desk = Desk::new();
    desk.root();
    desk.manifest();
    for (line, says) in [
        ("sign manifest --key nowhere.pem", "cannot read nowhere.pem"),
        ("sign manifest --key f1.pub.pem", "is a public key, which cannot sign"),
        ("sign image --key f1.pem", "image is no manifest: it has Text where a tag is expected"),
        ("sign root.1 --key f1.pem", "root.1 is no manifest: it has the tag 98 where 107 is expected"),
        ("root sign manifest --key r1.pem", "manifest is no root: it has signatures that cannot be read"),
        (
            "root new --tenant acme --root r1.pem --firmware f1.pub.pem --hub hub.pub.pem --out x",
            "is a private key",
        ),
        (
            "root new --tenant acme --root r1.pub.pem --firmware f1.pub.pem --out x",
            "wants 1 of 0 keys for hubs",
        ),
        (
            "root new --tenant acme --root r1.pub.pem --firmware hub.pub.pem --hub hub.pub.pem --out x",
            "a stolen hub could make firmware",
        ),
        (
            "root new --tenant acme --root r1.pub.pem --firmware f1.pub.pem --hub hub.pub.pem --expires 2020-01-01 --out x",
            "would have expired already",
        ),
        ("root new --tenant Acme --root r1.pub.pem --firmware f1.pub.pem --hub hub.pub.pem --out x", "'A'"),
        (
            "manifest --image image --vendor a --class b --sequence 1 --version 1.x --out x",
            "\"1.x\" is no version",
        ),
        ("manifest --image nothing --vendor a --class b --sequence 1 --out x", "cannot read nothing"),
        (
            "verify manifest --root manifest",
            "manifest is not believed: it has signatures that cannot be read",
        ),
        ("sign manifest --key pkcs11:object=a?module-path=/nowhere.so", "/nowhere.so cannot be loaded"),
        ("show root.1", "has the tag 98"),
    ] {
        let (said, _) = desk.refused(line);
        assert!(said.contains(says), "{line}: {said}");
        assert!(!desk.path("x").exists(), "{line}");
    }
}

#[test]
fn an_unsigned_root_is_believed_by_nobody() {
    let desk = Desk::new();
    desk.keys(&["r1", "f1", "hub"]);
    desk.done("root new --tenant acme --root r1.pub.pem --firmware f1.pub.pem --hub hub.pub.pem --days 30 --out root");
    assert!(RootDraft::decode(&desk.read("root")).is_ok());
    desk.manifest();
    desk.done("sign manifest --key f1.pem");
    desk.refused("verify manifest --root root");
    desk.refused("root rotate root --out next");
    desk.done("root sign root --key r1.pem");
    desk.done("verify manifest --root root");
}

/// Where Debian and others put SoftHSM's library.
fn softhsm() -> PathBuf {
    let places = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ];
    let found = places.into_iter().map(Path::new).find(|path| path.exists());
    found.expect("SoftHSM is there: it is in the package softhsm2").to_owned()
}

#[test]
fn a_key_in_a_token_signs_and_never_leaves_it() {
    let mut desk = Desk::new();
    fs::create_dir(desk.path("tokens")).expect("a folder");
    desk.write(
        "softhsm2.conf",
        format!("directories.tokendir = {}\n", desk.path("tokens").display()).as_bytes(),
    );
    desk.environment.push(("SOFTHSM2_CONF".into(), desk.path("softhsm2.conf")));
    for label in ["muster", "other"] {
        let mut command = Command::new("softhsm2-util");
        command.env("SOFTHSM2_CONF", desk.path("softhsm2.conf"));
        command.args(["--init-token", "--free", "--label", label, "--pin", "471108", "--so-pin", "08154711"]);
        let output = command.output().expect("softhsm2-util runs; it is in the package softhsm2");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    desk.write("pin", b"471108\n");
    let library = softhsm();
    let token = |object: &str| {
        let pin = desk.path("pin");
        format!(
            "pkcs11:token=muster;object={object}?module-path={}&pin-source=file:{}",
            library.display(),
            pin.display()
        )
    };
    let (firmware, root) = (token("firmware"), token("root"));
    let printed = desk.done(&format!("key new --out {firmware} --public f.pub.pem"));
    desk.done(&format!("key new --out {root} --public r.pub.pem"));
    assert_eq!(desk.done(&format!("key show {firmware}")), printed);
    let (said, _) = desk.refused(&format!("key new --out {firmware}"));
    assert!(said.contains("has a key with that name already"), "{said}");

    desk.keys(&["hub", "r1"]);
    desk.done(&format!(
        "root new --tenant acme --root {root} --root r1.pub.pem --firmware f.pub.pem --hub hub.pub.pem --out root.1"
    ));
    desk.done(&format!("root sign root.1 --key {root} --key r1.pem"));
    desk.manifest();
    // Two keys of one token in one run: the library begins once.
    desk.done(&format!("sign manifest --key {firmware} --key {root}"));
    let verified = desk.done("verify manifest --root root.1 --image image");
    assert!(verified.contains("verified: signed by 1 firmware keys"), "{verified}");

    let nobody = token("nobody");
    let (said, _) = desk.refused(&format!("sign manifest --key {nobody}"));
    assert!(said.contains("has no private key of an elliptic curve with that name"), "{said}");
    let (said, _) =
        desk.refused(&format!("sign manifest --key {}", firmware.replace("token=muster", "token=none")));
    assert!(said.contains("no such token") && said.contains("muster"), "{said}");
    let (said, _) = desk.refused(&format!("sign manifest --key {}", firmware.replace("token=muster;", "")));
    assert!(said.contains("more than one such token"), "{said}");
    let without_pin = firmware.split("&pin").next().expect("a URI").to_owned();
    let (said, code) = desk.refused(&format!("sign manifest --key {without_pin}"));
    assert!(said.contains("set MUSTER_SIGN_PIN"), "{said}");
    assert_eq!(code, Some(2));
    desk.write("pin", b"0000");
    let (said, _) = desk.refused(&format!("sign manifest --key {firmware}"));
    assert!(said.contains("does not take the PIN"), "{said}");
}
