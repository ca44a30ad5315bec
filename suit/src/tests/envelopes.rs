//! Envelopes that are not as they have to be, made piece by piece with a writer of their own.

use muster_schemas::{
    cbor::{InvalidCbor, Writer},
    firmware::{Sequence, Uuid},
};

use super::world::*;
use crate::{
    envelope::{encode_digest, sha_256, unsigned},
    *,
};

/// A map of integer keys to byte strings or to what is in them already.
struct Pieces(Vec<(u64, Vec<u8>)>);

fn bytes(content: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes(content);
    w.into_bytes()
}

fn number(value: u64) -> Vec<u8> {
    let mut w = Writer::default();
    w.unsigned(value);
    w.into_bytes()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(items.len());
    [w.into_bytes(), items.concat()].concat()
}

impl Pieces {
    fn with(mut self, key: u64, value: Vec<u8>) -> Self {
        self.0.retain(|(known, _)| *known != key);
        self.0.push((key, value));
        self
    }

    fn without(mut self, key: u64) -> Self {
        self.0.retain(|(known, _)| *known != key);
        self
    }

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(self.0.len());
        let pairs = self.0.iter().flat_map(|(key, value)| [number(*key), value.clone()]).flatten();
        w.into_bytes().into_iter().chain(pairs).collect()
    }
}

/// Parameters that name an image of this class, and the conditions on it.
fn shared(parameters: Pieces) -> Vec<u8> {
    list(&[number(20), parameters.encode(), number(1), number(15), number(2), number(15)])
}

fn parameters() -> Pieces {
    Pieces(vec![
        (1, bytes(vendor().as_bytes())),
        (2, bytes(class().as_bytes())),
        (3, bytes(&encode_digest(IMAGE))),
        (14, number(1_000)),
    ])
}

fn common(shared: &[u8]) -> Pieces {
    Pieces(vec![(2, list(&[list(&[bytes(&[0])])])), (4, bytes(shared))])
}

fn manifest_of(shared: &[u8]) -> Pieces {
    Pieces(vec![
        (1, number(1)),
        (2, number(12)),
        (3, bytes(&common(shared).encode())),
        (7, bytes(&list(&[number(3), number(15)]))),
    ])
}

fn manifest() -> Pieces {
    manifest_of(&shared(parameters()))
}

fn read(manifest: &Pieces) -> Result<Manifest, InvalidEnvelope> {
    Envelope::open(&unsigned(&manifest.encode())).expect("an envelope").manifest()
}

fn facts() -> Facts {
    World::new().device.facts
}

fn carried(manifest: &Pieces) -> Result<Vec<Image>, Unfit> {
    carry_out(&read(manifest).expect("a manifest"), &facts())
}

#[test]
fn what_the_pieces_make_is_a_manifest() {
    assert_eq!(carried(&manifest()).map(|images| images[0].digest), Ok(IMAGE));
    // The keys of others may come in another order.
    let turned = Pieces(manifest().0.into_iter().rev().collect());
    assert_eq!(carried(&turned), carried(&manifest()));
}

#[test]
fn members_that_we_do_not_know_are_refused() {
    for (key, value) in
        [(4, number(1)), (5, bytes(&[])), (8, bytes(&list(&[]))), (14, bytes(&[])), (24, number(0))]
    {
        let refused = read(&manifest().with(key, value)).expect_err("unknown");
        assert!(matches!(refused, InvalidEnvelope::Unsupported { what, number }
                if what == "member of the manifest" && number == key.into()));
    }
    let dependencies = common(&shared(parameters())).with(1, Pieces(Vec::new()).encode());
    let refused = read(&manifest().with(3, bytes(&dependencies.encode()))).expect_err("unknown");
    assert!(matches!(refused, InvalidEnvelope::Unsupported { what: "member of the common part", number: 1 }));
}

