//! What a client published, after what looks at its content has looked.

use std::sync::Arc;

use muster_mqtt::{Input, PacketId, PublishOutcome};
use muster_routing as routing;
use muster_schemas::{ClientId, Message, Publisher};

use super::SessionParts;
use crate::{
    refusal,
    screening::{Partly, Screen, Unfit, Verdict},
};

/// Asks about a message. What is taken of it is given back, to be routed; the letter about the rest goes to the router
/// before it, and what the client is told to the core.
pub(super) fn screened(
    screen: Option<&mut (dyn Screen + 'static)>,
    (parts, client): (&SessionParts, Option<&ClientId>),
    (packet_id, message): (Option<PacketId>, Arc<Message>),
    inputs: &mut Vec<routing::Input>,
    answers: &mut Vec<Input>,
) -> Option<Arc<Message>> {
    let Some(screen) = screen else { return Some(message) };
    let (refused, taken) = match screen.screen(&message) {
        Verdict::Fit => return Some(message),
        Verdict::Partly(partly) => {
            let Partly { payload, refused } = *partly;
            (refused, Some(payload))
        }
        Verdict::Unfit(unfit) => (*unfit, None),
    };
    refusal::unfit(parts, client, message.topic.as_str(), &refused);
    let Unfit { code, reason, letter } = refused;
    if let Some(message) = letter {
        let principal = &parts.caller.principal;
        let publisher = Publisher { kind: principal.kind, id: principal.id.clone() };
        inputs.push(routing::Input::Letter { publisher, message });
    }
    match taken {
        Some(payload) => {
            answers.extend(packet_id.map(|packet_id| Input::Remark { packet_id, reason }));
            Some(Arc::new(Message { payload, ..Arc::unwrap_or_clone(message) }))
        }
        None => {
            let outcome = PublishOutcome::Unfit { code, reason };
            answers.push(Input::Published { packet_id, outcome });
            None
        }
    }
}
