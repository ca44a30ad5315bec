//! The trust object: the bytes in which an installation says which authorities it has and which certificates of hubs and
//! relays are revoked. See `cddl/trust.cddl`. Not for believing it: whose signature it is says `muster-trust`.

use crate::{
    InvalidPrincipal, TrustDomain,
    cbor::{InvalidCbor, Reader, Writer},
    limits::{
        ENROLMENT_CERTIFICATE_BYTES_MAX, TRUST_AUTHORITIES_MAX, TRUST_CHAIN_CERTIFICATES_MAX,
        TRUST_DOMAIN_BYTES_MAX, TRUST_OBJECT_BYTES_MAX, TRUST_REVOKED_MAX, TRUST_SIGNATURE_BYTES_MAX,
    },
};

/// The application protocol (RFC 7301) over which a hub sends its trust object to whoever connects, and closes.
pub const ALPN: &[u8] = b"muster-trust/1";
/// What a signature is over, before the body: a signature of something else is none of this.
pub const SIGNED_PREFIX: &[u8] = b"muster-trust-v1\0";

const FORMAT: u64 = 1;
/// Longest name of a role, in bytes.
const ROLE_BYTES_MAX: usize = 16;

/// The object as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTrust {
    /// A [`Trust`], encoded.
    pub body: Vec<u8>,
    /// Who signed: its certificate, and what ties it to the root. DER.
    pub chain: Vec<Vec<u8>>,
    /// Over [`SIGNED_PREFIX`] and the body.
    pub signature: Vec<u8>,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The installation.
    pub trust_domain: TrustDomain,
    /// Grows with each; a reader refuses a lower one than it has.
    pub version: u64,
    /// When it was made, Unix seconds.
    pub created_s: u64,
    /// When there should be a fresher one, Unix seconds.
    pub expires_s: u64,
    /// SHA-256 of the root's certificate.
    pub root_sha256: [u8; 32],
    /// The authorities below the root: the name of the role, and the certificate in DER.
    pub authorities: Vec<(String, Vec<u8>)>,
    /// Serial numbers of revoked certificates, ascending.
    pub revoked: Vec<[u8; 16]>,
}

/// Why bytes are no trust object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTrust {
    /// Longer than any may be.
    #[error("is longer than {TRUST_OBJECT_BYTES_MAX} bytes")]
    TooLong,
    /// Not the CBOR that it should be.
    #[error(transparent)]
    Cbor(#[from] InvalidCbor),
    /// A format that this version does not know.
    #[error("has the format {0}, which this version does not know")]
    Format(u64),
    /// No name of an installation.
    #[error(transparent)]
    TrustDomain(#[from] InvalidPrincipal),
    /// Serial numbers that repeat or are out of order.
    #[error("lists revoked certificates that are not in ascending order")]
    Order,
}

impl SignedTrust {
    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(3).unsigned(0).bytes(&self.body);
        w.unsigned(1).array(self.chain.len());
        for certificate in &self.chain {
            w.bytes(certificate);
        }
        w.unsigned(2).bytes(&self.signature);
        w.into_bytes()
    }

    /// Reads the bytes that travelled.
    ///
    /// # Errors
    /// They are no such object.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidTrust> {
        if bytes.len() > TRUST_OBJECT_BYTES_MAX {
            return Err(InvalidTrust::TooLong);
        }
        let mut r = Reader::strict(bytes);
        let mut fields = r.fields(3)?;
        fields.require(&mut r, 0)?;
        let body = r.bytes(TRUST_OBJECT_BYTES_MAX)?.to_vec();
        fields.require(&mut r, 1)?;
        let mut items = r.array(TRUST_CHAIN_CERTIFICATES_MAX)?;
        let mut chain = Vec::new();
        while r.more(&mut items)? {
            chain.push(r.bytes(ENROLMENT_CERTIFICATE_BYTES_MAX)?.to_vec());
        }
        fields.require(&mut r, 2)?;
        let signature = r.bytes(TRUST_SIGNATURE_BYTES_MAX)?.to_vec();
        fields.end(&mut r)?;
        r.finish()?;
        Ok(Self { body, chain, signature })
    }

    /// What the signature is over.
    pub fn signed_bytes(body: &[u8]) -> Vec<u8> {
        [SIGNED_PREFIX, body].concat()
    }
}

