//! Items to bytes.

use std::convert::Infallible;

use cbor4ii::core::{enc, types};

/// Appends items to a buffer, each in its shortest form.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

/// A vector takes every byte.
struct Sink<'a>(&'a mut Vec<u8>);

impl enc::Write for Sink<'_> {
    type Error = Infallible;
    fn push(&mut self, input: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(input);
        Ok(())
    }
}

/// What a tag is about, when it is written apart.
struct Nothing;

impl enc::Encode for Nothing {
    fn encode<W: enc::Write>(&self, _writer: &mut W) -> Result<(), enc::Error<W::Error>> {
        Ok(())
    }
}

impl Writer {
    /// Appends to `out`.
    pub fn new(out: Vec<u8>) -> Self {
        Self { out }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// An integer from 0.
    pub fn unsigned(&mut self, value: u64) -> &mut Self {
        self.put(value)
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) -> &mut Self {
        self.put(value)
    }

    /// A finite number: an integer when it is one, else the shortest float that is the same number.
    pub fn number(&mut self, value: f64) -> &mut Self {
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be the same number")]
        let (whole, single) = (value as i64, value as f32);
        if value.fract() == 0.0 && value.abs() <= EXACT_MAX && !(value == 0.0 && value.is_sign_negative()) {
            self.integer(whole)
        } else if f64::from(single).to_bits() == value.to_bits() {
            self.put(single)
        } else {
            self.put(value)
        }
    }

    /// True or false.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.put(value)
    }

    /// A tag; what it is about follows.
    pub fn tag(&mut self, number: u64) -> &mut Self {
        self.put(types::Tag(number, Nothing))
    }

    /// Null.
    pub fn null(&mut self) -> &mut Self {
        self.put(types::Null)
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.put(types::Bytes(value))
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.put(value)
    }

    /// The head of an array; its `elements` items follow.
    pub fn array(&mut self, elements: usize) -> &mut Self {
        let done = types::Array::bounded(elements, &mut Sink(&mut self.out));
        self.wrote(done)
    }

    /// The head of a map; its `pairs` pairs follow.
    pub fn map(&mut self, pairs: usize) -> &mut Self {
        let done = types::Map::bounded(pairs, &mut Sink(&mut self.out));
        self.wrote(done)
    }

    fn put(&mut self, item: impl enc::Encode) -> &mut Self {
        let done = item.encode(&mut Sink(&mut self.out));
        self.wrote(done)
    }

    fn wrote(&mut self, done: Result<(), enc::Error<Infallible>>) -> &mut Self {
        if done.is_err() {
            unreachable!("a vector takes every byte, and its length is a length that CBOR can say");
        }
        self
    }
}
