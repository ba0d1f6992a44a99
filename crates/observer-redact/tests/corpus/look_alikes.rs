//! Two hundred texts that look like secrets and are none.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fastrand::Rng;
use observer_redact::Redactor;
use serde_json::json;

use super::redacted;

/// Texts as they are written.
const TEXTS: &[&str] = &[
    "task-0123456789abcdef0123456789abcdef",
    "disk-3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "risk-assessment-of-the-release-2026",
    "desk-booking-service-v2-production",
    "sk-SK",
    "sk-learn",
    "sk-estimator-doc-link fitted",
    "sk-toggleable__control sk-hidden--visually",
    "sk-container-id-1",
    "sk-text-repr-fallback",
    "sk-...",
    "sk-<your key>",
    "sk-ant-...",
    "sk-proj-****",
    "sk-your-api-key-goes-here-please",
    "AKIA is the prefix of access keys",
    "AKIAS",
    "ASIA-PACIFIC",
    "ASIATIC CHEETAH CONSERVATION",
    "ASIAPACIFICREGIONAL",
    "AIza",
    "npm_config_registry",
    "npm_lifecycle_event=postinstall",
    "npm_package_dependencies_typescript_version",
    "npm ERR! code ELIFECYCLE",
    "hf_transfer",
    "hf_hub_download(repo_id, filename)",
    "hf_xet_high_performance_download_enabled",
    "ghp_",
    "ghp_example",
    "gho_st_town",
    "github_pat_tokens_expire_after_a_year_at_most",
    "glpat-xxxxxxxxxxxxxxxxxxxx",
    "xoxb-your-token",
    "xapp-config-of-the-application",
    "pypi-publish",
    "pypi-AgE",
    "whsec_...",
    "sk_live_...",
    "sk_test_mode",
    "rk_live_keys_are_restricted",
    "observer_events_total",
    "observer_sink_delivery_seconds_bucket",
    "observer_redactions_total{rule=\"openai\"}",
    "observer_deadbeef",
    "gsk_model_card",
    "xai-explainable-models-for-tabular-data",
    "r8_unorm",
    "SG.",
    "SG.MY.TH.VN.ID.PH are the domains of the region",
    "hvs.exe",
    "eyJ",
    "eyJhbGciOiJIUzI1NiJ9",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
    "eyJ.eyJ.eyJ",
    "eyJuYW1lIjoieCJ9.eyJzdWIiOiIxIn0.c2ln",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----",
    "-----BEGIN PGP SIGNATURE-----\niQIz\n-----END PGP SIGNATURE-----",
    "-----BEGIN SSH PUBLIC KEY-----",
    "BEGIN PRIVATE KEY",
    "Bearer token",
    "Bearer authentication is required",
    "Bearer realm=\"example\", error=\"invalid_token\"",
    "bearer of responsibilities-and-obligations",
    "Bearer ${ACCESS_TOKEN}",
    "Bearer <token>",
    "Bearer YOUR_ACCESS_TOKEN_HERE",
    "Bearer [redacted]",
    "forbearer 0123456789abcdef",
    "Basic settings",
    "Basic authentication failed",
    "Basic realm=\"api\"",
    "Basic plan costs 20 dollars",
    "basic understanding",
    "BASIC programs",
    "Visual Basic dXNlcg==",
    "https://example.com/path?query=1#fragment",
    "https://example.com:8443/a@b:c@d",
    "http://localhost:3800/event",
    "http://[::1]:3800/",
    "ssh://git@github.com/org/repo.git",
    "git@github.com:org/repo.git",
    "https://user@example.com/",
    "https://user:@example.com/",
    "https://user:***@example.com/",
    "https://user:xxxxx@example.com/",
    "postgres://app:${DB_PASSWORD}@db/main",
    "postgres://app:{password}@db/main",
    "postgres://app:<password>@db/main",
    "file:///home/user/a:b@c",
    "https://hooks.slack.com/",
    "https://api.slack.com/messaging/webhooks",
    "hooks.slack.com/services/YOUR/WEBHOOK/URL/HERE/PLEASE",
    "https://discord.com/api/webhooks/",
    "password",
    "the password is in the vault",
    "token bucket",
    "secret sauce",
    "authorization code flow",
    "api_key is missing",
    "[redacted:openai]",
    "[redacted:token:0123456789abcdef0123456789abcdef]",
    "********",
];

