//! `GET /auth/v1/token`: the token with which a device pulls the images of its fleet from a registry.

use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{Certificate, CertificateParams, DnType, KeyPair, SigningKey};
use serde_json::{Value, json};

use super::FakeCloud;
use super::answer::Answer;
use super::model::{Model, now};
use super::route::Request;

/// How long a token is valid, in seconds.
const VALID: u64 = 4 * 60 * 60;

/// What signs tokens, and the certificate by which a registry knows it.
pub(super) struct Signer {
    key: KeyPair,
    certificate: Certificate,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Signer")
    }
}

impl Signer {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Fake cloud tokens");
        let certificate = params.self_signed(&key).unwrap();
        Self { key, certificate }
    }

    /// A token with these claims.
    fn token(&self, claims: &Value) -> String {
        let head = json!({"alg": "ES256", "typ": "JWT", "x5c": [STANDARD.encode(self.certificate.der())]});
        let part = |it: &Value| URL_SAFE_NO_PAD.encode(it.to_string());
        let signed = format!("{}.{}", part(&head), part(claims));
        let signature = fixed(&self.key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A signature of P-256 as tokens have it: two numbers of 32 bytes, without the sequence of two integers around them.
fn fixed(der: &[u8]) -> Vec<u8> {
    let (mut fixed, mut rest) = (Vec::new(), &der[2..]);
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let number = &number[number.len().saturating_sub(32)..];
        fixed.extend(std::iter::repeat_n(0, 32 - number.len()).chain(number.iter().copied()));
        rest = after;
    }
    fixed
}

impl FakeCloud {
    /// The certificate by which a registry knows the cloud's tokens, in PEM.
    pub(crate) fn token_certificate(&self) -> String {
        self.state().model.signer.certificate.pem()
    }
}

pub(super) fn answer(model: &Model, request: &Request) -> Answer {
    let basic = request.header("authorization").and_then(|it| it.strip_prefix("Basic "));
    let words = basic.and_then(|it| STANDARD.decode(it).ok()).and_then(|it| String::from_utf8(it).ok());
    let words = words.unwrap_or_default();
    let (user, key) = words.split_once(':').unwrap_or_default();
    let device = user.strip_prefix("d_").and_then(|it| model.device(it)).filter(|it| it.key == key);
    if device.is_none() && !user.is_empty() {
        return Answer::empty(401);
    }
    let scope = request.query("scope").unwrap_or_default();
    let name = scope.split(':').nth(1).unwrap_or_default();
    let images =
        device.and_then(|it| model.fleet(it.fleet)).into_iter().flat_map(|it| &it.releases).flat_map(|it| &it.services);
    let mut places = images.filter_map(|it| it.image.split('@').next());
    let is_mine = !name.is_empty() && places.any(|it| it.ends_with(name));
    let actions: &[&str] = if is_mine { &["pull"] } else { &[] };
    let since = now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let access = json!([{"name": name, "type": "repository", "actions": actions}]);
    let claims = json!({"jti": format!("{since}"), "nbf": since - 10, "access": access, "iat": since, "exp": since + VALID,
        "aud": request.query("service"), "iss": model.issuer, "sub": user});
    Answer::json(200, &json!({"token": model.signer.token(&claims)}))
}
