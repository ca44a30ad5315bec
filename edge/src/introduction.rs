//! What this device says of itself when it enrols, beside what its TPM proves: the certificates above its endorsement
//! certificate, the number on its plate, the address of its network interface. Nothing proves the last two; the hub holds
//! them against its lists and shows a person who claims what.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use muster_schemas::limits::{
    ENROLMENT_CERTIFICATE_BYTES_MAX, ENROLMENT_CHAIN_CERTIFICATES_MAX, ENROLMENT_LABEL_BYTES_MAX,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::limits::{ROOT_BYTES_MAX, SOURCE_BYTES_MAX};

/// Where it is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntroductionSources {
    /// `ek_chain`: certificates between the endorsement certificate and its root, PEM, leaf side first.
    pub ek_chain: Option<PathBuf>,
    /// `serial_number`: the number itself.
    pub serial_number: Option<String>,
    /// `serial_number_file`: a file that holds it, such as `/proc/device-tree/serial-number`.
    pub serial_number_file: Option<PathBuf>,
    /// `network_interface`: the one whose address is told.
    pub network_interface: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Introduction {
    /// Certificates in DER, leaf side first.
    pub ek_chain: Vec<Vec<u8>>,
    /// The serial number.
    pub serial_number: Option<String>,
    /// The hardware address.
    pub mac: Option<[u8; 6]>,
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum IntroductionError {
    /// A file could not be read.
    #[error("read {path}, which {key} names: {source}")]
    Read {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("use {path}, which {key} names: {why}")]
    Malformed {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Introduction {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// Something is not there, or is not what it should be. A device that leaves out what it was told to say would be
    /// taken for another.
    pub fn read(sources: &IntroductionSources) -> Result<Self, IntroductionError> {
        let ek_chain = match &sources.ek_chain {
            Some(path) => read_chain(path)?,
            None => Vec::new(),
        };
        let serial_number = match (&sources.serial_number, &sources.serial_number_file) {
            (Some(number), _) => Some(number.clone()),
            (None, Some(path)) => Some(read_serial_number(path)?),
            (None, None) => None,
        };
        let mac = sources.network_interface.as_deref().map(read_mac).transpose()?;
        Ok(Self { ek_chain, serial_number, mac })
    }
}

fn read_file(key: &'static str, path: &Path, bytes_max: u64) -> Result<Vec<u8>, IntroductionError> {
    let read = fs::metadata(path).and_then(|file| match file.len() {
        0..=SOURCE_BYTES_MAX if file.len() <= bytes_max => fs::read(path),
        _ => Err(io::Error::other(format!("it has more than {bytes_max} bytes"))),
    });
    read.map_err(|source| IntroductionError::Read { key, path: path.to_owned(), source })
}

fn read_chain(path: &Path) -> Result<Vec<Vec<u8>>, IntroductionError> {
    let wrong = |why: String| IntroductionError::Malformed { key: "ek_chain", path: path.to_owned(), why };
    let pem = read_file("ek_chain", path, ROOT_BYTES_MAX)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain: Vec<Vec<u8>> =
        chain.map_err(|error| wrong(error.to_string()))?.iter().map(|der| der.to_vec()).collect();
    match chain.len() {
        0 => Err(wrong("it holds no certificate".to_owned())),
        1..=ENROLMENT_CHAIN_CERTIFICATES_MAX
            if chain.iter().all(|der| der.len() <= ENROLMENT_CERTIFICATE_BYTES_MAX) =>
        {
            Ok(chain)
        }
        _ => Err(wrong(format!(
            "it holds more than {ENROLMENT_CHAIN_CERTIFICATES_MAX} certificates, or one of more than \
             {ENROLMENT_CERTIFICATE_BYTES_MAX} bytes; leave the root out"
        ))),
    }
}

/// The device tree ends its texts with a zero, and firmware pads them.
fn read_serial_number(path: &Path) -> Result<String, IntroductionError> {
    let key = "serial_number_file";
    let bytes = read_file(key, path, SOURCE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    let number = text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    let fits =
        (1..=ENROLMENT_LABEL_BYTES_MAX).contains(&number.len()) && !number.chars().any(char::is_control);
    let why = format!("it does not hold a number of 1 to {ENROLMENT_LABEL_BYTES_MAX} bytes");
    if fits { Ok(number) } else { Err(IntroductionError::Malformed { key, path: path.to_owned(), why }) }
}

fn read_mac(interface: &str) -> Result<[u8; 6], IntroductionError> {
    let key = "network_interface";
    let path = Path::new("/sys/class/net").join(interface).join("address");
    let bytes = read_file(key, &path, SOURCE_BYTES_MAX)?;
    let digits: String = String::from_utf8_lossy(&bytes).trim().replace(':', "");
    let mac = data_encoding::HEXLOWER.decode(digits.as_bytes()).ok().and_then(|mac| mac.try_into().ok());
    mac.ok_or_else(|| IntroductionError::Malformed {
        key,
        path,
        why: "its address is not six pairs of hex digits".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        name: &str,
        contents: &[u8],
        sources: impl FnOnce(PathBuf) -> IntroductionSources,
    ) -> Result<Introduction, String> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(name);
        fs::write(&path, contents).expect("written");
        Introduction::read(&sources(path)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_serial_number_is_read_as_the_device_tree_writes_it() {
        let of =
            |path| IntroductionSources { serial_number_file: Some(path), ..IntroductionSources::default() };
        let found = read("serial", b"10000000a1b2c3d4\0", of).expect("read");
        assert_eq!(found.serial_number.as_deref(), Some("10000000a1b2c3d4"));
        for wrong in [&b"\0"[..], &[b'7'; 65], b"a\x1bb"] {
            assert!(read("serial", wrong, of).expect_err("refused").contains("1 to 64 bytes"));
        }
    }

    #[test]
    fn a_chain_is_read_leaf_side_first_and_is_bounded() {
        let maker = muster_tpm::manufacturer::SimulatedManufacturer::well_known().expect("maker");
        let base64 = data_encoding::BASE64.encode(maker.root_certificate());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        let of = |path| IntroductionSources { ek_chain: Some(path), ..IntroductionSources::default() };
        assert_eq!(read("chain.pem", pem.as_bytes(), of).expect("read").ek_chain, [maker.root_certificate()]);
        assert!(read("chain.pem", b"", of).expect_err("refused").contains("no certificate"));
        assert!(
            read("chain.pem", pem.repeat(5).as_bytes(), of).expect_err("refused").contains("more than 4")
        );
        assert!(read("other.pem", b"", |_| of("/nowhere".into())).expect_err("refused").contains("ek_chain"));
    }
}
