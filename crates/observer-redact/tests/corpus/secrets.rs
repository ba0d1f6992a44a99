//! Two hundred secrets, generated from the formats of their issuers. No literal is one, so that
//! scanners of source code find nothing.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fastrand::Rng;
use observer_redact::Redactor;
use serde_json::json;

use super::{escaped, redacted};

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const DIGITS: &str = "0123456789";
const HEX: &str = "0123456789abcdef";

/// Secret with the rule that finds it. `context` holds the secret at `{}`.
struct Sample {
    rule: &'static str,
    context: String,
    secret: String,
}

struct Generator(Rng);

impl Generator {
    fn of(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet = alphabet.as_bytes();
        (0..length).map(|_| char::from(alphabet[self.0.usize(..alphabet.len())])).collect()
    }

    fn base62(&mut self, length: usize) -> String {
        self.of(&(LOWER.to_owned() + &LOWER.to_uppercase() + DIGITS), length)
    }

    fn base64url(&mut self, length: usize) -> String {
        self.of(&(LOWER.to_owned() + &LOWER.to_uppercase() + DIGITS + "-_"), length)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.0.u8(..)).collect()
    }

    fn jwt(&mut self, algorithm: &str) -> String {
        let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let claims = json!({ "sub": self.of(DIGITS, 10), "exp": 1_800_000_000 });
        let signature = URL_SAFE_NO_PAD.encode(self.bytes(32));
        format!("{}.{}.{signature}", part(json!({ "alg": algorithm, "typ": "JWT" })), part(claims))
    }

    fn pem(&mut self, label: &str) -> String {
        let body = STANDARD.encode(self.bytes(96));
        let dashes = "-----";
        format!("{dashes}BEGIN {label}{dashes}\n{body}\n{dashes}END {label}{dashes}")
    }

    /// Returns one secret of each format, with its rule.
    fn round(&mut self) -> Vec<(&'static str, String)> {
        let word = LOWER.to_owned() + DIGITS;
        let upper = LOWER.to_uppercase() + "234567";
        let prefix = |prefix: &str, rest: &str, body: String| format!("{prefix}{rest}{body}");
        vec![
            ("openai", prefix("sk", "-", self.base62(48))),
            ("openai", prefix("sk", "-proj-", self.base64url(156))),
            ("openai", prefix("sk", "-svcacct-", self.base64url(80))),
            ("openai", prefix("sk", "-", self.of(HEX, 32))),
            ("anthropic", prefix("sk", "-ant-api03-", self.base64url(93) + "AA")),
            ("anthropic", prefix("sk", "-ant-oat01-", self.base64url(95))),
            ("openrouter", prefix("sk", "-or-v1-", self.of(HEX, 64))),
            ("google", prefix("AI", "za", self.base64url(35))),
            ("google", prefix("GOCS", "PX-", self.base64url(28))),
            ("github", prefix("gh", "p_", self.base62(36))),
            ("github", prefix("gh", "o_", self.base62(36))),
            ("github", prefix("gh", "s_", self.base62(36))),
            ("github", prefix("github", "_pat_", self.base62(22) + "_" + &self.base62(59))),
            ("gitlab", prefix("gl", "pat-", self.base64url(19) + "7")),
            ("aws", prefix("AK", "IA", self.of(&upper, 16))),
            ("aws", prefix("AS", "IA", self.of(&upper, 16))),
            (
                "slack",
                prefix("xo", "xb-", self.of(DIGITS, 12) + "-" + &self.of(DIGITS, 12) + "-")
                    + &self.base62(24),
            ),
            (
                "slack",
                prefix("hooks.slack", ".com/services/T", self.of(&upper, 9) + "2/B")
                    + &self.of(&upper, 9)
                    + "/"
                    + &self.base62(24),
            ),
            ("stripe", prefix("sk", "_live_", self.base62(24))),
            ("stripe", prefix("rk", "_live_", self.base62(24))),
            ("npm", prefix("np", "m_", self.base62(36))),
            ("pypi", prefix("py", "pi-AgEIcHlwaS5vcmc", self.base64url(120))),
            ("huggingface", prefix("h", "f_", self.of(LOWER, 34))),
            ("groq", prefix("gs", "k_", self.base62(52))),
            ("xai", prefix("xa", "i-", self.base62(80))),
            ("replicate", prefix("r8", "_", self.base62(37))),
            ("sendgrid", prefix("S", "G.", self.base64url(22) + "." + &self.base64url(43))),
            ("webhook", prefix("wh", "sec_", STANDARD.encode(self.bytes(24)))),
            ("observer", prefix("observer", "_", self.of(HEX, 48))),
            ("jwt", self.jwt("HS256")),
            ("jwt", self.jwt("RS256")),
            ("private_key", self.pem("PRIVATE KEY")),
            ("private_key", self.pem("OPENSSH PRIVATE KEY")),
            ("bearer", self.of(&word, 32)),
            ("bearer", self.base64url(43)),
            ("basic", STANDARD.encode(format!("{}:{}", self.of(LOWER, 6), self.base62(12)))),
            ("url", self.base62(12)),
            ("api_key", self.base62(20)),
            ("password", self.of(&word, 9)),
            ("secret", self.base62(40)),
            ("authorization", self.base62(30)),
            ("token", self.of(HEX, 20)),
        ]
    }
}

