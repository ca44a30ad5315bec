//! `COSE_Encrypt` (RFC 9052 §5.1, tag 96) with recipients of HPKE Key Encryption (draft-ietf-cose-hpke, as of April
//! 2026, after draft 21): one form of each message, so that what is read is written again byte for byte.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use muster_schemas::cbor::{InvalidCbor, Reader, Writer};
use zeroize::Zeroizing;

use crate::{
    KeyId, Opener, Padding, Recipient,
    limits::{
        CIPHERTEXT_BYTES_MAX, ENCAPSULATED_BYTES_MAX, HEADER_BYTES_MAX, KEY_ID_BYTES_MAX, RECIPIENTS_MAX,
        WRAPPED_KEY_BYTES_MAX,
    },
    padding,
};

/// Tag 96, in its shortest form: how every sealed payload begins.
const TAG: [u8; 2] = [0xd8, 0x60];
/// A256GCM (RFC 9053 §4.1).
const A256GCM: i64 = 3;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

// Labels of header parameters (RFC 9052 §3.1, the draft §5, and one of private use).
const ALG: i64 = 1;
const CRIT: i64 = 2;
const KID: i64 = 4;
const IV: i64 = 5;
const EK: i64 = -4;
const PADDED: i64 = -65_537;

/// Whether a payload says of itself that it is sealed, as [`seal`] writes it: SenML in CBOR begins with an array, and
/// SenML in JSON with `[`.
pub fn is_sealed(payload: &[u8]) -> bool {
    payload.starts_with(&TAG)
}

/// Seals to every one of `recipients`; opened only with the same `aad`.
pub fn seal(
    plaintext: &[u8],
    aad: &[u8],
    recipients: &[Recipient],
    padding: Padding,
) -> Result<Vec<u8>, SealFailure> {
    if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
        return Err(SealFailure::Recipients { found: recipients.len() });
    }
    let mut content = padding::padded(plaintext, padding, TAG_BYTES);
    if content.len() > CIPHERTEXT_BYTES_MAX - TAG_BYTES {
        return Err(SealFailure::TooLong { found: plaintext.len() });
    }
    // The key is fresh and seals this one message, so that its nonce cannot repeat.
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let mut iv = [0; NONCE_LEN];
    rand::fill(key.as_mut_slice()).map_err(|_| SealFailure::NoRandomness)?;
    rand::fill(&mut iv).map_err(|_| SealFailure::NoRandomness)?;
    let padded = padding == Padding::SizeClasses;
    let aad = enc_structure(&content_header(padded), aad);
    let cipher = content_cipher(key.as_slice()).ok_or(SealFailure::Refused)?;
    cipher
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), &mut *content)
        .map_err(|_| SealFailure::Refused)?;
    let mut keys = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let header = key_header(recipient.kem().algorithm(), recipient.id().as_bytes());
        let info = recipient_structure(A256GCM, &header, &[]);
        let (encapsulated, wrapped) =
            recipient.seal(&info, &[], key.as_slice()).ok_or(SealFailure::Refused)?;
        keys.push((recipient, encapsulated, wrapped));
    }
    let keys = keys.iter().map(|(recipient, encapsulated, wrapped)| SealedKey {
        algorithm: recipient.kem().algorithm(),
        id: recipient.id_bytes(),
        encapsulated,
        wrapped,
    });
    Ok(Sealed { padded, iv, ciphertext: &content, keys: keys.collect() }.encode())
}

/// Opens what [`seal`] made for this key, with the same `aad`.
pub fn open(bytes: &[u8], aad: &[u8], opener: &Opener) -> Result<Zeroizing<Vec<u8>>, OpenFailure> {
    Sealed::decode(bytes)?.open(aad, opener)
}

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealFailure {
    /// None, or too many to seal to.
    #[error("there are {found} recipients, and 1 to {RECIPIENTS_MAX} are taken")]
    Recipients {
        /// How many.
        found: usize,
    },
    /// More than is sealed in one piece.
    #[error("{found} bytes are more than the {CIPHERTEXT_BYTES_MAX} that are sealed in one piece")]
    TooLong {
        /// How many.
        found: usize,
    },
    /// The generator of random numbers failed.
    #[error("the generator of random numbers failed")]
    NoRandomness,
    /// The cryptographic library refused, which it does not do with keys that were checked.
    #[error("the cryptographic library refused to seal")]
    Refused,
}

/// Why bytes are not a sealed message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSealed {
    /// It does not begin with tag 96.
    #[error("does not begin as COSE_Encrypt does (D8 60)")]
    NotSealed,
    /// Cut off, or not CBOR as we write it.
    #[error("{0}")]
    Cbor(#[from] InvalidCbor),
    /// A header that we do not know or that is not in its place.
    #[error("has a header with {found} where {expected} is expected")]
    Header {
        /// The label, or the number behind it.
        found: i128,
        /// What has to be there.
        expected: &'static str,
    },
    /// Too short to hold a tag.
    #[error("has a ciphertext of {found} bytes, which is shorter than its tag")]
    TooShort {
        /// How many bytes.
        found: usize,
    },
    /// Nobody can open it.
    #[error("has no recipient")]
    NoRecipient,
}

