//! `observer token`: generates a token and its digest.

use clap::Args;
use observer_server::{Scope, TokenDigest};

pub(super) const TOKEN_EXAMPLES: &str = "\
Examples:
  observer token ci
  observer token grafana --scope read
  observer token edge --scope ingest --scope relay
  observer token ops --scope admin --json

The token is shown only once. The configuration holds only its SHA-256. For a token that was
generated elsewhere, compute it with `printf %s \"$TOKEN\" | sha256sum`.";

/// Prefix that identifies a token to people and to scanners for leaked secrets.
const PREFIX: &str = "observer_";
/// Entropy of a token, in bytes; 192 bits can't be guessed.
const RANDOM_BYTES: usize = 24;

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Name of the token in the configuration
    #[arg(value_name = "NAME", default_value = "client", value_parser = name)]
    name: String,

    /// Scope to grant: `ingest`, `read`, `relay` or `admin`, which includes `read`; repeatable
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        default_value = "ingest",
        value_parser = scope,
        hide_possible_values = true
    )]
    scopes: Vec<Scope>,

    /// Print token and digest as JSON
    #[arg(long)]
    json: bool,
}

/// Generates a token and returns it with its section of the configuration.
pub(super) fn generate(arguments: &TokenArgs) -> anyhow::Result<String> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(render(&format!("{PREFIX}{random}"), arguments))
}

fn render(token: &str, TokenArgs { name, scopes, json }: &TokenArgs) -> String {
    let sha256 = TokenDigest::of(token);
    let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    if *json {
        let generated = serde_json::json!({
            "name": name, "token": token, "scopes": names, "sha256": sha256.to_string(),
        });
        return format!("{generated}\n");
    }
    format!(
        "Token for the client (it is not shown again):\n\n  {token}\n\n\
         Section for the configuration:\n\n  \
         [access.tokens.{name}]\n  scopes = {names:?}\n  sha256 = \"{sha256}\"\n"
    )
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
    known.ok_or_else(|| format!("unknown scope {text:?}; use ingest, read, relay or admin"))
}

/// Parses a name that needs no quotes in the configuration.
fn name(text: &str) -> Result<String, String> {
    let is_plain = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err("a name consists of letters, digits, `_` and `-`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::Config;

    fn arguments(json: bool) -> TokenArgs {
        TokenArgs { name: "ci".to_owned(), scopes: vec![Scope::Ingest, Scope::Read], json }
    }

    #[test]
    fn printed_section_is_a_valid_configuration() {
        let text = render("swordfish", &arguments(false));
        assert_snapshot!(text, @r#"
        Token for the client (it is not shown again):

          swordfish

        Section for the configuration:

          [access.tokens.ci]
          scopes = ["ingest", "read"]
          sha256 = "b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799"
        "#);
        let (_, snippet) = text.split_once("configuration:").unwrap();
        let config = Config::parse(snippet).unwrap();
        assert_eq!(config.access.tokens["ci"].sha256, [TokenDigest::of("swordfish")]);
        assert_snapshot!(render("swordfish", &arguments(true)), @r#"{"name":"ci","scopes":["ingest","read"],"sha256":"b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799","token":"swordfish"}"#);
    }

    #[test]
    fn generated_tokens_differ() {
        assert_ne!(generate(&arguments(false)).unwrap(), generate(&arguments(false)).unwrap());
    }
}
