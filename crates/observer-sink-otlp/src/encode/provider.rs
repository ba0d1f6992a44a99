//! Name of the provider of a model.

use observer_core::Event;

/// Providers by the beginning of a model's name, after any prefix that names a service.
const BY_MODEL: [(&str, &str); 20] = [
    ("chatgpt", "openai"),
    ("codex", "openai"),
    ("gpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("claude", "anthropic"),
    ("gemini", "gcp.gemini"),
    ("gemma", "gcp.gemini"),
    ("mistral", "mistral_ai"),
    ("ministral", "mistral_ai"),
    ("magistral", "mistral_ai"),
    ("codestral", "mistral_ai"),
    ("devstral", "mistral_ai"),
    ("pixtral", "mistral_ai"),
    ("deepseek", "deepseek"),
    ("grok", "x_ai"),
    ("command", "cohere"),
    ("sonar", "perplexity"),
];

/// Providers by the prefix of a model's name, as gateways write it: `bedrock/…`.
const BY_PREFIX: [(&str, &str); 15] = [
    ("openai", "openai"),
    ("azure", "azure.ai.openai"),
    ("azure_ai", "azure.ai.inference"),
    ("anthropic", "anthropic"),
    ("bedrock", "aws.bedrock"),
    ("vertex_ai", "gcp.vertex_ai"),
    ("gemini", "gcp.gemini"),
    ("google", "gcp.gemini"),
    ("mistral", "mistral_ai"),
    ("deepseek", "deepseek"),
    ("xai", "x_ai"),
    ("groq", "groq"),
    ("cohere", "cohere"),
    ("perplexity", "perplexity"),
    ("ollama", "ollama"),
];

/// Vendors in the names of models on Bedrock: `us.anthropic.claude-sonnet-4-v1:0`.
const BEDROCK: [&str; 3] = ["anthropic.", "amazon.", "meta."];

/// Returns the provider, by the names of the semantic conventions: the label `provider`, the
/// service that the model's name begins with, or the one that its family belongs to.
///
/// Usage in Ollama's shape, and a tag in the model's name, mean Ollama.
pub(super) fn provider(event: &Event) -> Option<&str> {
    if let Some((_, provider)) = event.labels().find(|(name, _)| *name == "provider") {
        return Some(provider);
    }
    let model = event.staffer_id()?;
    if let Some((prefix, _)) = model.split_once('/') {
        return BY_PREFIX.iter().find(|(known, _)| *known == prefix).map(|(_, name)| *name);
    }
    if model.starts_with("ft:") {
        return Some("openai");
    }
    if BEDROCK.iter().any(|vendor| model.contains(vendor)) {
        return Some("aws.bedrock");
    }
    if model.contains(':') || event.usage().is_some_and(|usage| usage.local) {
        return Some("ollama");
    }
    BY_MODEL.iter().find(|(family, _)| model.starts_with(family)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: &str, expected: Option<&str>) {
        let text = format!(r#"{{"source":"bot","event_kind":"ok","ok":true,{event}}}"#);
        assert_eq!(provider(&Event::parse(text).unwrap()), expected, "{event}");
    }

    #[test]
    fn provider_follows_from_label_prefix_or_family() {
        for (model, expected) in [
            ("gpt-5.2", Some("openai")),
            ("o3-mini", Some("openai")),
            ("claude-sonnet-4-5", Some("anthropic")),
            ("gemini-2.5-pro", Some("gcp.gemini")),
            ("grok-4", Some("x_ai")),
            ("gpt-oss:120b", Some("ollama")),
            ("ft:gpt-4o:acme", Some("openai")),
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", Some("aws.bedrock")),
            ("bedrock/anthropic.claude-3", Some("aws.bedrock")),
            ("azure/gpt-5", Some("azure.ai.openai")),
            ("ollama/llama3", Some("ollama")),
            ("openrouter/gpt-5", None),
            ("llama-3.3-70b", None),
            ("", None),
        ] {
            check(&format!(r#""staffer_id":"{model}""#), expected);
        }
        check(
            r#""staffer_id":"gpt-5","labels":{"provider":"azure.ai.openai"}"#,
            Some("azure.ai.openai"),
        );
        check(r#""turns":1"#, None);
        let local = r#""staffer_id":"llama3","extra":{"prompt_eval_count":10,"eval_count":5}"#;
        check(local, Some("ollama"));
    }
}