#[test]
fn what_has_to_be_there_is_asked_for() {
    for (key, lacks) in [(1, "its format (1)"), (2, "its sequence number (2)"), (3, "its common part (3)")] {
        assert_eq!(read(&manifest().without(key)), Err(InvalidEnvelope::Missing(lacks)));
    }
    assert_eq!(read(&manifest().with(1, number(2))), Err(InvalidEnvelope::Format(2)));
    let nothing = common(&shared(parameters())).with(2, list(&[]));
    assert_eq!(read(&manifest().with(3, bytes(&nothing.encode()))), Err(InvalidEnvelope::Components));
    let twice = common(&shared(parameters())).with(2, list(&[list(&[bytes(&[0])]), list(&[bytes(&[0])])]));
    assert_eq!(read(&manifest().with(3, bytes(&twice.encode()))), Err(InvalidEnvelope::Components));
}

#[test]
fn commands_that_we_do_not_know_are_refused() {
    for code in [0, 4, 6, 7, 13, 19, 25, 26, 27, 29, 30, 32, 33, 34, 42] {
        let install = bytes(&list(&[number(code), number(2)]));
        let refused = read(&manifest().with(20, install)).expect_err("unknown");
        assert!(
            matches!(refused, InvalidEnvelope::Unsupported { what: "command", number } if number == code.into()),
            "{code}"
        );
    }
    let odd = read(&manifest().with(20, bytes(&list(&[number(21)])))).expect_err("no argument");
    assert_eq!(odd, InvalidEnvelope::Cbor(InvalidCbor::Truncated));
    let policy = read(&manifest().with(20, bytes(&list(&[number(3), number(16)])))).expect_err("no policy");
    assert!(matches!(policy, InvalidEnvelope::Cbor(InvalidCbor::TooLarge { .. })));
}

#[test]
fn parameters_that_we_do_not_know_are_refused() {
    for parameter in [4, 12, 13, 19, 23, 25, 26, 27, 29, 30] {
        let with = manifest_of(&shared(parameters().with(parameter, number(1))));
        let refused = read(&with).expect_err("unknown");
        assert!(
            matches!(refused, InvalidEnvelope::Unsupported { what: "parameter", number } if number == parameter.into())
        );
    }
    let mut w = Writer::default();
    w.array(2).integer(-44).bytes(&[0; 64]);
    let sha_512 = manifest_of(&shared(parameters().with(3, bytes(&w.into_bytes()))));
    let refused = read(&sha_512).expect_err("another hash");
    assert_eq!(refused, InvalidEnvelope::Unsupported { what: "digest algorithm", number: -44 });
}

#[test]
fn a_key_twice_is_refused_at_every_place() {
    let mut twice = manifest();
    twice.0.push((2, number(13)));
    assert_eq!(read(&twice), Err(InvalidEnvelope::Twice("the manifest")));
    let mut of_parameters = parameters();
    of_parameters.0.push((14, number(9)));
    assert_eq!(
        read(&manifest_of(&shared(of_parameters))),
        Err(InvalidEnvelope::Twice("a map of parameters"))
    );
    let envelope = unsigned(&manifest().encode());
    let mut two = envelope;
    two[2] = 0xa3;
    two.extend([3, 0x41, 0]);
    assert_eq!(Envelope::open(&two).expect_err("twice"), InvalidEnvelope::Twice("the envelope"));
}

#[test]
fn a_manifest_that_does_not_ask_for_vendor_and_class_is_for_nobody() {
    for missing in [1, 2] {
        let conditions: Vec<_> = [1, 2].into_iter().filter(|code| *code != missing).collect();
        let mut commands = vec![number(20), parameters().encode()];
        commands.extend(conditions.into_iter().flat_map(|code| [number(code), number(15)]));
        assert_eq!(carried(&manifest_of(&list(&commands))), Err(Unfit::ForAnybody));
    }
    let other = Uuid([1; 16]);
    let vendor = manifest_of(&shared(parameters().with(1, bytes(other.as_bytes()))));
    assert_eq!(carried(&vendor), Err(Unfit::Vendor(other)));
    let class = manifest_of(&shared(parameters().with(2, bytes(other.as_bytes()))));
    assert_eq!(carried(&class), Err(Unfit::Class(other)));
    let none = manifest_of(&shared(parameters().without(2)));
    assert_eq!(carried(&none), Err(Unfit::Parameter("condition on the class")));
}

