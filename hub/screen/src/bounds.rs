//! How many streams and names there may be, of a device and of a tenant's devices together.

use crate::limits::{SERIES_PER_DEVICE_MAX, SERIES_PER_TENANT_MAX, STREAMS_PER_DEVICE_MAX};

/// How much a tenant and its devices may have. What is beyond is refused with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Streams of a device.
    pub device_streams_max: usize,
    /// Series of a device: pairs of a stream and a name in it.
    pub device_series_max: usize,
    /// Series of all devices of the tenant.
    pub series_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            device_streams_max: STREAMS_PER_DEVICE_MAX,
            device_series_max: SERIES_PER_DEVICE_MAX,
            series_max: SERIES_PER_TENANT_MAX,
        }
    }
}
