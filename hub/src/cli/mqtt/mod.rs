//! MQTT on the command line, for a tenant's developer: subscribe, publish, request and reply, with an app's certificate.
//!
//! It speaks MQTT 5 with the codec of this repository and not with a client library, because a refusal is worth most
//! with the hub's own words: every reason string of every answer is told.

mod client;
mod follow;
mod publish;
mod request;
pub(super) mod shown;
mod subscribe;

use std::time::Duration;

use clap::Args;
use muster_schemas::Qos;

use super::{Common, Complaint, Exit, Identity, identity::host_port, time::duration_s};
use client::{Client, Opening};
pub(super) use follow::{Follow, follow};
pub(super) use publish::{Pub, publish};
pub(super) use request::{Rr, rr};
pub(super) use subscribe::{Sub, sub};

/// Where to connect to, and how loudly.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Where MQTT answers, host and port [default: `mqtt` in hub.toml of the identity].
    #[arg(long, value_name = "HOST:PORT", env = "MUSTER_MQTT", value_parser = endpoint)]
    mqtt: Option<(String, u16)>,
    /// Tell on standard error what is asked and answered.
    #[arg(long, short)]
    verbose: bool,
}

impl Place {
    /// The identity that was named, which must be of somebody who has topics.
    fn identity(&self, common: &Common, what: &str) -> Result<Identity, Complaint> {
        let mut identity = common.identity()?;
        if identity.principal.is_operator() {
            return Err(Complaint::new(
                Exit::Usage,
                what,
                "an operator of the hub belongs to no tenant, and has no topics",
                "use the identity of one of the tenant's apps: --identity <dir>; `muster app create` makes one",
            ));
        }
        if let Some(mqtt) = &self.mqtt {
            identity.mqtt.clone_from(mqtt);
        }
        Ok(identity)
    }
}

/// Runs a command that speaks MQTT, on this thread.
fn block_on<T>(what: &str, story: impl Future<Output = Result<T, Complaint>>) -> Result<T, Complaint> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Complaint::new(Exit::Failure, what, format!("failed to start: {error}"), "try again")
    })?;
    let outcome = runtime.block_on(story);
    // A thread that reads standard input may wait for ever.
    runtime.shutdown_background();
    outcome
}

fn endpoint(text: &str) -> Result<(String, u16), String> {
    host_port(text).ok_or_else(|| format!("{text:?} is not of the form host:port"))
}

fn qos(text: &str) -> Result<Qos, String> {
    let bits = text.parse::<u8>().ok().and_then(|bits| Qos::try_from(bits).ok());
    bits.ok_or_else(|| format!("{text:?} is not a quality of service: 0, 1 or 2"))
}

fn seconds(text: &str) -> Result<u32, String> {
    let seconds = duration_s(text)?;
    u32::try_from(seconds).map_err(|_| format!("{text:?} is longer than MQTT can say (136 years)"))
}

fn time(text: &str) -> Result<Duration, String> {
    seconds(text).map(|seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests;
