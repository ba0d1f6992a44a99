//! Names as producers write them, and the entries of LiteLLM's map that they lead to.

use std::collections::BTreeMap;

use super::*;

/// Returns the rates of an entry that is looked up by its very name.
fn entry_rates(table: &Table, entry: &str) -> Rates {
    table.rates(&query(entry)).unwrap_or_else(|| panic!("{entry}"))
}

#[test]
fn names_of_producers_lead_to_their_entries() {
    let table = Table::read(&[map()], &[]).unwrap();
    for (model, entry) in [
        ("gpt-5", "gpt-5"),
        ("GPT-5", "gpt-5"),
        ("openai/gpt-5", "gpt-5"),
        ("openai:gpt-5", "gpt-5"),
        ("openrouter/openai/gpt-5", "gpt-5"),
        ("openai/gpt-5:nitro", "gpt-5"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("ft:gpt-4o-2024-08-06:acme:summary:9xY", "ft:gpt-4o-2024-08-06"),
        ("azure/gpt-5", "azure/gpt-5"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("claude-4.5-sonnet", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("openrouter/anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("anthropic/claude-4.5-sonnet-20250929", "claude-sonnet-4-5-20250929"),
        ("claude-opus-4-6[1m]", "claude-opus-4-6"),
        (
            "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/\
             us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("vertex_ai/claude-sonnet-4-5@20250929", "vertex_ai/claude-sonnet-4-5@20250929"),
        ("vercel_ai_gateway/anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("gemini-2.5-pro", "gemini-2.5-pro"),
        ("models/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("google/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("google-gla:gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("openrouter/google/gemini-2.5-pro:floor", "gemini/gemini-2.5-pro"),
        ("gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("grok-4.3", "xai/grok-4.3"),
        ("x-ai/grok-4.3", "xai/grok-4.3"),
        ("deepseek/deepseek-chat", "deepseek/deepseek-chat"),
        ("azure/gpt-luna-latest", "azure/gpt-6-luna"),
    ] {
        // Without the other rates, which a gateway may not state.
        let key = |rates: Rates| (rates.input, rates.output, rates.cached_input);
        let expected = entry_rates(&table, entry);
        assert_eq!(table.rates(&query(model)).map(key), Some(key(expected)), "{model}");
    }
}

#[test]
fn names_that_do_not_tell_the_seller_have_no_price() {
    let table = Table::read(&[map()], &[]).unwrap();
    for model in [
        "gpt-oss:120b",
        "gpt-oss-120b",
        "openai/gpt-oss-120b",
        "openai/gpt-oss-120b:nitro",
        "google/gemma-3-27b-it",
        "gemma-3-27b-it",
        "qwen-flash",
        "deepseek-chat",
        "deepseek-chat:7b",
        "llama3",
        "gpt-5-turbo-x",
        "gpt-5:latest",
        "claude",
        "claude-sonnet",
        "claude-opus-4-5",
        "azure/gpt-4o",
        "azure/our-deployment",
        "jp.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "github_copilot/gpt-4o",
        "chatgpt/gpt-5.4",
        "gpt-image-1",
        "openai/gpt-5:batch",
        "sample_spec",
        "unknown",
    ] {
        assert_eq!(table.rates(&query(model)), None, "{model}");
    }
}

#[test]
fn entry_without_a_price_keeps_derived_names_from_applying() {
    let map = r#"{"openai/gpt-5":{"mode":"chat"},"openai/gpt-4":{"mode":"chat"},
        "gpt-5":{"input_cost_per_token":1e-6,"output_cost_per_token":0},
        "gpt-4":{"input_cost_per_token":1e-6,"output_cost_per_token":0}}"#;
    let table = read(&[("p.toml", &toml(&[("openai/gpt-4", "", 2.0)])), ("map.json", map)]);
    assert_eq!(input(&table, &query("openai/gpt-5")), None);
    assert_eq!(input(&table, &query("openai:gpt-5")), Some(1.0));
    assert_eq!(input(&table, &query("openai/gpt-4")), Some(2.0));
}

#[test]
fn free_variant_of_openrouter_costs_nothing_unless_an_entry_says_otherwise() {
    let table = Table::read(&[map()], &[]).unwrap();
    let name = "meta-llama/llama-3.3-70b-instruct:free";
    assert_eq!(input(&table, &query(name)), Some(0.0));
    assert_eq!(input(&table, &query("openrouter/openai/gpt-5:free")), Some(0.0));
    let table = read(&[("p.toml", &toml(&[("*:free", "", 1.0)]))]);
    assert_eq!(input(&table, &query(name)), Some(1.0));
}

#[test]
fn local_model_has_the_price_of_its_very_name_and_not_that_of_a_hosted_one() {
    let own = toml(&[("qwen3:8b", "", 1.0), ("gpt-*", "", 2.0), ("*", "", 3.0)]);
    let text = fs::read_to_string(map()).unwrap();
    let table = read(&[("map.json", &text), ("own.toml", &own)]);
    for (model, local, hosted) in [
        ("qwen3:8b", Some(1.0), 1.0),
        ("Qwen3:8B", Some(1.0), 1.0),
        ("gpt-oss:120b", None, 2.0),
        ("gpt-5", None, 2.0),
        ("command-r-08-2024", None, 3.0),
        ("ollama/llama3", Some(0.0), 3.0),
    ] {
        let query = query(model);
        assert_eq!(input(&table, &RateQuery { local: true, ..query }), local, "{model}");
        assert_eq!(input(&table, &query), Some(hosted), "{model}");
    }
}

#[test]
fn context_and_tier_choose_among_the_rates_of_an_entry() {
    let table = Table::read(&[map()], &[]).unwrap();
    for (model, context, service_tier, expected) in [
        ("gpt-5.4", 0, ServiceTier::Standard, 2.5),
        ("gpt-5.4", 272_000, ServiceTier::Standard, 2.5),
        ("gpt-5.4", 272_001, ServiceTier::Standard, 5.0),
        ("gpt-5.4", 272_001, ServiceTier::Batch, 2.5),
        ("gpt-5.4", 272_001, ServiceTier::Priority, 5.0),
        ("gpt-5.4", 0, ServiceTier::Flex, 1.25),
        ("gpt-5", 0, ServiceTier::Priority, 2.5),
        ("claude-sonnet-4-5", 500_000, ServiceTier::Flex, 3.0),
        ("dashscope/qwen-flash", 256_001, ServiceTier::Standard, 0.25),
    ] {
        let query = RateQuery { context, service_tier, ..query(model) };
        assert_eq!(input(&table, &query), Some(expected), "{model} {context} {service_tier:?}");
    }
}

#[test]
fn thresholds_of_the_map_are_those_at_which_sums_are_split() {
    let models: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
        serde_json::from_str(&fs::read_to_string(map()).unwrap()).unwrap();
    let mut count = 0;
    for key in models.values().flat_map(BTreeMap::keys) {
        let threshold = key.split("_above_").nth(1).and_then(|rest| rest.split_once("k_tokens"));
        let Some((threshold, _)) = threshold else { continue };
        count += 1;
        let threshold = threshold.parse::<u64>().unwrap() * 1000;
        assert!(observer_core::CONTEXT_THRESHOLDS.contains(&threshold), "{key}");
    }
    assert!(count > 20, "{count}");
}
