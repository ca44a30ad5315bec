//! Keys that stay in a PKCS #11 token: a smart card, an HSM, or SoftHSM in tests. Named by a URI (RFC 7512).

use std::path::Path;

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use muster_suit::{POINT_BYTES, PublicKey, SignFailure, Signature, Signer};
use zeroize::Zeroizing;

use crate::{complaint::Complaint, file};

/// What names P-256 in a token: its object identifier, DER (RFC 5480 §2.1.1.1).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Longest PIN, in bytes.
const PIN_BYTES_MAX: usize = 256;
/// The variable that may hold the PIN.
const PIN: &str = "MUSTER_SIGN_PIN";

/// A key in a token.
pub struct TokenKey {
    session: Session,
    private: ObjectHandle,
    public: PublicKey,
}

/// What a URI says.
#[derive(Debug, Default)]
struct Named {
    token: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: Option<String>,
    pin_source: Option<String>,
}

impl Named {
    fn parse(uri: &str) -> Result<Self, Complaint> {
        let invalid = |why: &str| Complaint::Usage(format!("the key {uri} {why}"));
        let rest = uri.strip_prefix("pkcs11:").ok_or_else(|| invalid("is no pkcs11: URI"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut named = Self::default();
        for part in path.split(';').chain(query.split('&')).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| invalid("has a part without '='"))?;
            let value =
                percent_decoded(value).ok_or_else(|| invalid("has a '%' without two digits after it"))?;
            let text = || String::from_utf8(value.clone()).map_err(|_| invalid("has text that is not UTF-8"));
            match name {
                "token" => named.token = Some(text()?),
                "object" => named.object = Some(text()?),
                "id" => named.id = Some(value),
                "module-path" => named.module = Some(text()?),
                "pin-source" => named.pin_source = Some(text()?),
                "type" => {}
                "pin-value" => {
                    let why = format!("has a PIN in it, which others see; use &pin-source=FILE or {PIN}");
                    return Err(Complaint::Usage(format!(
                        "the key {} {why}",
                        uri.split('?').next().unwrap_or_default()
                    )));
                }
                _ => {
                    return Err(invalid(
                        "has a part other than token, object, id, module-path and pin-source",
                    ));
                }
            }
        }
        if named.object.is_none() && named.id.is_none() {
            return Err(invalid("names no key: add object=NAME or id=%01"));
        }
        if named.module.is_none() {
            return Err(invalid("names no library: add ?module-path=FILE, which your token came with"));
        }
        Ok(named)
    }

    fn pin(&self) -> Result<AuthPin, Complaint> {
        if let Some(source) = &self.pin_source {
            let path = Path::new(source.strip_prefix("file:").unwrap_or(source));
            let bytes = Zeroizing::new(file::read(path, PIN_BYTES_MAX)?);
            let text = std::str::from_utf8(&bytes).map_err(|_| token("the PIN is not UTF-8"))?;
            return Ok(AuthPin::from(text.trim_end_matches(['\r', '\n'])));
        }
        match std::env::var(PIN) {
            Ok(pin) => Ok(AuthPin::from(pin)),
            Err(_) => {
                Err(Complaint::Usage(format!("the token wants a PIN: set {PIN}, or add &pin-source=FILE")))
            }
        }
    }

    fn template(&self, class: ObjectClass) -> Vec<Attribute> {
        let mut template = vec![Attribute::Class(class), Attribute::KeyType(KeyType::EC)];
        template.extend(self.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(self.id.as_ref().map(|id| Attribute::Id(id.clone())));
        template
    }

    /// A session of whoever has the PIN. The library is loaded when it is first named.
    fn session(&self, write: bool) -> Result<Session, Complaint> {
        let module = self.module.as_deref().unwrap_or_default();
        let library = Pkcs11::new(module)
            .map_err(|why| token(&format!("the library {module} cannot be loaded: {why}")))?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(why) => return Err(failed("the library does not begin", &why)),
        }
        let slots = library.get_slots_with_token().map_err(|why| failed("tokens cannot be listed", &why))?;
        let mut found = Vec::new();
        let mut labels = Vec::new();
        for slot in slots {
            let Ok(info) = library.get_token_info(slot) else { continue };
            if !info.token_initialized() {
                continue;
            }
            labels.push(info.label().to_owned());
            if self.token.as_deref().is_none_or(|label| label == info.label()) {
                found.push(slot);
            }
        }
        let [slot] = found.as_slice() else {
            let there = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
            let what = if found.is_empty() { "no such token" } else { "more than one such token" };
            return Err(token(&format!("there is {what}; there are: {there}; name one with token=NAME")));
        };
        let session = if write { library.open_rw_session(*slot) } else { library.open_ro_session(*slot) };
        let session = session.map_err(|why| failed("the token opens no session", &why))?;
        match session.login(UserType::User, Some(&self.pin()?)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(why) => Err(failed("the token does not take the PIN", &why)),
        }
    }
}