/// Keys that are like those of secrets, with their values.
const KEYS: &[(&str, &str)] = &[
    ("tokens", "0123456789abcdef0123"),
    ("max_tokens", "4096"),
    ("token_count", "17"),
    ("token_type", "Bearer"),
    ("token_usage", "high"),
    ("next_page_token", "CAoQAA"),
    ("pageToken", "CAoQAA"),
    ("tokenizer", "cl100k_base"),
    ("tokenized", "yes"),
    ("csrf_token_name", "_csrf"),
    ("secretary", "Ada"),
    ("secrets_found", "none"),
    ("secret_name", "prod/db"),
    ("secret_arn", "arn:aws:secretsmanager:eu-west-1:1:secret:x"),
    ("password_reset", "sent"),
    ("password_policy", "strong"),
    ("passwordless", "yes"),
    ("has_password", "true"),
    ("authorization_url", "https://example.com/authorize"),
    ("authorizations", "none"),
    ("authorized_by", "Ada"),
    ("author", "Ada"),
    ("api_key_id", "key-7"),
    ("api_keys", "2"),
    ("apikey_count", "3"),
    ("api_version", "2026-01-01"),
    ("key", "value"),
    ("primary_key", "id"),
    ("public_key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"),
    ("keyboard", "qwertz"),
    ("monkey", "typing"),
    ("turnkey", "yes"),
    ("pwd", "/home/ada/src"),
    ("session", "s-17"),
    ("duration", "12 s"),
    ("version", "1.2.3"),
    ("region", "eu-central-1"),
    ("sig_hash", "3e83e8f191d886d8"),
    ("commit", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("etag", "W/\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
];

/// Returns hashes, ids and encoded bytes.
fn generated() -> Vec<String> {
    let mut rng = Rng::with_seed(23);
    let mut texts = Vec::new();
    for _ in 0..8 {
        let bytes = |rng: &mut Rng, length| (0..length).map(|_| rng.u8(..)).collect::<Vec<_>>();
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        texts.push(hex(bytes(&mut rng, 8)));
        texts.push(hex(bytes(&mut rng, 20)));
        texts.push(format!("commit {} (HEAD)", hex(bytes(&mut rng, 20))));
        texts.push(format!("sha256:{}", hex(bytes(&mut rng, 32))));
        texts.push(hex(bytes(&mut rng, 16)).to_uppercase());
        let id = hex(bytes(&mut rng, 16));
        let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
        texts.push(parts.join("-"));
        texts
            .push(format!("req_{}", STANDARD.encode(bytes(&mut rng, 15)).replace(['+', '/'], "x")));
        texts.push(format!("data:image/png;base64,{}", STANDARD.encode(bytes(&mut rng, 6_000))));
        texts.push(URL_SAFE_NO_PAD.encode(bytes(&mut rng, 6_000)));
    }
    texts
}

#[test]
fn no_look_alike_is_changed() {
    let redactor = Redactor::default();
    let generated = generated();
    assert!(TEXTS.len() + KEYS.len() + generated.len() >= 200);
    let texts = TEXTS.iter().copied().chain(generated.iter().map(String::as_str));
    let in_text =
        texts.map(|text| json!({ "extra": { "log": [text, format!("see {text}, ok")] } }));
    let in_keys = KEYS.iter().map(|(key, value)| json!({ "extra": { *key: value } }));
    for event in in_text.chain(in_keys) {
        let json = event.to_string();
        assert_eq!(redacted(&redactor, &json), json);
    }
}

#[test]
fn values_that_are_no_strings_stay() {
    let json =
        r#"{"token":7,"password":null,"secret":true,"api_key":["a"],"authorization":{"a":"b"}}"#;
    assert_eq!(redacted(&Redactor::default(), json), json);
}