#[test]
fn an_image_has_a_digest_and_a_length_and_there_is_one_of_it() {
    for missing in [3, 14] {
        let without = manifest_of(&shared(parameters().without(missing)));
        assert_eq!(carried(&without), Err(Unfit::NoImage(0)));
    }
    assert_eq!(carried(&manifest().without(7)), Err(Unfit::NoImage(0)), "nothing asks for the image");
    let another = Pieces(vec![(14, number(2_000))]).encode();
    let install = list(&[number(20), another, number(3), number(15)]);
    assert_eq!(carried(&manifest().with(20, bytes(&install))), Err(Unfit::TwoImages(0)));
}

#[test]
fn what_a_device_with_slots_does_not_do_is_refused_whole() {
    for (code, what) in [(18, "write of content (18)"), (22, "copy (22)"), (31, "swap (31)")] {
        let install = bytes(&list(&[number(code), number(2)]));
        assert_eq!(carried(&manifest().with(20, install)), Err(Unfit::Command(what)));
    }
    let fetch = bytes(&list(&[number(21), number(2)]));
    assert_eq!(carried(&manifest().with(16, fetch)), Err(Unfit::Parameter("fetch")));
    let far = bytes(&list(&[number(12), number(1)]));
    assert_eq!(carried(&manifest().with(20, far)), Err(Unfit::Component));
    let abort = bytes(&list(&[number(14), number(2)]));
    assert_eq!(carried(&manifest().with(20, abort)), Err(Unfit::Abort));
}

#[test]
fn conditions_on_slot_unit_and_version_hold_or_refuse() {
    let with = |parameter, value: Vec<u8>, condition| {
        let own = Pieces(vec![(parameter, value)]).encode();
        let install = list(&[number(20), own, number(condition), number(15)]);
        carried(&manifest().with(20, bytes(&install)))
    };
    assert!(with(5, number(1), 5).is_ok());
    assert_eq!(with(5, number(0), 5), Err(Unfit::Slot));
    assert_eq!(with(24, bytes(&[7; 16]), 24), Err(Unfit::Unit));
    let version = |comparison: u64, numbers: &[u64]| {
        let numbers = list(&numbers.iter().map(|n| number(*n)).collect::<Vec<_>>());
        bytes(&list(&[number(comparison), numbers]))
    };
    assert!(with(28, version(2, &[1, 3]), 28).is_ok());
    assert_eq!(with(28, version(1, &[1, 3]), 28), Err(Unfit::Version));
    assert_eq!(with(28, version(5, &[1, 3]), 28), Err(Unfit::Version));
}

#[test]
fn what_was_taken_out_lies_beside_with_its_own_bytes_or_is_missed() {
    let install = list(&[number(3), number(15)]);
    let raw = bytes(&install);
    let taken_out = manifest().with(20, encode_digest(sha_256(&raw)));
    assert_eq!(read(&taken_out).map(|manifest| manifest.left_behind), Ok(vec![20]));
    assert_eq!(carried(&taken_out), Err(Unfit::LeftBehind(20)));
    let beside = |members: &[(u64, &[u8])]| {
        let mut whole = unsigned(&taken_out.encode());
        whole[2] = 0xa2 + u8::try_from(members.len()).expect("few");
        for (key, raw) in members {
            whole.extend(number(*key));
            whole.extend_from_slice(raw);
        }
        whole
    };
    let whole = beside(&[(20, &raw)]);
    let read_whole = Envelope::open(&whole).expect("an envelope").manifest().expect("a manifest");
    assert!(read_whole.install.is_some() && carry_out(&read_whole, &facts()).is_ok());
    let other = bytes(&list(&[number(3), number(14)]));
    let changed = beside(&[(20, &other)]);
    let refused = Envelope::open(&changed).expect("an envelope").manifest().expect_err("another member");
    assert_eq!(refused, InvalidEnvelope::Digest("a member beside the manifest"));
    // A member that the manifest does not name is not signed.
    let added = beside(&[(20, &raw), (16, &raw)]);
    let refused = Envelope::open(&added).expect("an envelope").manifest().expect_err("unsigned");
    assert_eq!(refused, InvalidEnvelope::Unsigned(16));
    // Text may stay behind.
    let text = manifest().with(23, encode_digest(sha_256(&raw)));
    assert!(carried(&text).is_ok());
}

