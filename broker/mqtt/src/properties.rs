//! Properties (MQTT 5 §2.2.2): the table of identifiers and types, a reader that refuses repeats, and writing.

use std::{
    fmt,
    num::{NonZeroU16, NonZeroU32},
};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    decode::Fault,
    limits::{PacketLimits, REMAINING_LENGTH_BYTES_MAX},
    primitive::{Reader, Sink, measure},
};

/// A type that a property can have. `None` from `read` is a value out of range, such as a flag of 2.
pub(crate) trait Value: Sized {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault>;
    fn write(&self, sink: &mut dyn Sink);
}

/// A variable byte integer, 1 to 268,435,455.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Varint(pub(crate) u32);

macro_rules! properties {
    ($($name:ident($kind:ty) = $id:literal, $text:literal;)*) => {
        /// A property's identifier (MQTT 5 §2.2.2.2).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum PropertyId {
            $(
                #[doc = concat!("The ", $text, ".")]
                $name = $id,
            )*
        }

        /// A property as read.
        #[derive(Debug)]
        #[expect(clippy::enum_variant_names, reason = "the standard calls it User Property")]
        pub(crate) enum Property {
            $($name($kind),)*
        }

        impl Property {
            pub(crate) fn id(&self) -> PropertyId {
                match self {
                    $(Self::$name(_) => PropertyId::$name,)*
                }
            }

            fn read(id: PropertyId, reader: &mut Reader) -> Result<Option<Self>, Fault> {
                match id {
                    $(PropertyId::$name => Ok(<$kind>::read(reader)?.map(Self::$name)),)*
                }
            }
        }

        impl TryFrom<u8> for PropertyId {
            type Error = u8;
            fn try_from(byte: u8) -> Result<Self, u8> {
                match byte {
                    $($id => Ok(Self::$name),)*
                    other => Err(other),
                }
            }
        }

        impl fmt::Display for PropertyId {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

properties! {
    PayloadFormatIndicator(bool) = 0x01, "payload format indicator";
    MessageExpiryInterval(u32) = 0x02, "message expiry interval";
    ContentType(ByteString) = 0x03, "content type";
    ResponseTopic(ByteString) = 0x08, "response topic";
    CorrelationData(Bytes) = 0x09, "correlation data";
    SubscriptionIdentifier(Varint) = 0x0b, "subscription identifier";
    SessionExpiryInterval(u32) = 0x11, "session expiry interval";
    AssignedClientIdentifier(ByteString) = 0x12, "assigned client identifier";
    ServerKeepAlive(u16) = 0x13, "server keep alive";
    AuthenticationMethod(ByteString) = 0x15, "authentication method";
    AuthenticationData(Bytes) = 0x16, "authentication data";
    RequestProblemInformation(bool) = 0x17, "request problem information";
    WillDelayInterval(u32) = 0x18, "will delay interval";
    RequestResponseInformation(bool) = 0x19, "request response information";
    ResponseInformation(ByteString) = 0x1a, "response information";
    ServerReference(ByteString) = 0x1c, "server reference";
    ReasonString(ByteString) = 0x1f, "reason string";
    ReceiveMaximum(NonZeroU16) = 0x21, "receive maximum";
    TopicAliasMaximum(u16) = 0x22, "topic alias maximum";
    TopicAlias(NonZeroU16) = 0x23, "topic alias";
    MaximumQos(bool) = 0x24, "maximum QoS";
    RetainAvailable(bool) = 0x25, "retain available";
    UserProperty((ByteString, ByteString)) = 0x26, "user property";
    MaximumPacketSize(NonZeroU32) = 0x27, "maximum packet size";
    WildcardSubscriptionAvailable(bool) = 0x28, "wildcard subscription available";
    SubscriptionIdentifierAvailable(bool) = 0x29, "subscription identifier available";
    SharedSubscriptionAvailable(bool) = 0x2a, "shared subscription available";
}

/// Reads the properties of one packet. A packet's decoder takes those it knows and refuses the rest with
/// [`PropertyReader::misplaced`].
#[derive(Debug)]
pub(crate) struct PropertyReader {
    reader: Reader,
    /// One bit per identifier met so far; identifiers end at 0x2a.
    seen: u64,
    user_properties_left: usize,
}

impl PropertyReader {
    /// Takes the length and the bytes of the properties off `body`.
    pub(crate) fn new(body: &mut Reader, limits: &PacketLimits) -> Result<Self, Fault> {
        let length = body.varint()?;
        let length = usize::try_from(length).map_err(|_| Fault::Truncated)?;
        Ok(Self {
            reader: Reader::new(body.take(length)?),
            seen: 0,
            user_properties_left: limits.user_properties_max,
        })
    }

    /// As [`Self::new`], where the properties may be left out altogether at the end of a packet.
    pub(crate) fn if_any(body: &mut Reader, limits: &PacketLimits) -> Result<Self, Fault> {
        if body.is_empty() {
            return Ok(Self { reader: Reader::new(Bytes::new()), seen: 0, user_properties_left: 0 });
        }
        Self::new(body, limits)
    }

    pub(crate) fn next(&mut self) -> Result<Option<Property>, Fault> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        // The identifier is a variable byte integer, and every one assigned takes one byte.
        let id = PropertyId::try_from(self.reader.u8()?).map_err(Fault::UnknownProperty)?;
        if id == PropertyId::UserProperty {
            self.user_properties_left =
                self.user_properties_left.checked_sub(1).ok_or(Fault::TooMany("user properties"))?;
        }
        let bit = 1 << id as u64;
        let repeats = matches!(id, PropertyId::UserProperty | PropertyId::SubscriptionIdentifier);
        if self.seen & bit != 0 && !repeats {
            return Err(Fault::RepeatedProperty(id));
        }
        self.seen |= bit;
        match Property::read(id, &mut self.reader)? {
            Some(property) => Ok(Some(property)),
            None if id == PropertyId::TopicAlias => Err(Fault::TopicAlias { alias: 0 }),
            None => Err(Fault::PropertyValue(id)),
        }
    }

    /// The fault of a property that its packet type does not have.
    pub(crate) fn misplaced<T>(property: &Property) -> Result<T, Fault> {
        Err(Fault::MisplacedProperty(property.id()))
    }
}

/// Writes the length of what `write` writes, and then that.
pub(crate) fn block(sink: &mut dyn Sink, write: &dyn Fn(&mut dyn Sink)) {
    sink.varint(measure(write));
    write(sink);
}

/// Writes one property.
pub(crate) fn put(sink: &mut dyn Sink, id: PropertyId, value: &impl Value) {
    sink.u8(id as u8);
    value.write(sink);
}

/// Writes one property if there is one.
pub(crate) fn put_some(sink: &mut dyn Sink, id: PropertyId, value: Option<&impl Value>) {
    if let Some(value) = value {
        put(sink, id, value);
    }
}

/// Writes the user properties, in order.
pub(crate) fn put_user(sink: &mut dyn Sink, pairs: &[(ByteString, ByteString)]) {
    for pair in pairs {
        put(sink, PropertyId::UserProperty, pair);
    }
}

impl Value for bool {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        Ok(match reader.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        })
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.u8((*self).into());
    }
}

impl Value for u16 {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        reader.u16().map(Some)
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.u16(*self);
    }
}

impl Value for u32 {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        reader.u32().map(Some)
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.u32(*self);
    }
}

impl Value for NonZeroU16 {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        reader.u16().map(Self::new)
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.u16(self.get());
    }
}

impl Value for NonZeroU32 {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        reader.u32().map(Self::new)
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.u32(self.get());
    }
}

impl Value for Varint {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        Ok(match reader.varint()? {
            0 => None,
            value => Some(Self(value)),
        })
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.varint(usize::try_from(self.0).unwrap_or(usize::MAX).min(REMAINING_LENGTH_BYTES_MAX));
    }
}

impl Value for ByteString {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        reader.text().map(Some)
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.text(self);
    }
}

impl Value for Bytes {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        reader.binary().map(Some)
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.binary(self);
    }
}

impl Value for (ByteString, ByteString) {
    fn read(reader: &mut Reader) -> Result<Option<Self>, Fault> {
        Ok(Some((reader.text()?, reader.text()?)))
    }
    fn write(&self, sink: &mut dyn Sink) {
        sink.text(&self.0);
        sink.text(&self.1);
    }
}
