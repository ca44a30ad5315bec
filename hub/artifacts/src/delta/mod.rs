//! Images made smaller for the way: packed, or as what is different from one that a device has. Nobody signs them:
//! the tenant's signature is over the image, so whatever comes out of a delta is judged by the device as the image
//! itself.

mod make;
mod pack;
#[cfg(test)]
mod tests;
mod workshop;

pub use make::{Budget, DeltaError, Made, NotTried, Tried, make, pack};
pub use pack::{PackError, pack_as, unpack};
pub use workshop::{Job, Version, Workshop};