#[test]
fn alternatives_are_two_or_more_and_not_deep() {
    let alternatives =
        |items: &[Vec<u8>]| read(&manifest().with(20, bytes(&list(&[number(15), list(items)]))));
    let abort = bytes(&list(&[number(14), number(2)]));
    let nothing = bytes(&list(&[]));
    assert!(alternatives(&[abort.clone(), nothing.clone()]).is_ok());
    assert!(alternatives(&[abort.clone(), vec![0xf6]]).is_ok());
    assert_eq!(alternatives(std::slice::from_ref(&abort)), Err(InvalidEnvelope::TryEach));
    assert_eq!(alternatives(&[vec![0xf6], vec![0xf6]]), Err(InvalidEnvelope::TryEach));
    assert_eq!(alternatives(&[vec![0xf6], abort.clone()]), Err(InvalidEnvelope::TryEach));
    let mut deep = abort.clone();
    for _ in 0..3 {
        deep = bytes(&list(&[number(15), list(&[deep, nothing.clone()])]));
    }
    assert_eq!(alternatives(&[deep, abort]), Err(InvalidEnvelope::TooDeep));
}

#[test]
fn what_a_failed_alternative_has_set_is_undone() {
    let set = |size: u64, last: u64| {
        let own = Pieces(vec![(14, number(size))]).encode();
        bytes(&list(&[number(20), own, number(last), number(2), number(3), number(15)]))
    };
    // The first sets another length and aborts; were it kept, there would be two images.
    let install = list(&[number(15), list(&[set(2_000, 14), bytes(&list(&[]))])]);
    assert_eq!(carried(&manifest().with(20, bytes(&install))).map(|images| images[0].size), Ok(1_000));
    // What is no condition does not lead to the next alternative.
    let install = list(&[number(15), list(&[set(1_000, 22), bytes(&list(&[]))])]);
    assert_eq!(carried(&manifest().with(20, bytes(&install))), Err(Unfit::Command("copy (22)")));
}

#[test]
fn payloads_have_names_of_their_own() {
    let plain = unsigned(&manifest().encode());
    let with = |payloads: &[(&str, &[u8])]| {
        let mut whole = plain.clone();
        whole[2] = 0xa2 + u8::try_from(payloads.len()).expect("few");
        for (name, content) in payloads {
            let mut w = Writer::default();
            w.text(name).bytes(content);
            whole.extend(w.into_bytes());
        }
        whole
    };
    let two = with(&[("#a", b"1"), ("#b", b"2")]);
    let envelope = Envelope::open(&two).expect("an envelope");
    assert_eq!(envelope.payloads(), [("#a", &b"1"[..]), ("#b", &b"2"[..])]);
    // They stay where they are when somebody signs.
    let signed = signed(&two, &[&key()]);
    assert_eq!(Envelope::open(&signed).expect("an envelope").payloads().len(), 2);
    assert_eq!(Envelope::open(&with(&[("a", b"1")])).expect_err("no name"), InvalidEnvelope::PayloadName);
    let twice = with(&[("#a", b"1"), ("#a", b"2")]);
    assert_eq!(Envelope::open(&twice).expect_err("twice"), InvalidEnvelope::Twice("the envelope"));
}

#[test]
fn a_member_beside_the_manifest_is_there_once_and_what_is_unknown_is_not() {
    let plain = unsigned(&manifest().encode());
    let with = |pairs: &[(u64, &[u8])]| {
        let mut whole = plain.clone();
        whole[2] = 0xa2 + u8::try_from(pairs.len()).expect("few");
        whole.extend(pairs.iter().flat_map(|(key, value)| [number(*key), bytes(value)].concat()));
        whole
    };
    let twice = with(&[(20, b"1"), (20, b"1")]);
    assert_eq!(Envelope::open(&twice).expect_err("twice"), InvalidEnvelope::Twice("the envelope"));
    for key in [0, 1, 4, 5, 17, 24] {
        let refused = Envelope::open(&with(&[(key, b"1")])).expect_err("unknown");
        assert!(
            matches!(refused, InvalidEnvelope::Unsupported { what: "member of the envelope", .. }),
            "{key}"
        );
    }
}

