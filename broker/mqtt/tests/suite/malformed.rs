//! The malformed space: every packet that a client may send, described field by field, and everything that can be wrong
//! with each field. What must follow is derived from the description, not from the code; the vectors that come out are
//! kept in `tests/vectors/mqtt/malformed-*.json`, so that they run wherever the others do.
//!
//! `UPDATE_VECTORS=1 cargo test -p muster-mqtt` writes these files anew.

mod packets;

use std::{env, fmt::Write, fs, path::Path};

use self::packets::{Field, Kind, Layout, PROPERTIES, Property, V5, V311, layouts};
use crate::stub::Stub;

/// A client's bytes, and what must follow from them.
struct Case {
    name: String,
    send: Vec<u8>,
    answer: Answer,
}

/// How a connection ends.
#[derive(Clone, Copy)]
enum Answer {
    /// Without a word.
    Silence,
    /// With CONNACK or DISCONNECT in 5, and in 3.1.1 without a word.
    Code(u8),
}

const MALFORMED: Answer = Answer::Code(0x81);
const PROTOCOL_ERROR: Answer = Answer::Code(0x82);

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], varint(body.len()).as_slice(), body].concat()
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a field");
    [&length.to_be_bytes(), bytes].concat()
}

impl Field {
    fn bytes(&self) -> Vec<u8> {
        match &self.kind {
            Kind::Fixed(bytes) | Kind::Payload(bytes) => bytes.clone(),
            Kind::Flags { value, .. } | Kind::Code { value, .. } => vec![*value],
            Kind::PacketId => vec![0, 7],
            Kind::Text(text) | Kind::Topic(text) | Kind::Filter(text) => with_length(text.as_bytes()),
            Kind::Binary(bytes) => with_length(bytes),
            Kind::Properties { ids, .. } => {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| property(*id).bytes()).collect();
                [varint(bytes.len()), bytes].concat()
            }
        }
    }
}

impl Property {
    fn bytes(&self) -> Vec<u8> {
        [&[self.id], self.value].concat()
    }
}

fn property(id: u8) -> &'static Property {
    PROPERTIES.iter().find(|property| property.id == id).expect("in the table")
}

/// Collects what can be wrong with one packet.
struct Space<'a> {
    layout: &'a Layout,
    version: u8,
    cases: Vec<Case>,
}

