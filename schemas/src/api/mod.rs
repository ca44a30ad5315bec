//! The JSON bodies of the HTTPS API, shared by the hub, the command line and the tests.
//!
//! Times are Unix seconds. What a caller sends refuses unknown fields, so that a mistyped field is an answer and not a
//! surprise; what the hub answers may grow fields, so a reader ignores those it does not know.

pub mod admission;
mod attest;
mod authority;
mod backup;
mod explain;
mod firmware;
pub mod history;
mod influx;
pub mod keys;
pub mod life;
mod people;
mod retention;
pub mod rules;
mod screening;
pub mod webauthn;

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

pub use attest::{AttestSessions, Attestation};
pub use backup::{BackupMade, BackupState, NewBackup};
pub use firmware::{FirmwareApproval, FirmwareAuthority, NewFirmwareAuthority};
pub use influx::{InfluxLetter, InfluxStatus, InfluxTrouble};

use crate::{DeviceId, TenantId, senml};

pub use authority::{IssuedCertificate, NewCertificate, RevokeCertificate};
pub use explain::{Can, RefusalSeen, Why};
pub use people::{LegacyDevice, NewPassword, NewUser, PinnedCertificate, Registered, User, WaysIn};
pub use retention::{KeepStreams, Retention};
pub use screening::{DeadLetter, ReadingKind, ReadingRule, TelemetrySchema};

/// `POST /api/v1/tenants`: a tenant to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its id.
    pub tenant: TenantId,
    /// Whether it accepts devices whose TPM is simulated: for laboratories and demonstrations only.
    #[serde(default)]
    pub accept_simulated_tpms: bool,
}

/// Whether something may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It may.
    Active,
    /// A person said it may not, for now.
    Suspended,
    /// Its certificates are revoked and its chip is barred.
    Revoked,
    /// It never will again.
    Retired,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub tenant: TenantId,
    /// When it was created, Unix seconds.
    pub created_at_s: u64,
    /// Whether its devices and apps may connect.
    pub state: State,
    /// Whether it accepts devices whose TPM is simulated.
    pub accept_simulated_tpms: bool,
    /// What it wants done by itself when something is wrong with a chip.
    #[serde(default)]
    pub precautions: life::Precautions,
}

/// `POST /api/v1/tenants/{t}/claims`: a claim to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewClaim {
    /// The only model it is good for; any, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Seconds from now after which it is worth nothing.
    pub expires_in_s: u64,
    /// Whether the device that uses it waits until a person approves it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approve: bool,
}

/// A single-use code that ties one unknown chip to a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The code to give to the device. A secret until it is used.
    pub code: String,
    /// The tenant that the device will belong to.
    pub tenant: TenantId,
    /// The only model it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it stops being good, Unix seconds.
    pub expires_at_s: u64,
}

/// `POST /api/v1/tenants/{t}/apps`: an app to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// Its id within the tenant.
    pub app: DeviceId,
    /// The signing request of its key (PKCS #10), PEM.
    pub csr_pem: String,
    /// Whether the new certificate may take the place of one that the app has, which then ends at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// An app, and what it needs to connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its id within the tenant.
    pub app: DeviceId,
    /// Its certificate, and the authority that issued it, PEM.
    pub certificate_pem: String,
    /// The root that the hub's own certificate leads to, PEM.
    pub ca_pem: String,
}

/// A device as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id within the tenant.
    pub device: DeviceId,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Whether it may connect.
    pub state: State,
    /// What it says it is.
    pub model: String,
    /// What kind of TPM its key lives in: `hardware`, `firmware`, `virtual` or `simulated`.
    pub tpm_class: String,
    /// SHA-256 of its endorsement key, lower-case hex.
    pub ek_hash: String,
    /// Serial number of its current certificate, lower-case hex.
    pub certificate_serial: String,
    /// When that certificate expires, Unix seconds.
    pub certificate_expires_at_s: u64,
    /// When it was enrolled, Unix seconds.
    pub enrolled_at_s: u64,
    /// How often its TPM has been reset (`resetCount` of the last quote).
    pub boots: u32,
    /// The version of its agent.
    pub agent_version: String,
    /// What else is known of its life.
    #[serde(default)]
    pub life: life::DeviceLife,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Retired => "retired",
        })
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReadingValue {
    /// True or false.
    Bool(bool),
    /// A finite number.
    Number(f64),
    /// Text; bytes are written as base64url without padding, as SenML does.
    Text(String),
}

