//! Tokens of an issuer whose keys are made here, and tokens that only look like them. No network.

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use tempfile::TempDir;

use super::*;

const NOW_S: u64 = 1_760_000_000;

/// RSA keys take a while to make.
static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(rsa::KeySize::Rsa2048).expect("a key"));

struct World {
    p256: EcdsaKeyPair,
    oidc: Oidc,
    _folder: TempDir,
}

fn b64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn p256() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")
}

fn claims() -> Value {
    json!({
        "iss": "https://login.example", "aud": "muster", "sub": "ann", "tenant": "acme",
        "iat": NOW_S - 10, "nbf": NOW_S - 10, "exp": NOW_S + 600,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut all = claims();
    all[name] = value;
    all
}

fn without(name: &str) -> Value {
    let mut all = claims();
    all.as_object_mut().expect("an object").remove(name);
    all
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()))
}

fn es256(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let signed = unsigned(header, claims);
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
    format!("{signed}.{}", b64(signature.as_ref()))
}

fn rs256(header: &Value, claims: &Value) -> String {
    let signed = unsigned(header, claims);
    let mut signature = vec![0; RSA.public_modulus_len()];
    RSA.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("signed");
    format!("{signed}.{}", b64(&signature))
}

impl World {
    fn new() -> Self {
        Self::with_users(&[])
    }

    fn with_users(users: &[(&str, &str)]) -> Self {
        let (folder, p256) = (TempDir::new().expect("a folder"), p256());
        let point = p256.public_key().as_ref();
        let rsa = RSA.public_key();
        let keys = json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "p", "use": "sig", "x": b64(&point[1..33]), "y": b64(&point[33..]) },
            { "kty": "RSA", "kid": "r", "alg": "RS256",
              "n": b64(rsa.modulus().big_endian_without_leading_zero()),
              "e": b64(rsa.exponent().big_endian_without_leading_zero()) },
            { "kty": "oct", "kid": "o", "k": "AAAA" },
            { "kty": "EC", "crv": "P-256", "kid": "e", "use": "enc", "x": b64(&point[1..33]), "y": b64(&point[33..]) },
        ]});
        let jwks_file = folder.path().join("keys.json");
        std::fs::write(&jwks_file, keys.to_string()).expect("written");
        let issuer = Issuer {
            issuer: "https://login.example".to_owned(),
            audience: "muster".to_owned(),
            jwks_file,
            tenants: vec!["acme".parse().expect("id"), "globex".parse().expect("id")],
            tenant_claim: Some("tenant".to_owned()),
            user_claim: "sub".to_owned(),
            users: users.iter().map(|(said, id)| ((*said).to_owned(), id.parse().expect("id"))).collect(),
        };
        let oidc = Oidc::new("muster.example".parse().expect("domain"), vec![issuer]).expect("a provider");
        Self { p256, oidc, _folder: folder }
    }

    fn prove(&self, token: &str) -> Result<String, String> {
        let evidence = Evidence { leaf: None, bearer: Some(token) };
        match self.oidc.prove(NOW_S, &evidence).expect("there is a token") {
            Ok(Proof::Named(principal)) => Ok(principal.to_string()),
            Ok(other) => panic!("a token is nothing else: {other:?}"),
            Err(unproved) => {
                assert!(token.len() < 20 || !unproved.why.contains(token), "a token is in no log");
                Err(unproved.why)
            }
        }
    }

    fn signed(&self, claims: &Value) -> Result<String, String> {
        self.prove(&es256(&self.p256, &json!({ "alg": "ES256", "kid": "p" }), claims))
    }
}

#[test]
fn a_token_of_a_trusted_issuer_names_a_user() {
    let world = World::new();
    let ann = Ok("spiffe://muster.example/t/acme/user/ann".to_owned());
    assert_eq!(world.signed(&claims()), ann);
    assert_eq!(world.prove(&rs256(&json!({ "alg": "RS256", "kid": "r" }), &claims())), ann);
    assert_eq!(world.signed(&with("aud", json!(["other", "muster"]))), ann);
    assert!(world.oidc.prove(NOW_S, &Evidence::default()).is_none(), "no token is nobody");
    let mapped = World::with_users(&[("auth0|1", "bob")]);
    assert_eq!(
        mapped.signed(&with("sub", json!("auth0|1"))),
        Ok("spiffe://muster.example/t/acme/user/bob".to_owned())
    );
    assert!(mapped.signed(&claims()).is_err(), "where users are listed, nobody else is one");
}