/// Returns 210 secrets in different contexts.
fn samples() -> Vec<Sample> {
    let mut generator = Generator(Rng::with_seed(20));
    let contexts = [
        "{}",
        "failed with key {} after 3 attempts.",
        "export KEY=\"{}\"; run",
        "line one\n\u{1b}[32m{}\u{1b}[0m\nline three",
        "https://example.org/?key={}&page=2",
    ];
    let mut samples = Vec::new();
    for context in contexts {
        for (rule, secret) in generator.round() {
            let context = match rule {
                "bearer" => "curl -H 'Authorization: Bearer {}' x".to_owned(),
                "basic" => "authorization: basic {}\r\nhost: x".to_owned(),
                "url" => "connect postgres://app:{}@db.internal:5432/main failed".to_owned(),
                _ => context.to_owned(),
            };
            samples.push(Sample { rule, context, secret });
        }
    }
    samples
}

/// Returns an event with a text in the place that a rule looks at.
fn event(rule: &str, text: &str) -> serde_json::Value {
    match rule {
        "api_key" => json!({ "extra": { "env": { "OPENAI_API_KEY": text } } }),
        "password" => json!({ "labels": { "db-password": text } }),
        "secret" => json!({ "extra": [{ "aws": { "secretAccessKey": text } }] }),
        "authorization" => json!({ "headers": { "Authorization": text } }),
        "token" => json!({ "accessToken": text }),
        _ => json!({ "extra": { "messages": [{ "content": text }] } }),
    }
}

impl Sample {
    fn event(&self) -> serde_json::Value {
        event(self.rule, &self.context.replace("{}", &self.secret))
    }

    fn redacted(&self) -> serde_json::Value {
        let is_key =
            ["api_key", "password", "secret", "authorization", "token"].contains(&self.rule);
        let context = if is_key { "{}" } else { &self.context };
        event(self.rule, &context.replace("{}", &format!("[redacted:{}]", self.rule)))
    }
}

fn parsed(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn every_secret_is_replaced_under_its_rule() {
    let redactor = Redactor::default();
    let samples = samples();
    assert!(samples.len() >= 200);
    for sample in &samples {
        let json = sample.event().to_string();
        assert_eq!(parsed(&redacted(&redactor, &json)), sample.redacted(), "{json}");
    }
}

#[test]
fn every_secret_is_replaced_where_characters_of_it_are_escaped() {
    let redactor = Redactor::default();
    let mut rng = Rng::with_seed(21);
    for sample in samples() {
        let json = escaped(&sample.event(), &mut rng);
        assert_eq!(parsed(&json), sample.event());
        assert_eq!(parsed(&redacted(&redactor, &json)), sample.redacted(), "{json}");
    }
}

#[test]
fn private_key_in_one_line_is_replaced() {
    let pem = Generator(Rng::with_seed(22)).pem("EC PRIVATE KEY");
    let json = json!({ "files": { "id_ec": format!("{pem}\n") } }).to_string();
    assert!(json.contains(r"-----\n"), "line feeds are escaped: {json}");
    assert_eq!(
        redacted(&Redactor::default(), &json),
        r#"{"files":{"id_ec":"[redacted:private_key]\n"}}"#
    );
}
