//! What a sealed message is bound to, so that it opens only where it was put.

use muster_schemas::{DeviceId, TenantId, cbor::Writer};

/// Where a device's message belongs. Sender and opener write the same bytes of it; they are not transmitted.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The device's tenant.
    pub tenant: &'a TenantId,
    /// The device that published it.
    pub device: &'a DeviceId,
    /// The topic it was published to, in full.
    pub topic: &'a str,
}

impl Binding<'_> {
    /// The external associated data (RFC 9052 §5.3): what `schemas/cddl/sealed.cddl` calls `binding`.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Writer::default();
        out.array(4)
            .text("muster-sealed-1")
            .text(self.tenant.as_str())
            .text(self.device.as_str())
            .text(self.topic);
        out.into_bytes()
    }
}