#[test]
fn a_token_that_nobody_signed_is_refused() {
    let world = World::new();
    for alg in ["none", "None", "NONE", "", "HS256", "ES384", "PS256"] {
        for kid in ["p", "r", "o"] {
            let text = unsigned(&json!({ "alg": alg, "kid": kid }), &claims());
            for signature in ["", "AAAA"] {
                assert!(world.prove(&format!("{text}.{signature}")).is_err(), "{alg} {kid}");
            }
        }
    }
    let text = unsigned(&json!({ "alg": "none" }), &claims());
    for token in [text.clone(), format!("{text}."), String::new(), ".".into(), "..".into(), "a.b.c".into()] {
        assert!(world.prove(&token).is_err(), "{token}");
    }
    assert!(world.prove(&"a".repeat(1 << 20)).is_err());
}

#[test]
fn a_token_signed_with_the_public_key_as_a_secret_is_refused() {
    // Algorithm confusion: HMAC with what everybody knows.
    let world = World::new();
    for (kid, public) in [("p", world.p256.public_key().as_ref()), ("r", RSA.public_key().as_ref())] {
        let text = unsigned(&json!({ "alg": "HS256", "kid": kid }), &claims());
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public);
        let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
        let refused = world.prove(&format!("{text}.{}", b64(tag.as_ref()))).expect_err("confused");
        assert!(refused.contains("ES256 or RS256"), "{refused}");
    }
    // And the other way about: each key only with its own algorithm.
    assert!(world.prove(&es256(&world.p256, &json!({ "alg": "RS256", "kid": "p" }), &claims())).is_err());
    assert!(world.prove(&es256(&world.p256, &json!({ "alg": "ES256", "kid": "r" }), &claims())).is_err());
    assert!(world.prove(&rs256(&json!({ "alg": "ES256", "kid": "r" }), &claims())).is_err());
}

#[test]
fn a_token_with_another_or_no_known_key_is_refused() {
    let world = World::new();
    let theirs = p256();
    let header = json!({ "alg": "ES256", "kid": "p" });
    assert!(world.prove(&es256(&theirs, &header, &claims())).expect_err("forged").contains("signature"));
    for header in [
        json!({ "alg": "ES256", "kid": "x" }),
        json!({ "alg": "ES256", "kid": "e" }),
        json!({ "alg": "ES256" }),
    ] {
        assert!(
            world.prove(&es256(&world.p256, &header, &claims())).expect_err("unknown").contains("publish")
        );
    }
    let must = json!({ "alg": "ES256", "kid": "p", "crit": ["b64"], "b64": false });
    assert!(world.prove(&es256(&world.p256, &must, &claims())).is_err());
    // What was signed is what counts: other claims under the same signature are nothing.
    let good = es256(&world.p256, &header, &claims());
    let signature = good.rsplit('.').next().expect("three parts");
    let other = unsigned(&header, &with("tenant", json!("globex")));
    assert!(world.prove(&format!("{other}.{signature}")).is_err());
}

#[test]
fn a_token_of_another_issuer_audience_or_time_is_refused() {
    let world = World::new();
    for (wrong, why) in [
        (with("iss", json!("https://login.example/")), "issuer"),
        (with("iss", json!(["https://login.example"])), "issuer"),
        (without("iss"), "issuer"),
        (with("aud", json!("other")), "audience"),
        (with("aud", json!(["other"])), "audience"),
        (without("aud"), "audience"),
        (with("exp", json!(NOW_S - 31)), "ended"),
        (with("exp", json!(0)), "ended"),
        (without("exp"), "ends"),
        (with("exp", json!("never")), "not a time"),
        (with("exp", json!(-1)), "not a time"),
        (with("exp", json!(NOW_S + 2 * 86_400)), "longer"),
        (with("nbf", json!(NOW_S + 31)), "not good yet"),
        (with("iat", json!(NOW_S + 31)), "not good yet"),
        (with("nbf", json!(null)), "not a time"),
    ] {
        let refused = world.signed(&wrong).expect_err(why);
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
    assert!(world.signed(&with("exp", json!(NOW_S - 29))).is_ok(), "clocks are a little apart");
}

#[test]
fn a_token_speaks_for_no_tenant_that_its_issuer_may_not_speak_for() {
    let world = World::new();
    for tenant in [json!("initech"), json!("operator"), json!("Acme"), json!(7), json!(["acme"]), json!("")] {
        assert!(
            world.signed(&with("tenant", tenant.clone())).expect_err("no").contains("tenant"),
            "{tenant}"
        );
    }
    assert!(world.signed(&without("tenant")).is_err());
    for user in [json!("a/b"), json!("../operator"), json!("Ann"), json!(""), json!("a\u{0}b"), json!(7)] {
        assert!(world.signed(&with("sub", user.clone())).is_err(), "{user}");
    }
}
