//! Chips that another project's tools manufacture: `swtpm_setup` makes endorsement keys and certificates under an authority
//! of its own, with an issuing authority between root and chip.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use muster_simulators::{
    chip::Chip,
    edge::{Edge, EdgeOptions},
    hub::Hub,
};
use serde_json::Value;
use tempfile::TempDir;

/// An authority of swtpm's, in a folder of its own, and what it writes beside the chips.
struct Vendor {
    folder: TempDir,
}

impl Vendor {
    fn new() -> Self {
        let vendor = Self { folder: TempDir::new().expect("a folder") };
        let here = vendor.folder.path().display();
        std::fs::create_dir(vendor.path("ca")).expect("a folder");
        let setup = format!(
            "create_certs_tool=/usr/bin/swtpm_localca\ncreate_certs_tool_config={here}/localca.conf\n\
             create_certs_tool_options={here}/localca.options\nactive_pcr_banks=sha256\n"
        );
        let localca = format!(
            "statedir = {here}/ca\nsigningkey = {here}/ca/signkey.pem\nissuercert = {here}/ca/issuercert.pem\n\
             certserial = {here}/ca/certserial\n"
        );
        let options = "--platform-manufacturer muster\n--platform-version 1\n--platform-model interop\n";
        for (name, contents) in
            [("setup.conf", setup), ("localca.conf", localca), ("localca.options", options.into())]
        {
            std::fs::write(vendor.path(name), contents).expect("written");
        }
        vendor
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new chip with certificates for a P-384 key and an RSA key of so many bits, switched on. The agent takes RSA-2048
    /// where there is one, and does not look for RSA-3072.
    fn manufacture(&self, name: &str, rsa_bits: &str) -> Chip {
        let state = self.path(name);
        std::fs::create_dir(&state).expect("a folder");
        let mut setup = Command::new("swtpm_setup");
        setup.args(["--tpm2", "--create-ek-cert", "--overwrite", "--rsa-keysize", rsa_bits]);
        setup.arg("--tpm-state").arg(&state).arg("--write-ek-cert-files").arg(&state);
        setup.arg("--config").arg(self.path("setup.conf"));
        let output = setup.output().expect("swtpm_setup runs; it is in the package swtpm-tools");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
        Chip::power_on(&state).expect("it starts")
    }
}

/// What openssl reads in a certificate.
fn openssl(certificate: &Path, what: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-inform", "DER", "-noout", "-in"]).arg(certificate).args(what);
    String::from_utf8_lossy(&command.output().expect("openssl runs").stdout).into_owned()
}

#[test]
fn chips_that_swtpm_setup_made_enrol_by_their_certificates_with_rsa_2048_and_p_384() {
    let vendor = Vendor::new();
    let chips = [("rsa", "2048", "ek-rsa2048.crt"), ("ecc", "3072", "ek-secp384r1.crt")]
        .map(|(name, bits, certificate)| (vendor.manufacture(name, bits), vendor.path(name), certificate));
    // The hub trusts the root alone; who issued the chips' certificates comes with the device.
    let root = vendor.path("ca/swtpm-localca-rootca-cert.pem");
    let mut hub = Hub::init(&vendor.path("hub"), &root).expect("a hub");
    hub.start().expect("it starts");
    hub.operate(&["tenant", "create", "acme", "--accept-simulated-tpms"]).expect("a tenant");

    let mut manifest = "issuer,certificate_serial,model\n".to_owned();
    for (_, folder, certificate) in &chips {
        let serial = openssl(&folder.join(certificate), &["-serial"]);
        let serial = serial.trim().trim_start_matches("serial=");
        manifest.push_str(&format!("ca/issuercert.pem,{serial},demo-board\n"));
    }
    std::fs::write(vendor.path("delivery.csv"), manifest).expect("written");
    let file = vendor.path("delivery.csv").display().to_string();
    let report = hub.operate(&["device", "import", "--tenant", "acme", &file]).expect("imported");
    let outcomes: Vec<_> = report.as_array().expect("rows").iter().map(|row| &row["outcome"]).collect();
    assert_eq!(outcomes, ["accepted", "accepted"]);

    let issuing = vendor.path("ca/issuercert.pem");
    let with_chain = format!("ek_chain = {issuing:?}\n");
    for (chip, folder, certificate) in &chips {
        let tcti = chip.tcti();
        let device = folder.join("device");
        let options = EdgeOptions { tcti: &tcti, claim: None, folder: &device, interval_s: 1.0, labels: &[] };
        // Without the issuing authority there is no way from the chip to the root.
        let mut edge = Edge::start(&hub, &options).expect("it boots");
        assert_eq!(edge.wait_refused().expect("refused"), "untrusted_endorsement");
        drop(edge);
        let mut edge = Edge::start_with(&hub, &options, &with_chain).expect("it boots");
        let id = edge.wait_enrolled().unwrap_or_else(|error| panic!("{certificate}: {error}"));
        edge.wait_connected().expect("connected");
        let known = hub.operate(&["device", "show", "--tenant", "acme", &id]).expect("known");
        assert_eq!(known.get("tpm_class").and_then(Value::as_str), Some("simulated"));
    }
    let text = openssl(&chips[1].1.join("ek-secp384r1.crt"), &["-text"]);
    assert!(text.contains("P-384"), "{text}");
}
