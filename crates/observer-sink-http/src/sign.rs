//! Signatures of Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Symmetric key, parsed from a secret such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    /// Parses a secret. Returns `None` unless it consists of `whsec_` and base64.
    pub(crate) fn parse(secret: &str) -> Option<Self> {
        let bytes = STANDARD
            .decode(secret.strip_prefix("whsec_")?)
            .ok()
            .filter(|bytes| !bytes.is_empty())?;
        Some(Self(Hmac::new_from_slice(&bytes).expect("HMAC accepts a key of any size")))
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// Returns the value of `webhook-signature`: one signature for each key, so that during a rotation
/// the destination may hold either key.
pub(crate) fn signatures(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> String {
    keys.iter().map(|key| key.sign(id, timestamp, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Test vector of the reference libraries.
    #[test]
    fn signature_matches_the_test_vector() {
        let key = Key::parse(SECRET).unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_key_signs_during_a_rotation() {
        let (old, new) = (Key::parse(SECRET).unwrap(), Key::parse("whsec_bmV3").unwrap());
        let both = signatures(&[old.clone(), new.clone()], "id", 7, b"body");
        let each = [signatures(&[old], "id", 7, b"body"), signatures(&[new], "id", 7, b"body")];
        assert_ne!(each[0], each[1]);
        assert_eq!(both, each.join(" "));
    }

    #[test]
    fn invalid_secret_is_rejected() {
        for secret in ["", "whsec_", "whsec_*", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(Key::parse(secret).is_none(), "{secret}");
        }
    }
}