impl From<senml::Value> for ReadingValue {
    fn from(value: senml::Value) -> Self {
        match value {
            senml::Value::Number(number) => Self::Number(number),
            senml::Value::Text(text) => Self::Text(text),
            senml::Value::Bool(boolean) => Self::Bool(boolean),
            senml::Value::Data(data) => Self::Text(BASE64URL_NOPAD.encode(&data)),
        }
    }
}

/// One value of one stream of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Who measured it.
    pub device: DeviceId,
    /// The stream it was published on: the last level of its topic.
    pub stream: String,
    /// The SenML name.
    pub name: String,
    /// The SenML unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// When it was measured, Unix seconds with fraction.
    pub time_s: f64,
    /// What was measured.
    pub value: ReadingValue,
}

/// A page of readings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Readings {
    /// The readings, oldest first.
    pub readings: Vec<Reading>,
    /// Whether there are more than one answer holds, and no cursor to go on with: ask for one device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// What to pass as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// What could not be read because it is damaged; the page has the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// A connected MQTT client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The number of its session; later ones have higher numbers.
    pub session: u64,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// What it is: `device`, `app` or `user`.
    pub kind: String,
    /// Its id within the tenant.
    pub id: DeviceId,
    /// Its MQTT client identifier.
    pub client: String,
    /// The version of MQTT that it speaks: `5` or `3.1.1`.
    pub mqtt: String,
    /// Where it connected from.
    pub peer: String,
    /// When it connected, Unix seconds.
    pub connected_at_s: u64,
    /// How many subscriptions it has.
    pub subscriptions: u64,
    /// Messages that it owes an acknowledgement for.
    pub in_flight: u64,
    /// Messages that wait for room among those.
    pub queued: u64,
    /// Bytes that wait for its socket.
    pub bytes_waiting: u64,
    /// Messages that it published.
    pub messages_in: u64,
    /// Messages that it was sent.
    pub messages_out: u64,
    /// Messages that it missed, being too slow or their being too large for it.
    pub dropped: u64,
}

/// A page of connected clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// The clients, in the order they connected.
    pub clients: Vec<Client>,
    /// What to pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<u64>,
}

/// `POST /api/v1/tenants/{t}/clients/kick`: whose sessions to close. Exactly one of the first two is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kick {
    /// Those with this MQTT client identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// All of one certificate's owner, such as `device/4k7qm3xnp5rtw2abcdef` or `app/dashboard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// What they are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How many sessions were closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kicked {
    /// So many.
    pub closed: u64,
}

/// A topic that holds a retained message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainedTopic {
    /// Which.
    pub topic: String,
    /// Length of the payload, in bytes.
    pub bytes: u64,
}

/// A page of topics that hold a retained message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainedTopics {
    /// The topics, level by level in byte order.
    pub topics: Vec<RetainedTopic>,
    /// What to pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// A filter that somebody subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribedFilter {
    /// Which.
    pub filter: String,
    /// How many clients.
    pub subscribers: u64,
}

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribedFilters {
    /// The filters, in byte order.
    pub filters: Vec<SubscribedFilter>,
    /// Whether there are more than one answer holds: ask with a filter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// An entry of a tenant's audit trail: something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// Its number. They start at 1 and have no gaps.
    pub number: u64,
    /// When, Unix milliseconds. Of several, the first.
    pub at_ms: u64,
    /// What was refused it: `device`, `app`, `user`; absent where there was too much to name everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its id within the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeviceId>,
    /// Its MQTT client identifier, once it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What it wanted: to `connect`, `publish` or `subscribe`, or to go on with its `session`.
    pub act: String,
    /// The topic or filter. For the tenant alone: an operator does not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The reason code of MQTT that it got.
    pub code: u8,
    /// Why.
    pub reason: String,
    /// How often in a row.
    pub times: u64,
}

/// A page of an audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The entries, oldest first.
    pub entries: Vec<Audited>,
    /// Numbers on this page that have no entry, as first and last: somebody took them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(u64, u64)>,
    /// The oldest number that is kept; absent in an empty trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The newest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// What to pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<u64>,
}

