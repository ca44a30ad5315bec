//! The packets that a client may send, field by field, and the table of properties (MQTT 5 §2.2.2.2), written down from
//! the standard and not taken from the crate.

pub const V5: u8 = 5;
pub const V311: u8 = 4;

/// A packet with everything that it can have.
pub struct Layout {
    pub name: &'static str,
    /// The first byte: type and flags.
    pub first: u8,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether the packet may end before it.
    pub may_be_missing: bool,
}

pub enum Kind {
    /// Any value goes.
    Fixed(Vec<u8>),
    Flags {
        value: u8,
        reserved: u8,
    },
    /// A reason code, and one that is assigned and belongs to other packets.
    Code {
        value: u8,
        misplaced: u8,
    },
    PacketId,
    Text(&'static str),
    Topic(&'static str),
    Filter(&'static str),
    Binary(Vec<u8>),
    /// Identifiers, and whose properties they are in the table.
    Properties {
        ids: Vec<u8>,
        of: &'static str,
    },
    /// The rest of the packet.
    Payload(Vec<u8>),
}

pub struct Property {
    pub id: u8,
    pub name: &'static str,
    pub packets: &'static [&'static str],
    /// A value in range, as on the wire.
    pub value: &'static [u8],
    pub out_of_range: &'static [&'static [u8]],
    /// Whether the value is one string.
    pub is_text: bool,
}

const fn row(
    id: u8,
    name: &'static str,
    packets: &'static [&'static str],
    value: &'static [u8],
    out_of_range: &'static [&'static [u8]],
) -> Property {
    Property { id, name, packets, value, out_of_range, is_text: false }
}

const fn text(
    id: u8,
    name: &'static str,
    packets: &'static [&'static str],
    value: &'static [u8],
) -> Property {
    Property { id, name, packets, value, out_of_range: &[], is_text: true }
}

/// Packets of clients only: what else has a property does not matter here.
pub const PROPERTIES: &[Property] = &[
    row(0x01, "payload format indicator", &["PUBLISH", "will"], &[0], &[&[2], &[255]]),
    row(0x02, "message expiry interval", &["PUBLISH", "will"], &[0, 0, 0, 60], &[]),
    text(0x03, "content type", &["PUBLISH", "will"], b"\0\x01c"),
    text(0x08, "response topic", &["PUBLISH", "will"], b"\0\x01r"),
    row(0x09, "correlation data", &["PUBLISH", "will"], &[0, 1, 0xff], &[]),
    row(0x0b, "subscription identifier", &["SUBSCRIBE"], &[0x80, 0x01], &[&[0]]),
    row(0x11, "session expiry interval", &["CONNECT", "DISCONNECT"], &[0, 0, 0, 0], &[]),
    text(0x12, "assigned client identifier", &[], b"\0\x01i"),
    row(0x13, "server keep alive", &[], &[0, 9], &[]),
    text(0x15, "authentication method", &["CONNECT", "AUTH"], b"\0\x01m"),
    row(0x16, "authentication data", &["CONNECT", "AUTH"], &[0, 1, 0xff], &[]),
    row(0x17, "request problem information", &["CONNECT"], &[1], &[&[2], &[255]]),
    row(0x18, "will delay interval", &["will"], &[0, 0, 0, 5], &[]),
    row(0x19, "request response information", &["CONNECT"], &[1], &[&[2], &[255]]),
    text(0x1a, "response information", &[], b"\0\x01i"),
    text(0x1c, "server reference", &["DISCONNECT"], b"\0\x01s"),
    text(0x1f, "reason string", &["PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "DISCONNECT", "AUTH"], b"\0\x01w"),
    row(0x21, "receive maximum", &["CONNECT"], &[0, 9], &[&[0, 0]]),
    row(0x22, "topic alias maximum", &["CONNECT"], &[0, 9], &[]),
    row(0x23, "topic alias", &["PUBLISH"], &[0, 1], &[&[0, 0], &[0, 17], &[255, 255]]),
    row(0x24, "maximum QoS", &[], &[1], &[]),
    row(0x25, "retain available", &[], &[1], &[]),
    row(
        0x26,
        "user property",
        &[
            "CONNECT",
            "will",
            "PUBLISH",
            "PUBACK",
            "PUBREC",
            "PUBREL",
            "PUBCOMP",
            "SUBSCRIBE",
            "UNSUBSCRIBE",
            "DISCONNECT",
            "AUTH",
        ],
        b"\0\x01k\0\x01v",
        &[],
    ),
    row(0x27, "maximum packet size", &["CONNECT"], &[0, 0, 1, 0], &[&[0, 0, 0, 0]]),
    row(0x28, "wildcard subscription available", &[], &[1], &[]),
    row(0x29, "subscription identifier available", &[], &[1], &[]),
    row(0x2a, "shared subscription available", &[], &[1], &[]),
];

fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, may_be_missing: false }
}

