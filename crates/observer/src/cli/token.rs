//! `observer token`: a new secret, and its digest.

use clap::Args;
use observer_server::{Scope, TokenDigest};

pub(super) const TOKEN_EXAMPLES: &str = "\
Examples:
  observer token ci
  observer token grafana --scope read
  observer token ops --scope read --scope admin --json

The token itself is shown this once. The configuration knows its SHA-256 alone, which for a token
that was made elsewhere is `printf %s \"$TOKEN\" | sha256sum`.";

/// So that people, and programs that look for leaked secrets, see what it is.
const PREFIX: &str = "observer_";
/// More than anyone can guess.
const RANDOM_BYTES: usize = 24;

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// What people are to call it
    #[arg(value_name = "NAME", default_value = "client", value_parser = name)]
    name: String,

    /// What its holder may do; can be given several times
    #[arg(long = "scope", value_name = "SCOPE", default_value = "ingest", value_parser = scope, hide_possible_values = true)]
    scopes: Vec<Scope>,

    /// Print both as JSON
    #[arg(long)]
    json: bool,
}

/// A new token with what belongs into the configuration.
pub(super) fn made(arguments: &TokenArgs) -> anyhow::Result<String> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(shown(&format!("{PREFIX}{random}"), arguments))
}

fn shown(token: &str, TokenArgs { name, scopes, json }: &TokenArgs) -> String {
    let sha256 = TokenDigest::of(token);
    let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    if *json {
        let made = serde_json::json!({ "name": name, "token": token, "scopes": names, "sha256": sha256.to_string() });
        return format!("{made}\n");
    }
    format!(
        "The token, for whoever is to use it (it is not shown again):\n\n  {token}\n\n\
         Into the configuration:\n\n  [access.tokens.{name}]\n  scopes = {names:?}\n  sha256 = \"{sha256}\"\n"
    )
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
    known.ok_or_else(|| "it is one of ingest, read and admin".to_owned())
}

/// As it can stand in the configuration without quotes.
fn name(text: &str) -> Result<String, String> {
    let is_plain = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err("a name is made of letters, digits, `_` and `-`".to_owned())
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
    fn what_is_printed_can_be_copied_into_the_configuration() {
        let text = shown("swordfish", &arguments(false));
        assert_snapshot!(text, @r#"
        The token, for whoever is to use it (it is not shown again):

          swordfish

        Into the configuration:

          [access.tokens.ci]
          scopes = ["ingest", "read"]
          sha256 = "b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799"
        "#);
        let (_, snippet) = text.split_once("configuration:").unwrap();
        let config = Config::parse(snippet).unwrap();
        assert_eq!(config.access.tokens["ci"].sha256, [TokenDigest::of("swordfish")]);
        assert_snapshot!(shown("swordfish", &arguments(true)), @r#"{"name":"ci","scopes":["ingest","read"],"sha256":"b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799","token":"swordfish"}"#);
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        assert_ne!(made(&arguments(false)).unwrap(), made(&arguments(false)).unwrap());
    }
}