/// Why a sealed message stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenFailure {
    /// Not a sealed message.
    #[error("it is not a sealed message: {0}")]
    Invalid(#[from] InvalidSealed),
    /// Sealed to others.
    #[error("it is sealed to other keys ({others}), and this is {ours}")]
    NotForThisKey {
        /// The key that was to open it.
        ours: KeyId,
        /// The names of those that can, in hexadecimal.
        others: String,
    },
    /// The key fits in name, but the content key does not come out.
    #[error(
        "it names this key, and yet does not open with it: it was altered, or another key has the same name"
    )]
    KeyRefused,
    /// The content key came out, and the content does not fit.
    #[error("it was altered, or it belongs to another tenant, device or topic")]
    ContentRefused,
    /// The padding is wrong, which only its sender can have done.
    #[error("its sender padded it wrongly")]
    Padding,
}

/// A content key on its way to one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedKey<'a> {
    /// The COSE algorithm.
    pub algorithm: i64,
    /// The name of the recipient's key.
    pub id: &'a [u8],
    /// What the recipient finds the wrapping key with: `enc` of RFC 9180.
    pub encapsulated: &'a [u8],
    /// The content key.
    pub wrapped: &'a [u8],
}

/// A sealed message, taken apart and still closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// Whether its plaintext is padded.
    pub padded: bool,
    /// The nonce of the content.
    pub iv: [u8; NONCE_LEN],
    /// The content, with its tag.
    pub ciphertext: &'a [u8],
    /// The content key, once for each recipient.
    pub keys: Vec<SealedKey<'a>>,
}

impl<'a> Sealed<'a> {
    /// Takes apart what [`Self::encode`] put together, and nothing else.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InvalidSealed> {
        let rest = bytes.strip_prefix(&TAG).ok_or(InvalidSealed::NotSealed)?;
        let mut reader = Reader::strict(rest);
        reader.tuple(4)?;
        let padded = read_content_header(reader.bytes(HEADER_BYTES_MAX)?)?;
        expect_map(&mut reader, 1)?;
        expect_label(&mut reader, IV, "the nonce (5)")?;
        let iv = reader.array_of_bytes()?;
        let ciphertext = reader.bytes(CIPHERTEXT_BYTES_MAX)?;
        if ciphertext.len() < TAG_BYTES {
            return Err(InvalidSealed::TooShort { found: ciphertext.len() });
        }
        let mut items = reader.array(RECIPIENTS_MAX)?;
        let mut keys = Vec::with_capacity(items.announced().unwrap_or_default());
        while reader.more(&mut items)? {
            keys.push(read_key(&mut reader)?);
        }
        reader.finish()?;
        if keys.is_empty() {
            return Err(InvalidSealed::NoRecipient);
        }
        Ok(Self { padded, iv, ciphertext, keys })
    }

    /// The message as it travels (RFC 9052 §5.1), in deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        let keys: usize =
            self.keys.iter().map(|key| key.id.len() + key.encapsulated.len() + key.wrapped.len() + 24).sum();
        let mut out = Vec::with_capacity(self.ciphertext.len() + keys + 64);
        out.extend_from_slice(&TAG);
        let mut out = Writer::new(out);
        out.array(4).bytes(&content_header(self.padded));
        out.map(1).integer(IV).bytes(&self.iv);
        out.bytes(self.ciphertext);
        out.array(self.keys.len());
        for key in &self.keys {
            out.array(3).bytes(&key_header(key.algorithm, key.id));
            out.map(1).integer(EK).bytes(key.encapsulated);
            out.bytes(key.wrapped);
        }
        out.into_bytes()
    }

    /// The plaintext, when it was sealed to this key and with this `aad`.
    pub fn open(&self, aad: &[u8], opener: &Opener) -> Result<Zeroizing<Vec<u8>>, OpenFailure> {
        let recipient = opener.recipient();
        let (algorithm, id) = (recipient.kem().algorithm(), recipient.id());
        let ours = self.keys.iter().find(|key| key.algorithm == algorithm && key.id == id.as_bytes());
        let Some(ours) = ours else {
            let names: Vec<_> = self.keys.iter().map(|key| data_encoding::HEXLOWER.encode(key.id)).collect();
            return Err(OpenFailure::NotForThisKey { ours: id, others: names.join(", ") });
        };
        let key = ours.content_key(A256GCM, [&[], &[]], opener).ok_or(OpenFailure::KeyRefused)?;
        let cipher = content_cipher(&key).ok_or(OpenFailure::KeyRefused)?;
        let aad = enc_structure(&content_header(self.padded), aad);
        let mut content = Zeroizing::new(self.ciphertext.to_vec());
        let opened = cipher
            .open_in_place(Nonce::assume_unique_for_key(self.iv), Aad::from(aad), &mut content)
            .map_err(|_| OpenFailure::ContentRefused)?;
        let length = if self.padded {
            padding::unpadded_length(opened).ok_or(OpenFailure::Padding)?
        } else {
            opened.len()
        };
        content.truncate(length);
        Ok(content)
    }
}

