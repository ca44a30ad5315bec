//! One subscriber: counts what comes and acknowledges it.

use hdrhistogram::Histogram;
use muster_mqtt::Version;

use super::{
    LoadError,
    ledger::{Arrival, Ledger},
    link::{Link, Scratch},
    wire::{self, kind},
};

/// A subscriber and its connection.
pub struct Subscriber {
    /// Its connection.
    pub link: Link,
    /// What it has got.
    pub ledger: Ledger,
    version: Version,
}

impl Subscriber {
    /// A subscriber that has got nothing.
    pub fn new(link: Link, ledger: Ledger, version: Version) -> Self {
        Self { link, ledger, version }
    }

    /// Reads what has come; gives how many messages of it were new. Their times go into `times`, if there is one.
    ///
    /// # Errors
    /// The connection failed, or what came has no place here.
    pub fn read(
        &mut self,
        scratch: &mut Scratch,
        at_ns: impl FnOnce() -> u64,
        mut times: Option<&mut Histogram<u64>>,
    ) -> Result<u64, LoadError> {
        let Self { link, ledger, version } = self;
        let mut new = 0;
        link.read(scratch, |bytes, out| -> Result<(), LoadError> {
            let at_ns = if times.is_some() { at_ns() } else { 0 };
            while let Some(packet) = wire::take(bytes)? {
                match packet.kind {
                    kind::PUBLISH => {
                        let publish = packet.publish(*version)?;
                        if let Arrival::New(sent_ns) = ledger.enter(publish.payload) {
                            new += 1;
                            if let Some(times) = &mut times {
                                times.saturating_record(at_ns.saturating_sub(sent_ns).max(1));
                            }
                        }
                        match publish.qos {
                            0 => {}
                            1 => wire::acknowledge(out, kind::PUBACK, publish.packet_id),
                            _ => wire::acknowledge(out, kind::PUBREC, publish.packet_id),
                        }
                    }
                    kind::PUBREL => {
                        let (packet_id, _) = packet.acknowledgement()?;
                        wire::acknowledge(out, kind::PUBCOMP, packet_id);
                    }
                    kind::PINGRESP => {}
                    kind::DISCONNECT => {
                        return Err(LoadError::Refused { what: "to go on", code: packet.reason() });
                    }
                    other => return Err(LoadError::Unexpected(other)),
                }
            }
            Ok(())
        })?;
        Ok(new)
    }
}
