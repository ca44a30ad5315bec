//! Which client a device runs, since they do not all mean the same by the same word.

use serde::{Deserialize, Serialize};

/// A client of the device interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    /// SWUpdate with suricatta.
    Swupdate,
    /// rauc-hawkbit-updater, and the Python client of the same name.
    Rauc,
    /// One of which we know nothing: nothing is expected of it.
    #[default]
    Unknown,
}

impl Client {
    /// A guess from `User-Agent`, for devices of which nobody said it. Only rauc-hawkbit-updater names itself;
    /// swupdate says what any program built on libcurl may say, so it has to be told.
    pub fn of_user_agent(user_agent: &[u8]) -> Self {
        match user_agent.starts_with(b"rauc-hawkbit") {
            true => Self::Rauc,
            false => Self::Unknown,
        }
    }

    /// Whether it downloads and waits when it is told `skip`. swupdate takes that for an order not to install, and
    /// reports success at once.
    pub fn waits_on_skip(self) -> bool {
        self == Self::Rauc
    }

    /// Whether its `closed` with success means that the new image has booted. Others say so before they boot it.
    pub fn closes_after_boot(self) -> bool {
        self == Self::Swupdate
    }
}