/// A line of `GET /api/v1/tenants/{t}/trace`: a packet of a client. What its type does not have is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLine {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// The number of the session.
    pub session: u64,
    /// What the client is: `device`, `app` or `user`.
    pub kind: String,
    /// Its id within the tenant.
    pub id: DeviceId,
    /// Its MQTT client identifier; absent before it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// `in` from the client, `out` to it.
    pub direction: String,
    /// The packet's type, such as `PUBLISH`.
    pub packet: String,
    /// Its packet identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet_id: Option<u16>,
    /// Its topic; of a CONNECT that of its will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its first filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Its quality of service; of a SUBSCRIBE the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<u8>,
    /// Whether it is retained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,
    /// Whether it was sent before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dup: bool,
    /// Length of its payload, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The beginning of its payload, lower-case hex, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_hex: Option<String>,
    /// Its reason codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<u8>,
    /// Its reason string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Packets that are missing before this one, because they were not taken fast enough.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `GET /health/live` and `/health/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or what is missing.
    pub status: String,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The one thing that went wrong.
    pub error: ErrorDetail,
}

impl ErrorBody {
    /// A body of these four sentences.
    pub fn new(
        code: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let (code, what, why, next) = (code.into(), what.into(), why.into(), next.into());
        Self { error: ErrorDetail { code, what, why, next } }
    }
}

/// What went wrong, for a program (`code`) and for a person (the rest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// A stable name, such as `tenant_unknown`.
    pub code: String,
    /// What failed.
    pub what: String,
    /// Why it failed.
    pub why: String,
    /// What to do next.
    pub next: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_refuses_what_it_does_not_know() {
        let plain: NewTenant = serde_json::from_str(r#"{"tenant":"acme"}"#).expect("a tenant");
        assert!(!plain.accept_simulated_tpms);
        assert!(
            serde_json::from_str::<NewTenant>(r#"{"tenant":"acme","accept_simulated_tpm":true}"#).is_err()
        );
        assert!(serde_json::from_str::<NewTenant>(r#"{"tenant":"Acme"}"#).is_err());
        assert!(serde_json::from_str::<NewClaim>(r#"{"expires_in_s":60,"models":"x"}"#).is_err());
        assert!(serde_json::from_str::<NewClaim>(r#"{"expires_in_s":-1}"#).is_err());
        assert!(serde_json::from_str::<NewApp>(r#"{"app":"a","csr_pem":"","x":1}"#).is_err());
    }

    #[test]
    fn an_answer_may_grow() {
        let tenant =
            r#"{"tenant":"acme","created_at_s":1,"state":"active","accept_simulated_tpms":false,"new":1}"#;
        assert_eq!(serde_json::from_str::<Tenant>(tenant).expect("a tenant").state, State::Active);
    }

    #[test]
    fn a_reading_has_a_number_text_or_boolean() {
        let reading = |value| Reading {
            device: "4k7qm3xnp9rtw2abcdef".parse().expect("an id"),
            stream: "climate".to_owned(),
            name: "urn:dev:pump-7:x".to_owned(),
            unit: None,
            time_s: 1_790_000_000.25,
            value,
        };
        for (value, json) in [
            (ReadingValue::Number(21.5), "21.5"),
            (ReadingValue::Text("on".to_owned()), "\"on\""),
            (ReadingValue::Bool(true), "true"),
        ] {
            let reading = reading(value);
            let text = serde_json::to_string(&reading).expect("JSON");
            assert_eq!(
                text,
                format!(
                    "{{\"device\":\"4k7qm3xnp9rtw2abcdef\",\"stream\":\"climate\",\"name\":\"urn:dev:pump-7:x\",\
                     \"time_s\":1790000000.25,\"value\":{json}}}"
                )
            );
            assert_eq!(serde_json::from_str::<Reading>(&text).expect("a reading"), reading);
        }
        let whole: ReadingValue = serde_json::from_str("7").expect("a number");
        assert_eq!(whole, ReadingValue::Number(7.0));
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let page = Readings::default();
        assert_eq!(serde_json::to_string(&page).expect("JSON"), r#"{"readings":[]}"#);
    }
}
