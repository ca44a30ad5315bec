//! From the opening of a connection to CONNACK.

use std::{num::NonZeroU16, time::Instant};

use muster_schemas::{ClientId, Message};

use super::{
    Admission, Admit, CloseReason, Effects, Phase, Request, Session, aliases::Aliases,
    authentication::Authenticating, inbound::has_said_format, inflight::Inflight, received::Received,
    timer::Timer,
};
use crate::{
    packet::{ConnAck, ConnAckProperties, Connect, Packet},
    reason::ReasonCode,
    version::Version,
};

/// What is kept between CONNECT and the decision on it.
#[derive(Debug)]
pub(super) struct Admitting {
    keep_alive_s: u16,
    session_expiry_s: u32,
    receive_maximum: Option<NonZeroU16>,
    wants_response_information: bool,
    /// Packets that came early, in order.
    early: Vec<Packet>,
    early_bytes: usize,
}

impl Session {
    /// The first packet.
    pub(super) fn connect(&mut self, connect: Connect, effects: &mut Effects) {
        let Connect { version, clean_start, keep_alive_s, client_id, username, password, will, properties } =
            connect;
        self.version = version;
        self.packet_bytes_max = properties
            .packet_bytes_max
            .map_or(usize::MAX, |bytes| usize::try_from(bytes.get()).unwrap_or(usize::MAX));
        self.aliases = Aliases::new(properties.topic_alias_max.unwrap_or(0)).map(Box::new);
        self.wants_reasons = properties.request_problem_information.unwrap_or(true);
        let method = properties.authentication_method;
        if method.as_ref().is_some_and(|method| !self.options.authentication_methods.contains(method)) {
            // [MQTT-4.12.0-1].
            let reason = Some("this method of authentication is not known here".to_owned());
            let code = ReasonCode::BadAuthenticationMethod;
            return self.close(CloseReason::Refused { code, reason }, effects);
        }
        // [MQTT-3.1.3-8] of 3.1.1: who wants a session kept must say whose it is.
        if version == Version::V311 && client_id.is_none() && !clean_start {
            let reason = Some("a client identifier is needed to keep a session".to_owned());
            return self
                .close(CloseReason::Refused { code: ReasonCode::ClientIdentifierNotValid, reason }, effects);
        }
        if will.as_ref().is_some_and(|will| !has_said_format(&will.message)) {
            let reason = Some("the will's payload is not UTF-8, as its format indicator says".to_owned());
            let code = ReasonCode::PayloadFormatInvalid;
            return self.close(CloseReason::Refused { code, reason }, effects);
        }
        let session_expiry_s = match version {
            Version::V311 => {
                if clean_start {
                    0
                } else {
                    u32::MAX
                }
            }
            Version::V5 => properties.session_expiry_s.unwrap_or(0),
        };
        let admitting = Box::new(Admitting {
            keep_alive_s,
            session_expiry_s,
            receive_maximum: properties.receive_maximum,
            wants_response_information: properties.request_response_information.unwrap_or(false),
            early: Vec::new(),
            early_bytes: 0,
        });
        self.asked_to_keep_session = session_expiry_s > 0;
        let admit = Box::new(Admit {
            client_id,
            version,
            clean_start,
            keep_alive_s,
            session_expiry_s,
            username,
            password,
            will,
            wants_response_information: admitting.wants_response_information,
        });
        if let Some(method) = method {
            let data = properties.authentication_data;
            return self.authenticate(method, data, Authenticating { admitting, admit }, effects);
        }
        self.phase = Phase::Admitting(admitting);
        effects.requests.push(Request::Admit(admit));
    }

    /// A packet that came before CONNACK, which a client may send (MQTT 5 §3.1.4).
    pub(super) fn early(&mut self, packet: Packet, effects: &mut Effects) {
        let Phase::Admitting(admitting) = &mut self.phase else {
            return;
        };
        let limits = &self.options.limits;
        let bytes = admitting.early_bytes + weight(&packet);
        if admitting.early.len() >= limits.early_packets_max || bytes > limits.early_bytes_max {
            let (messages, bytes) = (admitting.early.len(), admitting.early_bytes);
            return self.close(CloseReason::QueueFull { queue: "admission", messages, bytes }, effects);
        }
        admitting.early_bytes = bytes;
        admitting.early.push(packet);
    }