impl Space<'_> {
    fn parts(&self) -> Vec<Vec<u8>> {
        self.layout.fields.iter().map(Field::bytes).collect()
    }

    fn push(&mut self, what: impl Into<String>, tags: [&str; 2], send: Vec<u8>, answer: Answer) {
        let tag = if self.version == V5 { tags[0] } else { tags[1] };
        let name = format!("{}: {} [MQTT-{tag}]", self.layout.name, what.into());
        self.cases.push(Case { name, send, answer });
    }

    /// A body of which one field is other bytes.
    fn replace(&mut self, index: usize, bytes: Vec<u8>, what: &str, tags: [&str; 2], answer: Answer) {
        let mut parts = self.parts();
        let what = format!("{} {what}", self.layout.fields[index].name);
        parts[index] = bytes;
        // Whoever cannot read which version it is has nothing to say.
        let unknown = self.layout.first == 0x10 && index < 2;
        let answer = if unknown { Answer::Silence } else { answer };
        self.push(what, tags, framed(self.layout.first, &parts.concat()), answer);
    }

    fn collect(mut self) -> Vec<Case> {
        self.header();
        self.lengths();
        for (index, field) in self.layout.fields.iter().enumerate() {
            self.field(index, field);
        }
        self.cases
    }

    /// First byte and remaining length.
    fn header(&mut self) {
        let body = self.parts().concat();
        let is_connect = self.layout.first == 0x10;
        let answer = if is_connect { Answer::Silence } else { MALFORMED };
        let (packet, flags) = (self.layout.first & 0xf0, self.layout.first & 0x0f);
        for other in (0..16).filter(|other| *other != flags) {
            let (is_publish, qos, dup) = (packet == 0x30, (other >> 1) & 3, other & 8 != 0);
            let tags = match (is_publish, qos) {
                (false, _) => ["2.1.3-1", "2.2.2-2"],
                (true, 3) => ["3.3.1-4", "3.3.1-4"],
                (true, 0) if dup => ["3.3.1-2", "3.3.1-2"],
                (true, _) => continue,
            };
            self.push(format!("flags {other:04b}"), tags, framed(packet | other, &body), answer);
        }
        let first = [self.layout.first];
        let five = [first.as_slice(), &[0xff, 0xff, 0xff, 0xff, 0x01], &body].concat();
        self.push("a length of five bytes", ["1.5.5-1", "4.8.0-1"], five, answer);
        let low = u8::try_from(body.len()).expect("short");
        assert!(low < 0x80, "every sample has a length of one byte");
        let overlong = [first.as_slice(), &[low | 0x80, 0], &body].concat();
        self.push("a length in more bytes than it needs", ["1.5.5-1", "4.8.0-1"], overlong, answer);
        if !is_connect {
            let before = Case {
                name: format!("{}: before CONNECT [MQTT-3.1.0-1]", self.layout.name),
                send: framed(self.layout.first, &body),
                answer: Answer::Silence,
            };
            self.cases.push(before);
        }
    }

    /// Too short and too long as a whole, with a length that is true.
    fn lengths(&mut self) {
        let parts = self.parts();
        let body = parts.concat();
        let mut start = 0;
        for (index, part) in parts.iter().enumerate() {
            let field = &self.layout.fields[index];
            for cut in 0..part.len() {
                let end = start + cut;
                if matches!(field.kind, Kind::Payload(_)) || (cut == 0 && field.may_be_missing) {
                    continue;
                }
                let nothing_asked = cut == 0 && matches!(field.kind, Kind::Filter(_));
                let unknown_version = self.layout.first == 0x10 && index < 2;
                let answer = match (unknown_version, nothing_asked) {
                    (true, _) => Answer::Silence,
                    (_, true) => PROTOCOL_ERROR,
                    _ => MALFORMED,
                };
                let what = format!("ends after {end} bytes, {cut} of them {}", field.name);
                self.push(what, ["4.13.1-1", "4.8.0-1"], framed(self.layout.first, &body[..end]), answer);
            }
            start += part.len();
        }
        if !matches!(self.layout.fields.last().map(|field| &field.kind), Some(Kind::Payload(_))) {
            let longer = framed(self.layout.first, &[body.as_slice(), &[0]].concat());
            self.push("a byte after its last field", ["4.13.1-1", "4.8.0-1"], longer, MALFORMED);
        }
    }

    fn field(&mut self, index: usize, field: &Field) {
        match &field.kind {
            Kind::Fixed(_) | Kind::Payload(_) => {}
            Kind::Binary(_) => {
                let tags = ["4.13.1-1", "4.8.0-1"];
                self.replace(index, vec![0xff, 0xff], "longer than the packet", tags, MALFORMED);
            }
            Kind::Flags { value, reserved } => {
                for bit in (0..8).map(|bit| 1 << bit).filter(|bit| reserved & bit != 0) {
                    let tags = if self.layout.first == 0x10 {
                        ["3.1.2-3", "3.1.2-3"]
                    } else {
                        ["3.8.3-5", "3.8.3-4"]
                    };
                    let what = format!("with the reserved bit {bit:08b}");
                    self.replace(index, vec![value | bit], &what, tags, MALFORMED);
                }
            }
            Kind::Code { misplaced, .. } => {
                let tags = ["4.13.1-1", "4.8.0-1"];
                self.replace(index, vec![0x03], "that no packet has", tags, MALFORMED);
                self.replace(index, vec![*misplaced], "that this packet has not", tags, PROTOCOL_ERROR);
            }
            Kind::PacketId => self.replace(index, vec![0, 0], "0", ["2.2.1-3", "2.3.1-1"], PROTOCOL_ERROR),
            Kind::Text(_) => self.text(index),
            Kind::Topic(_) => {
                self.text(index);
                for wildcard in ["a/+", "#"] {
                    let (what, tags) = (format!("{wildcard} with a wildcard"), ["3.3.2-2", "3.3.2-2"]);
                    self.replace(index, with_length(wildcard.as_bytes()), &what, tags, MALFORMED);
                }
            }
            Kind::Filter(_) => {
                self.text(index);
                self.replace(index, with_length(b""), "empty", ["4.7.3-1", "4.7.3-1"], MALFORMED);
                for (filter, tags) in [("a/#/b", ["4.7.1-1", "4.7.1-2"]), ("a+", ["4.7.1-2", "4.7.1-3"])] {
                    self.replace(index, with_length(filter.as_bytes()), filter, tags, MALFORMED);
                }
            }
            Kind::Properties { ids, of } => self.properties(index, ids, of),
        }
    }

    /// What no string may be.
    fn text(&mut self, index: usize) {
        for (bytes, what, tags) in BAD_TEXTS {
            self.replace(index, with_length(bytes), what, *tags, MALFORMED);
        }
        let tags = ["4.13.1-1", "4.8.0-1"];
        self.replace(index, vec![0xff, 0xff, b'a'], "longer than the packet", tags, MALFORMED);
    }

    fn properties(&mut self, index: usize, ids: &[u8], of: &str) {
        let own: Vec<u8> = ids.iter().flat_map(|id| property(*id).bytes()).collect();
        let block = |bytes: &[u8]| [varint(bytes.len()), bytes.to_vec()].concat();
        let tags = ["4.13.1-1", "4.13.1-1"];
        // A block that ends within a property. Where one ends, the block may end.
        let mut ends: Vec<usize> = vec![0];
        for id in ids {
            ends.push(ends.last().copied().unwrap_or(0) + property(*id).bytes().len());
        }
        for end in (0..own.len()).filter(|end| !ends.contains(end)) {
            let what = format!("that end after {end} bytes, within one");
            self.replace(index, block(&own[..end]), &what, tags, MALFORMED);
        }
        self.replace(index, vec![0xff, 0xff, 0xff, 0x7f], "longer than the packet", tags, MALFORMED);
        for unknown in [0x00, 0x04, 0x2b, 0x7f, 0x80] {
            let what = format!("with the unknown identifier {unknown:#04x}");
            self.replace(index, block(&[unknown, 0]), &what, tags, MALFORMED);
        }
        for other in PROPERTIES {
            let added = |value: &[u8]| block(&[own.as_slice(), &[other.id], value].concat());
            if !other.packets.contains(&of) {
                let what = format!("with a {}, which belongs elsewhere", other.name);
                let from_server = of == "PUBLISH" && other.id == 0x0b;
                let answer = if from_server { PROTOCOL_ERROR } else { MALFORMED };
                self.replace(index, block(&other.bytes()), &what, tags, answer);
                continue;
            }
            let without: Vec<u8> =
                ids.iter().filter(|id| **id != other.id).flat_map(|id| property(*id).bytes()).collect();
            let instead = |value: &[u8]| block(&[without.as_slice(), &[other.id], value].concat());
            if ids.contains(&other.id) && other.id != 0x26 {
                let what = format!("with two of {}", other.name);
                self.replace(index, added(other.value), &what, tags, PROTOCOL_ERROR);
            }
            for value in other.out_of_range {
                let what = format!("with a {} of {value:02x?}", other.name);
                let answer = if other.id == 0x23 { Answer::Code(0x94) } else { PROTOCOL_ERROR };
                self.replace(index, instead(value), &what, tags, answer);
            }
            if other.is_text {
                for (bytes, what, tags) in BAD_TEXTS {
                    let what = format!("with a {} {what}", other.name);
                    self.replace(index, instead(&with_length(bytes)), &what, *tags, MALFORMED);
                }
            }
        }
    }
}