impl SealedKey<'_> {
    /// The content key, for use with `next_algorithm` only (the draft §3.3.1). The extra info and the associated data of
    /// HPKE are empty in what we seal; the draft's vectors have both.
    pub(crate) fn content_key(
        &self,
        next: i64,
        extra: [&[u8]; 2],
        opener: &Opener,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let [info, aad] = extra;
        let info = recipient_structure(next, &key_header(self.algorithm, self.id), info);
        opener.open(self.encapsulated, &info, aad, self.wrapped)
    }
}

fn content_cipher(key: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

/// What the content is authenticated with (RFC 9052 §5.3).
fn enc_structure(protected: &[u8], external: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.array(3).text("Encrypt").bytes(protected).bytes(external);
    out.into_bytes()
}

/// What the content key is bound to (the draft §3.3.1).
fn recipient_structure(next_algorithm: i64, protected: &[u8], extra: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.array(4).text("HPKE Recipient").integer(next_algorithm).bytes(protected).bytes(extra);
    out.into_bytes()
}

fn content_header(padded: bool) -> Vec<u8> {
    let mut out = Writer::default();
    out.map(if padded { 3 } else { 1 }).integer(ALG).integer(A256GCM);
    if padded {
        // Whoever does not know the padding must not take it for content (RFC 9052 §3.1, crit).
        out.integer(CRIT).array(1).integer(PADDED).integer(PADDED).boolean(true);
    }
    out.into_bytes()
}

fn read_content_header(bytes: &[u8]) -> Result<bool, InvalidSealed> {
    let [plain, padded] = [false, true].map(content_header);
    if bytes == plain {
        return Ok(false);
    }
    if bytes == padded {
        return Ok(true);
    }
    let mut reader = Reader::strict(bytes);
    reader.map(3)?;
    expect_label(&mut reader, ALG, "the algorithm (1)")?;
    expect_label(&mut reader, A256GCM, "AES-256-GCM (3)")?;
    expect_label(&mut reader, CRIT, "nothing, or the padding (2)")?;
    Err(InvalidSealed::Header {
        found: CRIT.into(),
        expected: "nothing, or the padding (2: [-65537], -65537: true)",
    })
}

fn key_header(algorithm: i64, id: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.map(2).integer(ALG).integer(algorithm).integer(KID).bytes(id);
    out.into_bytes()
}

pub(crate) fn read_key<'a>(reader: &mut Reader<'a>) -> Result<SealedKey<'a>, InvalidSealed> {
    reader.tuple(3)?;
    let mut header = Reader::strict(reader.bytes(HEADER_BYTES_MAX)?);
    expect_map(&mut header, 2)?;
    expect_label(&mut header, ALG, "the algorithm (1)")?;
    let found = header.integer()?;
    let algorithm = i64::try_from(found)
        .map_err(|_| InvalidSealed::Header { found, expected: "an algorithm of a recipient" })?;
    expect_label(&mut header, KID, "the name of the key (4)")?;
    let id = header.bytes(KEY_ID_BYTES_MAX)?;
    header.finish()?;
    expect_map(reader, 1)?;
    expect_label(reader, EK, "the encapsulated secret (-4)")?;
    let encapsulated = reader.bytes(ENCAPSULATED_BYTES_MAX)?;
    let wrapped = reader.bytes(WRAPPED_KEY_BYTES_MAX)?;
    Ok(SealedKey { algorithm, id, encapsulated, wrapped })
}

fn expect_map(reader: &mut Reader<'_>, pairs: usize) -> Result<(), InvalidSealed> {
    match reader.map(pairs)?.announced() {
        Some(found) if found == pairs => Ok(()),
        found => {
            let found = found.and_then(|found| u64::try_from(found).ok()).unwrap_or_default();
            Err(InvalidCbor::WrongSize { found, expected: pairs }.into())
        }
    }
}

fn expect_label(reader: &mut Reader<'_>, label: i64, expected: &'static str) -> Result<(), InvalidSealed> {
    match reader.integer()? {
        found if found == i128::from(label) => Ok(()),
        found => Err(InvalidSealed::Header { found, expected }),
    }
}
