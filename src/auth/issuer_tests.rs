//! Tokens that should let a caller in, and all those that should not.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::ids::SessionId;
use crate::session::Right;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn encoded(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

fn token(header: &str, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", BASE64.encode(header), encoded(claims));
    let signature = BASE64.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    move |message| ring::hmac::sign(&key, message).as_ref().to_vec()
}

fn ed25519() -> (Ed25519KeyPair, Value) {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let x = BASE64.encode(pair.public_key().as_ref());
    (pair, json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
}

fn es256() -> (EcdsaKeyPair, Value) {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256" });
    (pair, jwk)
}

fn now() -> Millis {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Millis(now.as_millis().try_into().unwrap())
}

fn claims() -> Value {
    let exp = now().0 / 1000 + 12 * 60 * 60;
    json!({
        "iss": "idp", "aud": "outlive", "sub": "ada", "exp": exp,
        "outlive": { "rights": ["read"], "sessions": ["chat:*"] },
    })
}

/// The claims with some that are other, or away where they are null.
fn with(other: Value) -> Value {
    let mut all = claims();
    let all_of = all.as_object_mut().unwrap();
    for (name, value) in other.as_object().unwrap() {
        all_of.insert(name.clone(), value.clone());
    }
    all_of.retain(|_, value| !value.is_null());
    all
}

fn issuer(name: &str, keys: KeySource) -> Issuer {
    let (issuer, audience) = (name.to_owned(), "outlive".to_owned());
    Issuer::new(IssuerConfig { issuer, audience, tenant: None, keys })
}

fn secret() -> Vec<Issuer> {
    vec![issuer("idp", KeySource::Secret(SECRET.to_vec()))]
}

/// An issuer whose keys are in a file.
fn of_file(name: &str, keys: &[Value]) -> (Issuer, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "keys": keys }).to_string()).unwrap();
    (issuer(name, KeySource::File(file.path().to_owned())), file)
}

async fn why(issuers: &[Issuer], token: &str) -> String {
    match caller(issuers, token, now()).await {
        Ok(_) => "in".into(),
        Err(why) => why.to_string(),
    }
}

