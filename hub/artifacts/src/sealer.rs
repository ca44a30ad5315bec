//! Who keeps the keys: the hub hands in the tenant's sealer, and this crate has none of its own.

/// Why a chunk was neither sealed nor opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealRefusal {
    /// The tenant's key is not here: it was withdrawn, or destroyed.
    #[error(
        "the tenant's key is withdrawn; give it back, or restore the artifact with a tenant that has one"
    )]
    Withdrawn,
    /// What lies there was not sealed by that key for that place.
    #[error("it was not sealed for that place, or was changed since")]
    Forged,
}

/// Seals and opens chunks under the key of one tenant.
///
/// A sealer whose keys become durable by a commit of the hub's store (`muster_broker::store::Sealer`) is fit for this
/// if the row of the artifact is committed after the file was finished, by the same store: a file without a row is an
/// orphan and is swept, and a row whose key is not on disk does not exist.
pub trait Sealer: Send + Sync {
    /// Bytes by which a sealed chunk is longer than what it holds: the same for each.
    fn overhead_bytes(&self) -> usize;

    /// Seals `plain`, so that it opens for `position` only.
    fn seal(&self, position: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealRefusal>;

    /// Opens what [`Sealer::seal`] made for `position`.
    fn open(&self, position: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealRefusal>;
}
