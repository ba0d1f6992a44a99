//! The built-in rules.

use crate::formats::Shape;
use crate::formats::alphabet::{ALPHANUMERIC, BASE64, BASE64URL, DOTTED, HEX, PATH, UPPER, WORD};
use crate::formats::token::Token;

/// Format of secrets with its rule and the prefixes that it starts with.
#[derive(Debug)]
pub(crate) struct Format {
    rule: &'static str,
    pub(crate) prefixes: &'static [&'static str],
    pub(crate) shape: Shape,
}

/// Returns the names of the rules, in their order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let mut formats: Vec<_> = FORMATS.iter().map(|format| format.rule).collect();
    formats.dedup();
    KEYS.iter().map(|(rule, _)| *rule).chain(formats)
}

/// Returns the normalised names of the keys of a rule.
pub(crate) fn keys_of(rule: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |(name, _)| *name == rule).flat_map(|(_, keys)| *keys).copied()
}

/// Returns the formats of a rule.
pub(crate) fn formats_of(rule: &str) -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(move |format| format.rule == rule)
}

/// Keys whose values are secrets, by rule.
const KEYS: &[(&str, &[&str])] = &[
    (
        "api_key",
        &[
            "apikey",
            "xapikey",
            "xgoogapikey",
            "openaiapikey",
            "anthropicapikey",
            "openrouterapikey",
            "geminiapikey",
            "googleapikey",
            "groqapikey",
            "mistralapikey",
        ],
    ),
    (
        "password",
        &[
            "password",
            "passwd",
            "passphrase",
            "userpassword",
            "adminpassword",
            "rootpassword",
            "dbpassword",
            "databasepassword",
            "pgpassword",
            "postgrespassword",
            "mysqlpassword",
            "mysqlrootpassword",
            "redispassword",
            "smtppassword",
        ],
    ),
    (
        "secret",
        &[
            "secret",
            "clientsecret",
            "secretkey",
            "appsecret",
            "apisecret",
            "consumersecret",
            "sharedsecret",
            "signingsecret",
            "webhooksecret",
            "secretaccesskey",
            "awssecretaccesskey",
            "privatekey",
            "encryptionkey",
            "jwtsecret",
            "sessionsecret",
            "djangosecretkey",
            "stripesecretkey",
        ],
    ),
    ("authorization", &["authorization", "proxyauthorization", "xauthorization"]),
    (
        "token",
        &[
            "token",
            "accesstoken",
            "refreshtoken",
            "authtoken",
            "xauthtoken",
            "idtoken",
            "apitoken",
            "bearertoken",
            "bottoken",
            "privatetoken",
            "secrettoken",
            "securitytoken",
            "sessiontoken",
            "awssessiontoken",
            "xamzsecuritytoken",
            "githubtoken",
            "ghtoken",
            "gitlabtoken",
            "hftoken",
            "npmtoken",
            "slacktoken",
            "slackbottoken",
            "xvaulttoken",
        ],
    ),
];

/// Formats by rule. Where two formats share a prefix, the first one that matches counts.
const FORMATS: &[Format] = &[
    token("anthropic", &["sk-ant-"], Token::at_least(20, &BASE64URL).opaque()),
    token("openrouter", &["sk-or-"], Token::at_least(20, &BASE64URL).opaque()),
    // Other providers with an API like OpenAI's use the prefix `sk-`, too.
    token("openai", &["sk-"], Token::at_least(20, &BASE64URL).opaque()),
    token("google", &["AIza"], Token::exactly(35, &BASE64URL)),
    token("google", &["GOCSPX-"], Token::at_least(24, &BASE64URL)),
    token("google", &["ya29."], Token::at_least(24, &BASE64URL).opaque()),
    token("github", &["ghp_", "gho_", "ghu_", "ghr_"], Token::at_least(30, &ALPHANUMERIC)),
    token("github", &["ghs_"], Token::at_least(30, &DOTTED).opaque()),
    token("github", &["github_pat_"], Token::at_least(22, &WORD).opaque()),
    token(
        "gitlab",
        &["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-"],
        Token::at_least(20, &DOTTED).with_digit(),
    ),
    token("aws", &["AKIA", "ASIA"], Token::exactly(16, &UPPER).after_punctuation()),
    token("slack", &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-"], SLACK),
    token("slack", &["xoxe."], Token::at_least(20, &DOTTED).with_digit()),
    token(
        "slack",
        &["hooks.slack.com/"],
        Token::at_least(20, &PATH).after_punctuation().with_digit(),
    ),
    token(
        "stripe",
        &["sk_live_", "rk_live_", "sk_test_", "rk_test_"],
        Token::at_least(16, &ALPHANUMERIC),
    ),
    token("npm", &["npm_"], Token::at_least(30, &ALPHANUMERIC)),
    token("pypi", &["pypi-AgE"], Token::at_least(24, &BASE64URL)),
    token("huggingface", &["hf_", "api_org_"], Token::at_least(30, &ALPHANUMERIC)),
    token(
        "discord",
        &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"],
        Token::at_least(40, &PATH).after_punctuation().with_digit(),
    ),
    token("groq", &["gsk_"], Token::at_least(30, &ALPHANUMERIC)),
    token("xai", &["xai-"], Token::at_least(30, &ALPHANUMERIC)),
    token("nvidia", &["nvapi-"], Token::at_least(30, &BASE64URL).opaque()),
    token("perplexity", &["pplx-"], Token::at_least(30, &ALPHANUMERIC)),
    token("replicate", &["r8_"], Token::at_least(30, &ALPHANUMERIC)),
    token("langsmith", &["lsv2_pt_", "lsv2_sk_"], Token::at_least(30, &WORD)),
    token("sendgrid", &["SG."], Token::at_least(40, &DOTTED).opaque()),
    token("docker", &["dckr_pat_"], Token::at_least(20, &BASE64URL).opaque()),
    token("vault", &["hvs."], Token::at_least(24, &BASE64URL).opaque()),
    token("digitalocean", &["dop_v1_", "doo_v1_"], Token::at_least(40, &HEX)),
    token("grafana", &["glsa_"], Token::at_least(30, &WORD).opaque()),
    token("webhook", &["whsec_"], Token::at_least(24, &BASE64).after_punctuation().opaque()),
    token("observer", &["observer_"], Token::at_least(32, &HEX)),
    shape("jwt", &["eyJ"], Shape::Jwt),
    shape("private_key", &["-----BEGIN "], Shape::PrivateKey),
    shape("bearer", &["Bearer ", "bearer "], Shape::Bearer),
    shape("basic", &["Basic ", "basic "], Shape::Basic),
    // The second one is what some encoders of JSON write.
    shape("url", &["://", r":\/\/"], Shape::UrlPassword),
];

const SLACK: Token = Token::at_least(20, &BASE64URL).with_digit();

const fn token(rule: &'static str, prefixes: &'static [&'static str], token: Token) -> Format {
    shape(rule, prefixes, Shape::Token(token))
}

const fn shape(rule: &'static str, prefixes: &'static [&'static str], shape: Shape) -> Format {
    Format { rule, prefixes, shape }
}
