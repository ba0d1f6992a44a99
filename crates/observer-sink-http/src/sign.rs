//! Signatures of Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Decoder of secrets. Services differ in whether they pad them.
const SECRET: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Symmetric key, parsed from a secret such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    /// Parses a secret: base64 or base64url, with or without padding and the prefix `whsec_`.
    /// Returns `None` for any other text.
    pub(crate) fn parse(secret: &str) -> Option<Self> {
        let text = secret.trim();
        let text = text.strip_prefix("whsec_").unwrap_or(text);
        let bytes = SECRET.decode(text.replace('-', "+").replace('_', "/")).ok();
        let bytes = bytes.filter(|bytes| !bytes.is_empty())?;
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

    const EXAMPLE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Test vector of the reference libraries.
    #[test]
    fn signature_matches_the_test_vector() {
        let key = Key::parse(EXAMPLE).unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_key_signs_during_a_rotation() {
        let (old, new) = (Key::parse(EXAMPLE).unwrap(), Key::parse("whsec_bmV3").unwrap());
        let both = signatures(&[old.clone(), new.clone()], "id", 7, b"body");
        let each = [signatures(&[old], "id", 7, b"body"), signatures(&[new], "id", 7, b"body")];
        assert_ne!(each[0], each[1]);
        assert_eq!(both, each.join(" "));
    }

    #[test]
    fn invalid_secret_is_rejected() {
        for secret in ["", "whsec_", "whsec_*", "correct horse", "whsec_A"] {
            assert!(Key::parse(secret).is_none(), "{secret}");
        }
    }

    #[test]
    fn every_spelling_of_a_secret_is_the_same_key() {
        let signature = |secret: &str| signatures(&[Key::parse(secret).unwrap()], "id", 7, b"body");
        for (secret, others) in [
            ("whsec_+/8=", ["whsec_+/8", "+/8=", "-_8=", "-_8", "whsec_-_8"]),
            ("whsec_bmV3", ["bmV3", " bmV3\n", "whsec_bmV3 ", "bmV3", "bmV3"]),
        ] {
            for other in others {
                assert_eq!(signature(other), signature(secret), "{other}");
            }
        }
    }
}
