//! For whom something is sent: the tenants with a file in the folder of tokens. No token and no bucket is two tenants'.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use muster_influx::{limits::TOKEN_BYTES_MAX, server::Token};
use muster_schemas::TenantId;

use super::Influx;
use crate::{
    causes::causes,
    private_file::{self, PrivateFileError},
};

/// White space around a token, in bytes.
const SPACE_BYTES_MAX: usize = 64;

/// A tenant's token, or why it has none although its file is there.
pub(crate) type Entry = Result<Token, String>;

/// Reads the folder: the tenants of `tenants` that have a file there, in their order.
pub(crate) fn read(influx: &Influx, tenants: &[TenantId]) -> BTreeMap<TenantId, Entry> {
    let mut roster: BTreeMap<TenantId, Entry> = BTreeMap::new();
    let mut buckets = BTreeSet::new();
    for tenant in tenants {
        let path = influx.tokens.join(tenant.as_str());
        let token = match private_file::read(&path, TOKEN_BYTES_MAX + SPACE_BYTES_MAX) {
            Err(PrivateFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            Err(error) => Err(causes(&error)),
            Ok(bytes) => match str::from_utf8(&bytes) {
                Ok(text) => Token::parse(text).map_err(|error| format!("{}: {error}", path.display())),
                Err(_) => Err(format!("{}: it is not text", path.display())),
            },
        };
        let taken = token.as_ref().is_ok_and(|token| roster.values().flatten().any(|other| other == token));
        let entry = if taken {
            Err(format!("{}: it is the token of another tenant too", path.display()))
        } else if !buckets.insert(influx.bucket(tenant)) {
            Err(format!("the bucket {} is another tenant's too; set another one", influx.bucket(tenant)))
        } else {
            token
        };
        roster.insert(tenant.clone(), entry);
    }
    roster
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use muster_influx::server::Server;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_tenant_is_sent_for_if_it_has_a_token_of_its_own_and_a_bucket_of_its_own() {
        let folder = TempDir::new().expect("a folder");
        let id = |text: &str| -> TenantId { text.parse().expect("id") };
        let server = Server::new("http://127.0.0.1:1", "plant", None, &[]).expect("a server");
        let buckets = BTreeMap::from([(id("f"), "a".to_owned())]);
        let influx = Influx { server, tokens: folder.path().to_owned(), buckets };
        for (tenant, token, mode) in [
            ("a", "one\n", 0o600),
            ("b", "one", 0o600),
            ("c", "three", 0o644),
            ("d", "", 0o600),
            ("f", "six", 0o600),
            ("nobody", "seven", 0o600),
        ] {
            let path = folder.path().join(tenant);
            fs::write(&path, token).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        }
        let roster = read(&influx, &["a", "b", "c", "d", "e", "f"].map(id));
        let told: Vec<_> = roster
            .iter()
            .map(|(tenant, entry)| (tenant.as_str(), entry.as_ref().err().map_or("", String::as_str)))
            .collect();
        assert_eq!(told.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>(), ["a", "b", "c", "d", "f"]);
        for ((_, why), part) in told.iter().zip(["", "another tenant", "chmod 600", "one word", "bucket a"]) {
            assert!(why.contains(part) && why.is_empty() == part.is_empty(), "{why} and {part}");
        }
        assert!(!told.iter().any(|(_, why)| why.contains("one\n") || why.contains("three")));
    }
}