const HS: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[tokio::test]
async fn a_token_of_each_algorithm_lets_its_bearer_in() {
    let session = SessionId::parse("chat:1").unwrap();
    let good = token(HS, &claims(), hs256(SECRET));
    let found = caller(&secret(), &good, now()).await.unwrap();
    assert_eq!(found.name(), "token:idp#ada");
    assert!(found.may(Right::Read, Some(&session)).is_ok());
    assert!(found.may(Right::Send, Some(&session)).is_err());
    assert_eq!(why(&secret(), &sign(SECRET, &claims()).unwrap()).await, "in");
    let (ed, ed_jwk) = ed25519();
    let (es, es_jwk) = es256();
    let (issuer, _file) = of_file("idp", &[ed_jwk, es_jwk]);
    let issuers = [issuer];
    let signed = token(r#"{"alg":"EdDSA"}"#, &claims(), |m| ed.sign(m).as_ref().to_vec());
    assert_eq!(why(&issuers, &signed).await, "in");
    let random = SystemRandom::new();
    let sign = |message: &[u8]| es.sign(&random, message).unwrap().as_ref().to_vec();
    assert_eq!(why(&issuers, &token(r#"{"alg":"ES256"}"#, &claims(), sign)).await, "in");
}

/// The example of RFC 7515, A.2: its signature holds, and its time is over since 2011.
#[tokio::test]
async fn a_signature_by_rsa_is_verified() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-\
             SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-\
             UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2et\
             hFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let jwk = json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256" });
    let signed = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc1\
                  9yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt\
                  _O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1\
                  L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8n\
                  p6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let (joe, _file) = of_file("joe", &[jwk]);
    let key = Arc::clone(&joe.candidates(None).await);
    assert_eq!(key.len(), 1);
    let verified = |token: &str| {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        decode::<Value>(token, &key[0].key, &validation).is_ok()
    };
    assert!(verified(signed));
    assert!(!verified(&signed.replace(".cC4h", ".cC4g")));
    let issuers = [joe];
    assert_ne!(why(&issuers, signed).await, "in");
}

#[tokio::test]
async fn an_algorithm_is_that_of_the_key_whatever_the_token_says() {
    let (ed, jwk) = ed25519();
    let public = ed.public_key().as_ref().to_vec();
    let (issuer, _file) = of_file("idp", std::slice::from_ref(&jwk));
    let issuers = [issuer];
    let none = |_: &[u8]| Vec::new();
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":"XS1"}"#, "{}", "[]", ""] {
        assert_ne!(why(&issuers, &token(header, &claims(), none)).await, "in", "{header}");
    }
    // Signed with what everybody knows of the key.
    for known in [&public[..], jwk["x"].as_str().unwrap().as_bytes()] {
        assert_ne!(why(&issuers, &token(HS, &claims(), hs256(known))).await, "in");
    }
    let sign = |message: &[u8]| ed.sign(message).as_ref().to_vec();
    for header in [
        r#"{"alg":"HS256","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","crit":["exp"]}"#,
        r#"{"alg":"ES256"}"#,
    ] {
        assert_ne!(why(&issuers, &token(header, &claims(), sign)).await, "in", "{header}");
    }
    // Keys and addresses in a token are not looked at.
    let (own, own_jwk) = ed25519();
    let header = json!({ "alg": "EdDSA", "jwk": own_jwk, "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/" });
    let forged = token(&header.to_string(), &claims(), |m| own.sign(m).as_ref().to_vec());
    assert_eq!(why(&issuers, &forged).await, "the token's signature is wrong");
}

#[tokio::test]
async fn claims_that_do_not_hold_let_nobody_in() {
    let issuers = secret();
    let at = |seconds: i64| (now().0 / 1000).cast_signed() + seconds;
    assert_eq!(
        why(&issuers, &token(HS, &with(json!({ "exp": at(-1) })), hs256(SECRET))).await,
        "in"
    );
    for other in [
        json!({ "exp": null }),
        json!({ "exp": "soon" }),
        json!({ "exp": -1 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": at(-120) }),
        json!({ "exp": at(-10) }),
        json!({ "exp": at(30 * 24 * 3600) }),
        json!({ "nbf": at(120) }),
        json!({ "iat": at(120) }),
        json!({ "aud": "another" }),
        json!({ "aud": null }),
        json!({ "aud": [] }),
        json!({ "iss": "another" }),
        json!({ "iss": null }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "outlive": { "rights": ["root"] } }),
    ] {
        let signed = token(HS, &with(other.clone()), hs256(SECRET));
        assert_ne!(why(&issuers, &signed).await, "in", "{other}");
    }
    let listed = token(HS, &with(json!({ "aud": ["x", "outlive"] })), hs256(SECRET));
    assert_eq!(why(&issuers, &listed).await, "in");
}

#[tokio::test]
async fn a_key_signs_for_its_own_issuer_alone_also_under_the_same_name() {
    let ((a, mut a_jwk), (b, mut b_jwk)) = (ed25519(), ed25519());
    a_jwk["kid"] = "same".into();
    b_jwk["kid"] = "same".into();
    let ((first, _a), (second, _b)) = (of_file("a", &[a_jwk]), of_file("b", &[b_jwk]));
    let issuers = [first, second];
    let header = r#"{"alg":"EdDSA","kid":"same"}"#;
    for (pair, name, lets_in) in
        [(&a, "a", true), (&b, "b", true), (&a, "b", false), (&b, "a", false)]
    {
        let claims = with(json!({ "iss": name }));
        let signed = token(header, &claims, |message| pair.sign(message).as_ref().to_vec());
        assert_eq!(why(&issuers, &signed).await == "in", lets_in, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_read_again_and_old_ones_are_given_up() {
    let ((old, mut old_jwk), (new, mut new_jwk)) = (ed25519(), ed25519());
    old_jwk["kid"] = "old".into();
    new_jwk["kid"] = "new".into();
    let (issuer, file) = of_file("idp", &[old_jwk]);
    let issuers = [issuer];
    let signed = |kid: &str, pair: &Ed25519KeyPair| {
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        token(&header, &claims(), |message| pair.sign(message).as_ref().to_vec())
    };
    let (by_old, by_new) = (signed("old", &old), signed("new", &new));
    assert_eq!(why(&issuers, &by_old).await, "in");
    assert_ne!(why(&issuers, &by_new).await, "in");
    std::fs::write(file.path(), json!({ "keys": [new_jwk] }).to_string()).unwrap();
    assert_ne!(why(&issuers, &by_new).await, "in", "it was looked for a moment ago");
    tokio::time::advance(UNKNOWN).await;
    assert_eq!(why(&issuers, &by_new).await, "in");
    assert_ne!(why(&issuers, &by_old).await, "in", "its key is no more");
    // What cannot be read again holds for a while, and then no more.
    drop(file);
    issuers[0].read().await;
    tokio::time::advance(STALE / 2).await;
    assert_eq!(why(&issuers, &by_new).await, "in");
    tokio::time::advance(STALE).await;
    assert_ne!(why(&issuers, &by_new).await, "in");
}

#[tokio::test]
async fn tokens_make_the_node_ask_for_keys_once_and_nowhere_else() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    let (pair, mut jwk) = ed25519();
    jwk["kid"] = "known".into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys?a=b", listener.local_addr().unwrap());
    // It ends with the test.
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        let body = json!({ "keys": [jwk] }).to_string();
        while let Ok((mut stream, _)) = listener.accept().await {
            ASKED.fetch_add(1, Ordering::Relaxed);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            assert!(head.starts_with(b"GET /keys?a=b HTTP/1.1\r\n"));
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    let issuers = [issuer("idp", KeySource::Url(url))];
    let sign = |message: &[u8]| pair.sign(message).as_ref().to_vec();
    for kid in (0..1000).map(|number| format!("../{number}\u{0}")) {
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        assert_ne!(why(&issuers, &token(&header, &claims(), sign)).await, "in");
    }
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
    let good = token(r#"{"alg":"EdDSA","kid":"known"}"#, &claims(), sign);
    assert_eq!(why(&issuers, &good).await, "in");
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::KeyText;
    use crate::fuzz::nearly;

    thread_local! {
        static GOOD: String = token(HS, &claims(), hs256(SECRET));
    }

    proptest! {
        /// Every other text than the one that was signed is refused.
        #[test]
        fn nothing_but_the_token_that_was_signed_lets_in(
            bytes in GOOD.with(|good| nearly(vec![good.clone().into_bytes()])),
        ) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let let_in = runtime.unwrap().block_on(why(&secret(), &text)) == "in";
            prop_assert_eq!(let_in, GOOD.with(|good| *good == text), "{}", text);
        }

        #[test]
        fn a_text_that_is_read_as_a_key_is_the_text_of_that_key(
            bytes in nearly(vec![KeyText::draw().reveal().into_bytes()]),
        ) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some(key) = KeyText::parse(&text) {
                prop_assert_eq!(key.reveal(), text);
            }
        }
    }
}
