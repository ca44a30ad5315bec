//! Names of vendors and classes as SUIT has them: UUIDs that follow from a domain and a model (RFC 9562 §5.5).

use aws_lc_rs::digest;
use muster_schemas::firmware::Uuid;

/// The name space of domain names (RFC 9562 §6.6).
const DNS: Uuid =
    Uuid([0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8]);

/// The vendor whose domain that is.
pub fn vendor_id(domain: &str) -> Uuid {
    version_5(DNS, domain.as_bytes())
}

/// The class of devices with that name, of a vendor.
pub fn class_id(vendor: Uuid, class: &str) -> Uuid {
    version_5(vendor, class.as_bytes())
}

/// The first 16 bytes of a SHA-1, with version and variant. Here it names, and protects nothing.
fn version_5(space: Uuid, name: &[u8]) -> Uuid {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[space.as_bytes(), name].concat());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drafts_vendor_and_class_follow_from_their_names() {
        assert_eq!(vendor_id("arm.com").to_string(), "fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe");
        let vendor = vendor_id("acme.example");
        assert_eq!(vendor.to_string(), "0637e301-e05d-505b-8267-486f5677de9b");
        assert_eq!(class_id(vendor, "pump-mk2").to_string(), "7aa61680-d43f-5ce7-b3be-6db644fbd9a6");
    }
}