    /// The broker lets the client in.
    pub(super) fn admitted(&mut self, now: Instant, admission: Admission, effects: &mut Effects) {
        let Phase::Admitting(_) = self.phase else {
            return;
        };
        let Phase::Admitting(admitting) = std::mem::replace(&mut self.phase, Phase::Connecting) else {
            return;
        };
        self.is_durable = admission.is_durable();
        let Admission { client_id, session_present, assigned_client_id, server_keep_alive_s, .. } = admission;
        let capabilities = self.version.capabilities();
        let server_keep_alive_s = server_keep_alive_s.filter(|_| capabilities.server_chooses);
        self.keep_alive_s = server_keep_alive_s.unwrap_or(admitting.keep_alive_s);
        if capabilities.receive_maximum {
            let maximum = admission.receive_maximum.unwrap_or(self.options.receive_maximum);
            self.receive_maximum = maximum.get().into();
        }
        let window = admitting.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
        self.inflight = Inflight::new(window.min(self.options.limits.inflight_messages_max));
        self.inflight.set_aside(&admission.in_flight);
        self.received = Received::earlier(&admission.received);

        let (authentication_method, authentication_data) = self.take_authentication();
        let expiry_s = admission.session_expiry_s.unwrap_or(0);
        let packet_bytes_max = admission.packet_bytes_max.unwrap_or(self.options.packet_bytes_max);
        let properties = ConnAckProperties {
            session_expiry_s: (expiry_s != admitting.session_expiry_s).then_some(expiry_s),
            receive_maximum: NonZeroU16::new(u16::try_from(self.receive_maximum).unwrap_or(u16::MAX)),
            packet_bytes_max: Some(packet_bytes_max),
            assigned_client_id: assigned_client_id.then(|| client_id.as_str().into()),
            topic_alias_max: Some(self.options.topic_alias_max).filter(|aliases| *aliases > 0),
            server_keep_alive_s,
            // Only for a client that asked [MQTT-3.1.2-28].
            response_information: admission
                .response_information
                .filter(|_| admitting.wants_response_information)
                .map(|text| *text),
            authentication_method,
            authentication_data,
            user_properties: admission.user_properties.map(|said| *said).unwrap_or_default(),
            // Absent means yes for QoS 2, retained messages, wildcards, subscription identifiers and shared subscriptions.
            ..ConnAckProperties::default()
        };
        self.client_id = Some(client_id);
        let code = ReasonCode::Success;
        let mut connack = Box::new(ConnAck { session_present, code, properties });
        let says_more = !connack.properties.user_properties.is_empty();
        if says_more && !self.fits(&Packet::ConnAck(connack.clone())) {
            connack.properties.user_properties.clear();
        }
        let connack = Packet::ConnAck(connack);
        if !self.fits(&connack) {
            // [MQTT-3.1.2-24]. Not one of our answers would be sure to reach such a client.
            let reason = Some("CONNACK would be larger than the client takes".to_owned());
            return self.close(CloseReason::Refused { code: ReasonCode::PacketTooLarge, reason }, effects);
        }
        self.send(&connack, effects);
        self.phase = Phase::Connected;
        self.timers.set(Timer::Connect, None);
        self.sign_of_life(now);
        for packet in admitting.early {
            self.packet(now, packet, effects);
        }
    }

    /// The broker does not.
    pub(super) fn refused(&mut self, code: ReasonCode, reason: Option<String>, effects: &mut Effects) {
        if matches!(self.phase, Phase::Admitting(_)) {
            self.close(CloseReason::Refused { code, reason }, effects);
        }
    }

    /// Who the client is, once admitted.
    pub fn client_id(&self) -> Option<&ClientId> {
        self.client_id.as_ref()
    }
}

/// Bytes that an early packet keeps in memory, nearly.
fn weight(packet: &Packet) -> usize {
    match packet {
        Packet::Publish(publish) => {
            let Message { topic, payload, .. } = &*publish.message;
            topic.as_str().len() + payload.len()
        }
        Packet::Subscribe(subscribe) => {
            subscribe.filters.iter().map(|(filter, _)| size_of_val(filter) + filter.as_str().len()).sum()
        }
        Packet::Unsubscribe(unsubscribe) => {
            unsubscribe.filters.iter().map(|filter| size_of_val(filter) + filter.as_str().len()).sum()
        }
        _ => 0,
    }
}
