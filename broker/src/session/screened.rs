//! What a client published, after what looks at its content has looked.

use std::sync::Arc;

use muster_mqtt::{Admit, Input, PacketId, PublishOutcome, ReasonCode};
use muster_routing as routing;
use muster_schemas::{ClientId, Message, Publisher};

use super::SessionParts;
use crate::{
    refusal,
    screening::{Partly, Screen, Unfit, Verdict},
};

/// Asks about what a client leaves behind. If that is not fit the client is refused: later there is nobody to tell.
pub(super) fn unfit_will(
    screen: Option<&mut (dyn Screen + 'static)>,
    parts: &SessionParts,
    admit: &Admit,
    inputs: &mut Vec<routing::Input>,
) -> Option<Input> {
    let will = admit.will.as_ref()?;
    let unfit = screen?.screen_will(&will.message).err()?;
    let client = admit.client_id.as_ref();
    let (code, reason) = told((parts, client), will.message.topic.as_str(), *unfit, inputs);
    Some(Input::Refused(code, Some(format!("of the will: {reason}"))))
}

/// Tells everybody but the client.
fn told(
    (parts, client): (&SessionParts, Option<&ClientId>),
    topic: &str,
    refused: Unfit,
    inputs: &mut Vec<routing::Input>,
) -> (ReasonCode, String) {
    refusal::unfit(parts, client, topic, &refused);
    let Unfit { code, reason, letter } = refused;
    if let Some(message) = letter {
        let principal = &parts.caller.principal;
        let publisher = Publisher { kind: principal.kind, id: principal.id.clone() };
        inputs.push(routing::Input::Letter { publisher, message });
    }
    (code, reason)
}

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
    let (code, reason) = told((parts, client), message.topic.as_str(), refused, inputs);
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