/// Bytes that are no string, and the rule they break.
const BAD_TEXTS: &[(&[u8], &str, [&str; 2])] = &[
    (b"a\xff", "with a byte that UTF-8 has not", ["1.5.4-1", "1.5.3-1"]),
    (b"\xed\xa0\x80", "with a surrogate", ["1.5.4-1", "1.5.3-1"]),
    (b"\xc0\xaf", "with a character in more bytes than it needs", ["1.5.4-1", "1.5.3-1"]),
    (b"a\xe2\x82", "that ends within a character", ["1.5.4-1", "1.5.3-1"]),
    (b"a\0b", "with a null character", ["1.5.4-2", "1.5.3-2"]),
];

/// Packets that only a server sends, and types that no packet has.
fn of_others(version: u8) -> Vec<Case> {
    let mut cases = Vec::new();
    let samples: &[(&str, &[u8], u8)] = &[
        ("packet type 0", &[0x00, 0], 0x81),
        ("CONNACK", &[0x20, 3, 0, 0, 0], 0x82),
        ("SUBACK", &[0x90, 4, 0, 1, 0, 0], 0x82),
        ("UNSUBACK", &[0xb0, 4, 0, 1, 0, 0], 0x82),
        ("PINGRESP", &[0xd0, 0], 0x82),
    ];
    let tag = if version == V5 { "4.13.1-1" } else { "4.8.0-1" };
    for (name, bytes, code) in samples {
        let name = format!("{name} from a client [MQTT-{tag}]");
        cases.push(Case { name, send: bytes.to_vec(), answer: Answer::Code(*code) });
    }
    if version == V311 {
        let name = "AUTH does not exist [MQTT-4.8.0-1]".to_owned();
        cases.push(Case { name, send: vec![0xf0, 0], answer: MALFORMED });
    }
    cases
}