impl Trust {
    /// The bytes that are signed, without their prefix.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(8).unsigned(0).unsigned(FORMAT);
        w.unsigned(1).text(self.trust_domain.as_str());
        w.unsigned(2).unsigned(self.version);
        w.unsigned(3).unsigned(self.created_s);
        w.unsigned(4).unsigned(self.expires_s);
        w.unsigned(5).bytes(&self.root_sha256);
        w.unsigned(6).array(self.authorities.len());
        for (role, certificate) in &self.authorities {
            w.array(2).text(role).bytes(certificate);
        }
        w.unsigned(7).array(self.revoked.len());
        for serial in &self.revoked {
            w.bytes(serial);
        }
        w.into_bytes()
    }

    /// Reads the bytes that were signed.
    ///
    /// # Errors
    /// They are no such thing.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidTrust> {
        let mut r = Reader::strict(bytes);
        let mut fields = r.fields(8)?;
        fields.require(&mut r, 0)?;
        match r.unsigned(u64::MAX)? {
            FORMAT => {}
            other => return Err(InvalidTrust::Format(other)),
        }
        fields.require(&mut r, 1)?;
        let trust_domain = r.text(TRUST_DOMAIN_BYTES_MAX)?.parse()?;
        fields.require(&mut r, 2)?;
        let version = r.unsigned(u64::MAX)?;
        fields.require(&mut r, 3)?;
        let created_s = r.unsigned(u64::MAX)?;
        fields.require(&mut r, 4)?;
        let expires_s = r.unsigned(u64::MAX)?;
        fields.require(&mut r, 5)?;
        let root_sha256 = r.array_of_bytes()?;
        fields.require(&mut r, 6)?;
        let mut items = r.array(TRUST_AUTHORITIES_MAX)?;
        let mut authorities = Vec::new();
        while r.more(&mut items)? {
            r.tuple(2)?;
            let role = r.text(ROLE_BYTES_MAX)?.to_owned();
            authorities.push((role, r.bytes(ENROLMENT_CERTIFICATE_BYTES_MAX)?.to_vec()));
        }
        fields.require(&mut r, 7)?;
        let mut items = r.array(TRUST_REVOKED_MAX)?;
        let mut revoked: Vec<[u8; 16]> = Vec::new();
        while r.more(&mut items)? {
            let serial = r.array_of_bytes()?;
            if revoked.last().is_some_and(|last| *last >= serial) {
                return Err(InvalidTrust::Order);
            }
            revoked.push(serial);
        }
        fields.end(&mut r)?;
        r.finish()?;
        Ok(Self { trust_domain, version, created_s, expires_s, root_sha256, authorities, revoked })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(revoked: usize) -> SignedTrust {
        let serial = |n: usize| (n as u128 + 1).to_be_bytes();
        let body = Trust {
            trust_domain: "muster.example".parse().expect("domain"),
            version: 1_769_904_000,
            created_s: 1_769_904_000,
            expires_s: 1_770_508_800,
            root_sha256: [7; 32],
            authorities: vec![("server".to_owned(), vec![1; 400]), ("device".to_owned(), vec![2; 400])],
            revoked: (0..revoked).map(serial).collect(),
        };
        SignedTrust { body: body.encode(), chain: vec![vec![3; 400], vec![4; 400]], signature: vec![5; 70] }
    }

    #[test]
    fn an_object_survives_its_journey_whole_and_no_part_of_it_does() {
        for revoked in [0, 1, 100] {
            let signed = sample(revoked);
            let bytes = signed.encode();
            assert_eq!(SignedTrust::decode(&bytes), Ok(signed.clone()));
            let trust = Trust::decode(&signed.body).expect("what was encoded");
            assert_eq!(trust.encode(), signed.body);
            for cut in 0..bytes.len() {
                assert!(SignedTrust::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            for cut in 0..signed.body.len() {
                assert!(Trust::decode(&signed.body[..cut]).is_err(), "cut at {cut}");
            }
            assert!(SignedTrust::decode(&[bytes.as_slice(), &[0]].concat()).is_err(), "something follows");
        }
    }

    #[test]
    fn the_largest_object_fits() {
        let mut trust = Trust::decode(&sample(TRUST_REVOKED_MAX).body).expect("at the bound");
        trust.authorities = vec![("software".to_owned(), vec![9; 1_024]); TRUST_AUTHORITIES_MAX];
        let signed = SignedTrust { body: trust.encode(), ..sample(0) };
        assert!(signed.encode().len() <= TRUST_OBJECT_BYTES_MAX);
        trust.revoked.push([0xff; 16]);
        assert!(Trust::decode(&trust.encode()).is_err(), "one more");
    }

    #[test]
    fn serial_numbers_out_of_order_and_unknown_formats_are_refused() {
        let mut trust = Trust::decode(&sample(2).body).expect("a sample");
        trust.revoked.reverse();
        assert_eq!(Trust::decode(&trust.encode()), Err(InvalidTrust::Order));
        trust.revoked = vec![[1; 16]; 2];
        assert_eq!(Trust::decode(&trust.encode()), Err(InvalidTrust::Order));
        let mut next = sample(0).body;
        next[2] = 2;
        assert_eq!(Trust::decode(&next), Err(InvalidTrust::Format(2)));
    }
}