impl TokenKey {
    /// The key that a URI names.
    pub fn open(uri: &str) -> Result<Self, Complaint> {
        let named = Named::parse(uri)?;
        let session = named.session(false)?;
        let find = |class, what: &str| {
            let found = session.find_objects(&named.template(class));
            match found.map_err(|why| failed("the token does not search", &why))?.as_slice() {
                [one] => Ok(*one),
                [] => Err(token(&format!("the token has no {what} key of an elliptic curve with that name"))),
                _ => Err(token(&format!("the token has several {what} keys with that name; add id=%01"))),
            }
        };
        let private = find(ObjectClass::PRIVATE_KEY, "private")?;
        let public = public_key(&session, find(ObjectClass::PUBLIC_KEY, "public")?)?;
        Ok(Self { session, private, public })
    }

    /// A new key, which never leaves the token.
    pub fn generate(uri: &str) -> Result<Self, Complaint> {
        let named = Named::parse(uri)?;
        let session = named.session(true)?;
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            let found = session.find_objects(&named.template(class));
            if !found.map_err(|why| failed("the token does not search", &why))?.is_empty() {
                return Err(token("the token has a key with that name already, and it is left as it is"));
            }
        }
        let names = named.template(ObjectClass::PUBLIC_KEY).into_iter().skip(2);
        let mut of_public = vec![Attribute::Token(true), Attribute::Private(false), Attribute::Verify(true)];
        of_public.push(Attribute::EcParams(P256.to_vec()));
        of_public.extend(names.clone());
        let mut of_private = vec![Attribute::Token(true), Attribute::Private(true), Attribute::Sign(true)];
        of_private.extend([Attribute::Sensitive(true), Attribute::Extractable(false)]);
        of_private.extend(names);
        let (public, private) = session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &of_public, &of_private)
            .map_err(|why| failed("the token makes no key of P-256", &why))?;
        let public = public_key(&session, public)?;
        Ok(Self { session, private, public })
    }
}

impl Signer for TokenKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignFailure> {
        let failure = |why: String| SignFailure { key: self.public.id(), why };
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
        let signature = self
            .session
            .sign(&Mechanism::Ecdsa, self.private, hash.as_ref())
            .map_err(|why| failure(format!("the token says: {why}")))?;
        let signature: Signature = signature
            .try_into()
            .map_err(|_| failure("the token gave a signature of another length".into()))?;
        // A private key and a public one may bear one name and not belong together.
        if !self.public.verifies(message, &signature) {
            return Err(failure(
                "the token's private key does not belong to its public key of that name".into(),
            ));
        }
        Ok(signature)
    }
}

/// The point is a byte string in DER, or as it is, depending on the token.
fn public_key(session: &Session, object: ObjectHandle) -> Result<PublicKey, Complaint> {
    let attributes = session
        .get_attributes(object, &[AttributeType::EcPoint])
        .map_err(|why| failed("the token does not show its public key", &why))?;
    let point = attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => Some(point),
        _ => None,
    });
    let point = point.ok_or_else(|| token("the token's public key has no point"))?;
    let bare = match point.as_slice() {
        [0x04, 0x41, bare @ ..] if bare.len() == POINT_BYTES => bare,
        other => other,
    };
    PublicKey::from_point(bare).map_err(|why| token(&format!("the token's key {why}")))
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        out.extend(data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok()?);
        rest = after;
    }
    Some(out)
}

fn token(why: &str) -> Complaint {
    Complaint::Token(why.to_owned())
}

fn failed(what: &str, why: &Error) -> Complaint {
    Complaint::Token(format!("{what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_library_and_pin() {
        let uri =
            "pkcs11:token=My%20token;object=fw;id=%01%fF?module-path=/usr/lib/x.so&pin-source=file:/run/pin";
        let named = Named::parse(uri).expect("a URI");
        assert_eq!(named.token.as_deref(), Some("My token"));
        assert_eq!((named.object.as_deref(), named.id.as_deref()), (Some("fw"), Some(&[1, 0xff][..])));
        assert_eq!(named.module.as_deref(), Some("/usr/lib/x.so"));
        assert_eq!(named.pin_source.as_deref(), Some("file:/run/pin"));
    }

    #[test]
    fn what_is_not_named_or_says_its_pin_is_refused() {
        for (uri, says) in [
            ("pkcs11:token=a?module-path=/x", "names no key"),
            ("pkcs11:object=a", "names no library"),
            ("pkcs11:object=a;serial=1?module-path=/x", "a part other than"),
            ("pkcs11:object=%4?module-path=/x", "two digits"),
            ("pkcs11:object?module-path=/x", "without '='"),
        ] {
            let complaint = Named::parse(uri).expect_err(uri).to_string();
            assert!(complaint.contains(says), "{complaint}");
        }
        let complaint =
            Named::parse("pkcs11:object=a?module-path=/x&pin-value=4711").expect_err("a PIN").to_string();
        assert!(complaint.contains("which others see") && !complaint.contains("4711"), "{complaint}");
    }
}