const CONNECT: [&[u8]; 2] = [
    b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02d1",
    b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02d1",
];
const CONNACK: [&[u8]; 2] =
    [b"\x20\x0e\x00\x00\x0b\x21\x04\x00\x27\x00\x04\x00\x00\x22\x00\x10", b"\x20\x02\x00\x00"];

/// Everything of one version as the text of a vector file.
fn vectors(version: u8) -> String {
    let mut cases: Vec<Case> = layouts(version)
        .iter()
        .flat_map(|layout| Space { layout, version, cases: Vec::new() }.collect())
        .collect();
    cases.extend(of_others(version));
    let of = usize::from(version == V311);
    let mut text = String::from("[\n");
    for (number, Case { name, send, answer }) in cases.iter().enumerate() {
        let comes_first =
            send.first().is_some_and(|first| first & 0xf0 == 0x10) || name.contains("before CONNECT");
        let expected = match answer {
            Answer::Code(code) if version == V5 && comes_first => vec![0x20, 3, 0, *code, 0],
            Answer::Code(code) if version == V5 => vec![0xe0, 1, *code],
            Answer::Code(_) | Answer::Silence => Vec::new(),
        };
        let step = |send: &[u8], expect: &[u8]| match expect {
            [] => format!("\"send\": \"{}\"", hex(send)),
            expect => format!("\"send\": \"{}\", \"expect\": \"{}\"", hex(send), hex(expect)),
        };
        let last = step(send, &expected);
        let told = match comes_first {
            true => last,
            // CONNECT is answered before what follows is sent, or its refusal would be the answer.
            false => format!("\"steps\": [{{{}}}, {{{last}}}]", step(CONNECT[of], CONNACK[of])),
        };
        let end = if number + 1 == cases.len() { "" } else { "," };
        let _ = writeln!(text, "  {{\"name\": \"{name}\", \"ends\": \"closed\", {told}}}{end}");
    }
    text + "]\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_vectors_of_the_malformed_space_are_in_step() {
    for (version, file) in [(V5, "malformed-5.json"), (V311, "malformed-311.json")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/mqtt").join(file);
        let text = vectors(version);
        if env::var_os("UPDATE_VECTORS").is_some() {
            fs::write(&path, &text).expect("writable");
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{file} is not what is generated; see the head of this file");
    }
}

#[test]
fn a_packet_that_does_not_end_waits_until_the_client_is_silent_for_too_long() {
    for (version, of) in [(V5, 0), (V311, 1)] {
        for layout in layouts(version) {
            let parts: Vec<u8> = layout.fields.iter().flat_map(Field::bytes).collect();
            let bytes = framed(layout.first, &parts);
            let is_connect = layout.first == 0x10;
            for end in 1..bytes.len() {
                let mut stub = Stub::new();
                let connected = if is_connect { Vec::new() } else { stub.send(CONNECT[of]) };
                assert_eq!(connected, if is_connect { &[] } else { CONNACK[of] });
                assert!(stub.send(&bytes[..end]).is_empty(), "{} {end}", layout.name);
                assert!(!stub.is_closed(), "{} {end}", layout.name);
                stub.wait_ms(90_001);
                let told = stub.send(&[]);
                assert!(stub.is_closed(), "{} {end}", layout.name);
                let reason: &[u8] = if is_connect || version == V311 { &[] } else { &[0xe0] };
                assert!(told.starts_with(reason) && told.is_empty() == reason.is_empty(), "{}", layout.name);
            }
        }
    }
}

#[test]
fn the_samples_themselves_are_well_formed() {
    for (version, of) in [(V5, 0), (V311, 1)] {
        for layout in layouts(version) {
            let body: Vec<u8> = layout.fields.iter().flat_map(Field::bytes).collect();
            let mut stub = Stub::new();
            if layout.first != 0x10 {
                stub.send(CONNECT[of]);
            }
            stub.send(&framed(layout.first, &body));
            let is_fault = matches!(stub.close_reason(), Some(muster_mqtt::CloseReason::Malformed(_)));
            assert!(!is_fault, "{}: {:?}", layout.name, stub.close_reason());
        }
    }
}
