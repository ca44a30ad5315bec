//! Certificates for peers, of the same kind as the hub's: P-256, one root, mutual.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::BenchError;

/// Files of a root, a server and a client, in PEM.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The root certificate.
    pub root: PathBuf,
    /// The server's certificate, for `localhost`.
    pub server: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// The client's certificate.
    pub client: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

impl Authority {
    /// Makes all of them in a folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn make(folder: &Path) -> Result<Self, BenchError> {
        fs::create_dir_all(folder)?;
        let root_key = KeyPair::generate().map_err(odd)?;
        let mut params = params("bench root", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let root = params.self_signed(&root_key).map_err(odd)?;
        let issuer = Issuer::new(params, root_key);
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map(|()| path)
        };
        let issue = |name: &str, names: &[&str], usage| -> Result<(PathBuf, PathBuf), BenchError> {
            let key = KeyPair::generate().map_err(odd)?;
            let mut params = self::params(name, names)?;
            params.extended_key_usages = vec![usage];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let certificate = params.signed_by(&key, &issuer).map_err(odd)?;
            let certificate = write(&format!("{name}.crt"), certificate.pem())?;
            Ok((certificate, write(&format!("{name}.key"), key.serialize_pem())?))
        };
        let (server, server_key) =
            issue("server", &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)?;
        let (client, client_key) = issue("client", &[], ExtendedKeyUsagePurpose::ClientAuth)?;
        let root = write("root.crt", root.pem())?;
        Ok(Self { root, server, server_key, client, client_key })
    }
}

fn params(name: &str, names: &[&str]) -> Result<CertificateParams, BenchError> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(odd)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "bench");
    Ok(params)
}

fn odd(error: rcgen::Error) -> BenchError {
    BenchError::System(io::Error::other(error))
}