#[test]
fn a_signature_with_the_payload_inside_is_refused() {
    let plain = unsigned(&manifest().encode());
    let digest = encode_digest(Envelope::open(&plain).expect("an envelope").digest());
    let inside = cose::sign1(&digest, &key()).expect("signed");
    let wrapper = list(&[bytes(&digest), bytes(&inside)]);
    let mut w = Writer::default();
    w.tag(107).map(2).unsigned(2).bytes(&wrapper).unsigned(3).bytes(&manifest().encode());
    assert!(Envelope::open(&w.into_bytes()).is_err());
}

#[test]
fn several_components_are_read_and_no_device_with_slots_installs_them() {
    let conditions = [number(1), number(15), number(2), number(15)].concat();
    let all = [number(12), vec![0xf5], number(20), parameters().encode(), conditions].concat();
    let mut w = Writer::default();
    w.array(8);
    let both = [w.into_bytes(), all].concat();
    let two = common(&both).with(2, list(&[list(&[bytes(&[0])]), list(&[bytes(&[1])])]));
    let validate = list(&[number(12), vec![0xf5], number(3), number(15)]);
    let pieces = manifest().with(3, bytes(&two.encode())).with(7, bytes(&validate));
    assert_eq!(carried(&pieces).map(|images| images.len()), Ok(2));
    let world = World::new();
    let envelope = signed(&unsigned(&pieces.encode()), &world.firmware_keys.iter().collect::<Vec<_>>());
    let mut world = world;
    let digest = Envelope::open(&envelope).expect("an envelope").digest();
    (world.offer.manifest, world.freshness.manifest) = (digest, digest);
    let judged = world.judged_with(&envelope, &world.offer(), &world.freshness(), Clock::Time(NOW_S));
    let refusal = judged.expect_err("two images");
    assert_eq!(refusal.fault, Fault::Unfit(Unfit::Command("second component")));
}

#[test]
fn a_manifest_is_gone_through_in_a_bounded_number_of_steps() {
    // Eight alternatives in each of many commands, each alternative as long as may be: all fail but the last.
    let long = vec![[number(12), number(0)].concat(); 30].concat();
    let mut w = Writer::default();
    w.array(62);
    let failing = bytes(&[w.into_bytes(), long, number(14), number(2)].concat());
    let try_each =
        [number(15), list(&[failing.clone(), failing.clone(), failing.clone(), failing, vec![0xf6]])]
            .concat();
    let mut w = Writer::default();
    w.array(24);
    let install = [w.into_bytes(), vec![try_each; 12].concat()].concat();
    assert_eq!(carried(&manifest().with(20, bytes(&install))), Err(Unfit::TooLong));
}

#[test]
fn envelopes_have_one_form_and_an_end() {
    let envelope = World::new().envelope();
    for length in 0..envelope.len() {
        assert!(Envelope::open(&envelope[..length]).is_err());
    }
    assert!(Envelope::open(&[&envelope[..], &[0]].concat()).is_err());
    let long = [&envelope[..], &vec![0; limits::ENVELOPE_BYTES_MAX]].concat();
    assert_eq!(Envelope::open(&long).expect_err("too long"), InvalidEnvelope::TooLong);
}

#[test]
fn signatures_add_up_and_change_nothing_else() {
    let keys = [key(), key(), key()];
    let plain = World::new().manifest.envelope();
    let whole = signed(&plain, &keys.iter().collect::<Vec<_>>());
    let envelope = Envelope::open(&whole).expect("an envelope");
    let all: Vec<_> = keys.iter().map(Signer::public).collect();
    assert_eq!((envelope.signatures(), envelope.signers(&all)), (3, all.clone()));
    assert!(envelope.signers(&[key().public()]).is_empty());
    assert_eq!(envelope.digest(), Envelope::open(&plain).expect("an envelope").digest());
    assert_eq!(envelope.manifest().map(|manifest| manifest.sequence), Ok(Sequence(12)));
    // One key that signs twice is one signer.
    let twice = signed(&plain, &[&keys[0], &keys[0]]);
    assert_eq!(Envelope::open(&twice).expect("an envelope").signers(&all).len(), 1);
}
