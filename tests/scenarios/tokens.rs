//! Users who call the API with a token: of an issuer that the hub trusts, and of a login with a hardware key. Keys are made
//! and used by `openssl`; there is no network but loopback.

use std::fs;

use serde_json::{Value, json};

use crate::people::Place;

/// Base64url without padding (RFC 4648 §5).
fn b64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let letter = (bits >> (18 - 6 * place)) & 63;
            let letter = LETTERS.get(usize::try_from(letter).expect("six bits"));
            text.push(char::from(*letter.expect("one of 64")));
        }
    }
    text
}

fn unb64(text: &str) -> Vec<u8> {
    let six = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let bits =
            chunk.iter().fold(0_u32, |bits, c| (bits << 6) | u32::from(six(*c))) << (6 * (4 - chunk.len()));
        bytes.extend(bits.to_be_bytes().get(1..chunk.len()).expect("2 to 4 characters"));
    }
    bytes
}

impl Place {
    /// Calls the API and gives status and body.
    fn call(&self, method: &str, path: &str, who: &str, body: Option<&Value>) -> (u16, Value) {
        let body = match body {
            Some(body) => {
                fs::write(self.path("body.json"), body.to_string()).expect("written");
                "-H 'Content-Type: application/json' --data-binary @body.json"
            }
            None => "",
        };
        let said = self.does(&format!(
            "curl -sS -X {method} --cacert ca.pem {who} {body} -w '\\n%{{http_code}}' $API/api/v1/{path}"
        ));
        let (body, status) = said.trim_end().rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn signed(&self, key: &str, bytes: &[u8]) -> Vec<u8> {
        fs::write(self.path("to-sign"), bytes).expect("written");
        self.does(&format!("openssl dgst -sha256 -sign {key} -out signature to-sign"));
        fs::read(self.path("signature")).expect("signed")
    }

    fn sha256(&self, bytes: &[u8]) -> Vec<u8> {
        fs::write(self.path("to-hash"), bytes).expect("written");
        self.does("openssl dgst -sha256 -binary -out hash to-hash");
        fs::read(self.path("hash")).expect("hashed")
    }

    fn now_s(&self) -> u64 {
        self.does("date +%s").trim().parse().expect("a number")
    }
}

#[test]
fn a_user_calls_with_the_token_of_an_issuer_that_is_trusted_for_its_tenant() {
    let mut place = Place::prepare();
    place.does("openssl genrsa -out issuer.key 2048 && openssl rsa -in issuer.key -noout -modulus > modulus");
    let hex = fs::read_to_string(place.path("modulus")).expect("a modulus");
    let hex = hex.trim().strip_prefix("Modulus=").expect("openssl's form").as_bytes().to_vec();
    let modulus: Vec<u8> = hex
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
        .collect();
    let keys = json!({ "keys": [{ "kty": "RSA", "kid": "1", "n": b64(&modulus), "e": "AQAB" }] });
    fs::write(place.hub.folder().join("issuer.json"), keys.to_string()).expect("written");
    let config = place.hub.folder().join("muster.toml");
    let text = fs::read_to_string(&config).expect("a configuration")
        + "\n[[oidc]]\nissuer = \"https://login.example\"\naudience = \"muster\"\njwks_file = \"issuer.json\"\n\
           tenants = [\"acme\"]\n";
    fs::write(&config, text).expect("written");
    place.begin();

    let token = |claims: Value, alg: &str| {
        let header = json!({ "alg": alg, "kid": "1" }).to_string();
        let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.to_string().as_bytes()));
        let signature =
            if alg == "none" { Vec::new() } else { place.signed("issuer.key", signed.as_bytes()) };
        format!("-H 'Authorization: Bearer {signed}.{}'", b64(&signature))
    };
    let now_s = place.now_s();
    let claims = json!({ "iss": "https://login.example", "aud": "muster", "sub": "ann", "exp": now_s + 600 });
    let devices =
        |tenant: &str, who: &str| place.call("GET", &format!("tenants/{tenant}/devices"), who, None);
    let ann = token(claims, "RS256");
    let (status, said) = devices("acme", &ann);
    assert_eq!((status, &said["error"]["code"]), (401, &json!("unknown")), "the registry knows no ann yet");
    place
        .hub
        .operate(&["user", "create", "--tenant", "acme", "ann", "--without-certificate"])
        .expect("registered");
    assert_eq!(devices("acme", &ann), (200, json!([])));
    assert_eq!(devices("globex", &ann).0, 404, "another tenant's");
    assert_eq!(place.call("GET", "tenants", &ann, None).0, 403, "no operator");
    for (wrong, alg) in [
        (
            json!({ "iss": "https://login.example", "aud": "muster", "sub": "ann", "exp": now_s + 600 }),
            "none",
        ),
        (
            json!({ "iss": "https://evil.example", "aud": "muster", "sub": "ann", "exp": now_s + 600 }),
            "RS256",
        ),
        (
            json!({ "iss": "https://login.example", "aud": "other", "sub": "ann", "exp": now_s + 600 }),
            "RS256",
        ),
        (
            json!({ "iss": "https://login.example", "aud": "muster", "sub": "ann", "exp": now_s - 60 }),
            "RS256",
        ),
    ] {
        let (status, said) = devices("acme", &token(wrong, alg));
        assert_eq!((status, &said["error"]["code"]), (401, &json!("token_refused")), "{said}");
    }
    // The token is good for ten minutes; its user is not any more, at the next call.
    place.hub.operate(&["user", "remove", "--tenant", "acme", "ann"]).expect("removed");
    assert_eq!(devices("acme", &ann).0, 401);
}

