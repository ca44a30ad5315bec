//! Names of tenants, devices and clients.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::limits::{CLIENT_ID_BYTES_MAX, ID_BYTES_MAX};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing at all.
    #[error("is empty")]
    Empty,
    /// Longer than the bound for its kind.
    #[error("is longer than {max} bytes")]
    TooLong {
        /// The bound, in bytes.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("has the character {found:?}; allowed are a-z, 0-9 and '-', not first or last")]
    Character {
        /// The first offender.
        found: char,
    },
    /// A control character in an MQTT client identifier (MQTT 5 §1.5.4).
    #[error("has a control character")]
    Control,
}

/// Checks the form shared by tenant and device ids: lower-case letters, digits and inner hyphens.
fn check_label(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(InvalidId::TooLong { max: ID_BYTES_MAX });
    }
    let outside = |c: &char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-');
    if let Some(found) = text.chars().find(outside) {
        return Err(InvalidId::Character { found });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(InvalidId::Character { found: '-' });
    }
    Ok(())
}

macro_rules! label_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check_label(text)?;
                Ok(Self(Arc::from(text)))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

label_id! {
    /// A tenant: an organisation whose devices, data and apps nobody else sees. 1 to 64 bytes of `a-z0-9-`.
    TenantId
}

label_id! {
    /// A device, app, user, service or node within its tenant: the last segment of its certificate's SAN URI.
    /// A device's is the first 20 base32 characters of the SHA-256 of its endorsement key.
    DeviceId
}

/// An MQTT client identifier (MQTT 5 §3.1.3.1): 1 to 256 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        if text.len() > CLIENT_ID_BYTES_MAX {
            return Err(InvalidId::TooLong { max: CLIENT_ID_BYTES_MAX });
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidId::Control);
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_is_a_lower_case_label() {
        assert!("acme-2".parse::<TenantId>().is_ok());
        assert_eq!("".parse::<TenantId>(), Err(InvalidId::Empty));
        assert_eq!("Acme".parse::<TenantId>(), Err(InvalidId::Character { found: 'A' }));
        assert_eq!("a/b".parse::<TenantId>(), Err(InvalidId::Character { found: '/' }));
        assert_eq!("-a".parse::<TenantId>(), Err(InvalidId::Character { found: '-' }));
        assert_eq!("a".repeat(65).parse::<TenantId>(), Err(InvalidId::TooLong { max: 64 }));
    }

    /// Attack: names that mean something to a file system or to a C library.
    #[test]
    fn path_traversal_and_nuls_are_no_ids() {
        for text in
            ["..", "../x", "a/../b", "a\\b", "a\0", "\0", "a\0b", "%2e%2e", "a b", ".", "a.b", "~", "-"]
        {
            assert!(text.parse::<TenantId>().is_err(), "{text:?}");
            assert!(text.parse::<DeviceId>().is_err(), "{text:?}");
            let uri = format!("spiffe://muster.example/t/{text}/device/x");
            assert!(uri.parse::<crate::Principal>().is_err(), "{text:?}");
            let uri = format!("spiffe://muster.example/t/x/device/{text}");
            assert!(uri.parse::<crate::Principal>().is_err(), "{text:?}");
        }
        for text in ["a\0", "\0", "a\nb"] {
            assert_eq!(text.parse::<ClientId>(), Err(InvalidId::Control), "{text:?}");
        }
    }

    #[test]
    fn a_client_id_refuses_control_characters() {
        assert!("Ünïcode client/1".parse::<ClientId>().is_ok());
        assert_eq!("a\u{0}".parse::<ClientId>(), Err(InvalidId::Control));
    }
}