fn optional(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, may_be_missing: true }
}

/// Every packet of a client in this version.
pub fn layouts(version: u8) -> Vec<Layout> {
    let v5 = version == V5;
    // AUTH exists in 5 only.
    let auth = v5.then(|| Layout {
        name: "AUTH",
        first: 0xf0,
        fields: vec![
            optional("reason code", Kind::Code { value: 0x18, misplaced: 0x82 }),
            optional("properties", Kind::Properties { ids: vec![0x15, 0x16, 0x1f, 0x26], of: "AUTH" }),
        ],
    });
    let mut layouts = vec![connect(version), publish(version)];
    for (name, first, misplaced) in
        [("PUBACK", 0x40, 0x92), ("PUBREC", 0x50, 0x92), ("PUBREL", 0x62, 0x10), ("PUBCOMP", 0x70, 0x10)]
    {
        let mut fields = vec![field("packet identifier", Kind::PacketId)];
        if v5 {
            fields.push(optional("reason code", Kind::Code { value: 0, misplaced }));
            fields.push(optional("properties", Kind::Properties { ids: vec![0x1f, 0x26], of: name }));
        }
        layouts.push(Layout { name, first, fields });
    }
    layouts.extend([subscribe(version), unsubscribe(version)]);
    layouts.push(Layout { name: "PINGREQ", first: 0xc0, fields: Vec::new() });
    let mut fields = Vec::new();
    if v5 {
        fields.push(optional("reason code", Kind::Code { value: 4, misplaced: 0x01 }));
        let ids = vec![0x11, 0x1c, 0x1f, 0x26];
        fields.push(optional("properties", Kind::Properties { ids, of: "DISCONNECT" }));
    }
    layouts.push(Layout { name: "DISCONNECT", first: 0xe0, fields });
    layouts.extend(auth);
    layouts
}

fn connect(version: u8) -> Layout {
    let v5 = version == V5;
    let mut fields = vec![
        field("protocol name", Kind::Text("MQTT")),
        field("protocol level", Kind::Fixed(vec![version])),
        // User name, password, will of QoS 1 retained, clean start.
        field("connect flags", Kind::Flags { value: 0xee, reserved: 0x01 }),
        field("keep alive", Kind::Fixed(vec![0, 60])),
    ];
    if v5 {
        let ids = vec![0x11, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
        fields.push(field("properties", Kind::Properties { ids, of: "CONNECT" }));
    }
    fields.push(field("client identifier", Kind::Text("d1")));
    if v5 {
        let ids = vec![0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26];
        fields.push(field("will properties", Kind::Properties { ids, of: "will" }));
    }
    fields.extend([
        field("will topic", Kind::Topic("w")),
        field("will payload", Kind::Binary(vec![0xff])),
        field("user name", Kind::Text("u")),
        field("password", Kind::Binary(vec![0xff])),
    ]);
    Layout { name: "CONNECT", first: 0x10, fields }
}

fn publish(version: u8) -> Layout {
    let mut fields = vec![field("topic", Kind::Topic("a/b")), field("packet identifier", Kind::PacketId)];
    if version == V5 {
        let ids = vec![0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26];
        fields.push(field("properties", Kind::Properties { ids, of: "PUBLISH" }));
    }
    fields.push(field("payload", Kind::Payload(b"hi".to_vec())));
    Layout { name: "PUBLISH", first: 0x34, fields }
}

fn subscribe(version: u8) -> Layout {
    let mut fields = vec![field("packet identifier", Kind::PacketId)];
    if version == V5 {
        fields.push(field("properties", Kind::Properties { ids: vec![0x0b, 0x26], of: "SUBSCRIBE" }));
    }
    let reserved = if version == V5 { 0b1100_0000 } else { 0b1111_1100 };
    fields.extend([
        field("first filter", Kind::Filter("a/+")),
        field("first options", Kind::Flags { value: 1, reserved }),
        optional("second filter", Kind::Filter("b/#")),
        field("second options", Kind::Flags { value: 2, reserved }),
    ]);
    Layout { name: "SUBSCRIBE", first: 0x82, fields }
}

fn unsubscribe(version: u8) -> Layout {
    let mut fields = vec![field("packet identifier", Kind::PacketId)];
    if version == V5 {
        fields.push(field("properties", Kind::Properties { ids: vec![0x26], of: "UNSUBSCRIBE" }));
    }
    fields
        .extend([field("first filter", Kind::Filter("a/+")), optional("second filter", Kind::Filter("b/#"))]);
    Layout { name: "UNSUBSCRIBE", first: 0xa2, fields }
}