/// An authenticator whose key is in a file.
struct Authenticator<'a> {
    place: &'a Place,
    name: &'a str,
}

impl Authenticator<'_> {
    const ORIGIN: &'static str = "https://localhost:8443";

    fn point(&self) -> (Vec<u8>, Vec<u8>) {
        let Self { place, name } = self;
        place.does(&format!(
            "openssl ecparam -name prime256v1 -genkey -noout -out {name}.pem && openssl ec -in {name}.pem -pubout \
             -outform DER -out {name}.der"
        ));
        let der = fs::read(place.path(&format!("{name}.der"))).expect("a public key");
        let point = der.get(der.len() - 64..).expect("its end is the point");
        let (x, y) = point.split_at(32);
        (x.to_vec(), y.to_vec())
    }

    fn id(&self) -> Vec<u8> {
        self.place.sha256(self.name.as_bytes())
    }

    fn said(&self, flags: u8, counter: u32) -> Vec<u8> {
        [self.place.sha256(b"localhost"), vec![flags], counter.to_be_bytes().to_vec()].concat()
    }

    fn client(ceremony: &str, challenge: &str, origin: &str) -> String {
        json!({ "type": ceremony, "challenge": challenge, "origin": origin, "crossOrigin": false })
            .to_string()
    }

    fn register(&self, who: &str) -> (u16, Value) {
        let begun = self.place.call("POST", "webauthn/register/begin", who, None);
        let challenge = begun.1.get("challenge").and_then(Value::as_str);
        let challenge = challenge.unwrap_or_else(|| panic!("{begun:?}"));
        let (x, y) = self.point();
        let cose =
            [&[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20][..], &x, &[0x22, 0x58, 0x20], &y];
        let attested = [self.said(0x45, 0), vec![0; 16], vec![0, 32], self.id(), cose.concat()].concat();
        let length = u8::try_from(attested.len()).expect("short");
        let statement =
            [b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".as_slice(), &[length], &attested].concat();
        let body = json!({
            "name": self.name, "challenge": challenge, "attestation_object": b64(&statement),
            "client_data_json": b64(Self::client("webauthn.create", challenge, Self::ORIGIN).as_bytes()),
        });
        self.place.call("POST", "webauthn/register/finish", who, Some(&body))
    }

    fn answer(&self, user: &str, challenge: &str, origin: &str, counter: u32) -> Value {
        let client = Self::client("webauthn.get", challenge, origin);
        let said = self.said(0x05, counter);
        let to_sign = [said.clone(), self.place.sha256(client.as_bytes())].concat();
        let signature = self.place.signed(&format!("{}.pem", self.name), &to_sign);
        json!({
            "tenant": "acme", "user": user, "credential_id": b64(&self.id()), "challenge": challenge,
            "client_data_json": b64(client.as_bytes()), "authenticator_data": b64(&said),
            "signature": b64(&signature),
        })
    }
}

#[test]
fn a_user_logs_in_with_a_hardware_key_and_no_answer_is_good_twice() {
    let mut place = Place::prepare();
    place.hub.set("MUSTER__WEBAUTHN__RP_ID", "localhost");
    place.hub.set("MUSTER__WEBAUTHN__ORIGINS", Authenticator::ORIGIN);
    place.begin();
    for name in ["ann", "bob"] {
        place.self_signed(name, 30);
        let file = place.path(&format!("{name}.crt")).display().to_string();
        place.hub.operate(&["user", "create", "--tenant", "acme", name, "--pin", &file]).expect("pinned");
    }
    let by_certificate = |name: &str| format!("--cert {name}.crt --key {name}.key");
    let [ann, bob] = ["blue", "red"].map(|name| Authenticator { place: &place, name });
    for (key, user) in [(&ann, "ann"), (&bob, "bob")] {
        let (status, made) = key.register(&by_certificate(user));
        assert_eq!(status, 201, "{made}");
    }

    let begin = |user: &str| {
        let who = json!({ "tenant": "acme", "user": user });
        let (status, begun) = place.call("POST", "webauthn/login/begin", "", Some(&who));
        assert_eq!(status, 200, "{begun}");
        begun
    };
    let challenge = |user: &str| begin(user)["challenge"].as_str().expect("a challenge").to_owned();
    let finish = |answer: &Value| place.call("POST", "webauthn/login/finish", "", Some(answer));
    let refused = |answer: &Value, why: &str| {
        let (status, said) = finish(answer);
        assert_eq!(status, 401, "{said}");
        assert!(said["error"]["why"].as_str().is_some_and(|text| text.contains(why)), "{why}: {said}");
    };
    // Who is not there looks like somebody.
    assert_eq!(begin("nobody")["credential_ids"].as_array().map(Vec::len), Some(1));
    assert_eq!(begin("nobody")["credential_ids"], begin("nobody")["credential_ids"]);

    let good = ann.answer("ann", &challenge("ann"), Authenticator::ORIGIN, 5);
    let (status, session) = finish(&good);
    assert_eq!(status, 200, "{session}");
    refused(&good, "answered before");
    let with = |session: &Value| {
        format!("-H 'Authorization: Bearer {}'", session["token"].as_str().expect("a token"))
    };
    let session = with(&session);
    let devices = || place.call("GET", "tenants/acme/devices", &session, None);
    assert_eq!(devices(), (200, json!([])));

    let answer = |counter| ann.answer("ann", &challenge("ann"), Authenticator::ORIGIN, counter);
    refused(&answer(5), "counts back");
    refused(&answer(1), "counts back");
    refused(&ann.answer("ann", &challenge("ann"), "https://evil.example", 6), "page");
    refused(&ann.answer("bob", &challenge("bob"), Authenticator::ORIGIN, 6), "not one of this user's");
    refused(&bob.answer("ann", &challenge("ann"), Authenticator::ORIGIN, 6), "not one of this user's");
    refused(&ann.answer("ann", &challenge("bob"), Authenticator::ORIGIN, 6), "challenge");
    refused(&ann.answer("ann", &b64(&[7; 56]), Authenticator::ORIGIN, 6), "challenge");
    let mut forged = answer(6);
    forged["signature"] = bob.answer("ann", &challenge("ann"), Authenticator::ORIGIN, 6)["signature"].clone();
    refused(&forged, "signature");
    assert_eq!(finish(&answer(6)).0, 200, "none of this has spoilt the key");

    // The session lives no longer than the key, nor than the hub.
    let id = b64(&ann.id());
    assert_eq!(unb64(&id), ann.id());
    assert_eq!(place.call("DELETE", &format!("webauthn/keys/{id}"), &by_certificate("bob"), None).0, 404);
    assert_eq!(place.call("DELETE", &format!("webauthn/keys/{id}"), &session, None).0, 200);
    let (status, said) = devices();
    assert_eq!((status, &said["error"]["code"]), (401, &json!("key_refused")));
    assert_eq!(ann.register(&by_certificate("ann")).0, 201);
}
