use super::*;

fn models(text: &str) -> Vec<Model> {
    match parse(text) {
        Ok(models) => models,
        Err(ParseError::Malformed(message)) => panic!("{message}"),
        Err(ParseError::Invalid(problem)) => panic!("{problem}"),
    }
}

fn terms(model: &str) -> Terms {
    models(&format!("{{\"m\":{model}}}")).pop().unwrap().terms
}

#[test]
fn key_tells_kind_threshold_and_tier() {
    use Kind::*;
    use ServiceTier::*;
    for (key, kind, above, tier) in [
        ("input_cost_per_token", Input, 0, Standard),
        ("output_cost_per_token", Output, 0, Standard),
        ("output_cost_per_reasoning_token", Reasoning, 0, Standard),
        ("cache_read_input_token_cost", CacheRead, 0, Standard),
        ("cache_creation_input_token_cost", CacheWrite, 0, Standard),
        ("cache_creation_input_token_cost_above_1hr", CacheWrite1h, 0, Standard),
        ("input_cost_per_token_batches", Input, 0, Batch),
        ("input_cost_per_token_flex", Input, 0, Flex),
        ("input_cost_per_token_priority", Input, 0, Priority),
        ("input_cost_per_token_above_128k_tokens", Input, 128_000, Standard),
        ("output_cost_per_token_above_272k_tokens_priority", Output, 272_000, Priority),
        ("output_cost_per_token_priority_above_272k_tokens", Output, 272_000, Priority),
        ("input_cost_per_token_above_1000_tokens", Input, 1_000, Standard),
        (
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
            CacheWrite1h,
            200_000,
            Standard,
        ),
    ] {
        let expected = PriceKey { kind, above, tier };
        assert_eq!(PriceKey::parse(key, KeyNames::Usual), Some(expected), "{key}");
    }
    for key in [
        "input_cost_per_token_ultrafast",
        "input_cost_per_token_cache_hit",
        "input_cost_per_audio_token",
        "input_cost_per_character_above_128k_tokens",
        "input_cost_per_token_above_many_tokens",
        "input_cost_per_token_above_18446744073709551615k_tokens",
        "cache_creation_input_token_cost_above_12hr",
        "max_input_tokens",
        "",
    ] {
        assert_eq!(PriceKey::parse(key, KeyNames::Usual), None, "{key}");
    }
}

#[test]
fn entry_without_a_price_of_tokens_has_no_price() {
    for model in [
        r#"{}"#,
        r#"{"mode":"chat"}"#,
        r#"{"mode":"chat","input_cost_per_token":1e-6}"#,
        r#"{"mode":"chat","input_cost_per_token":null,"output_cost_per_token":1e-6}"#,
        r#"{"mode":"image_generation","input_cost_per_token":1e-6,"output_cost_per_token":1e-6}"#,
        r#"{"mode":"audio_transcription","input_cost_per_token":1,"output_cost_per_token":1}"#,
        r#"{"mode":"rerank","input_cost_per_token":1,"output_cost_per_token":1}"#,
        r#"{"mode":"chat","input_cost_per_second":1}"#,
        r#"{"mode":"chat","tiered_pricing":[{"max_results_range":[0,25]}]}"#,
    ] {
        assert_eq!(terms(model), Terms::Unpriced, "{model}");
    }
}

#[test]
fn explicit_zero_is_a_price() {
    let model = r#"{"mode":"chat","input_cost_per_token":0,"output_cost_per_token":0.0}"#;
    assert_eq!(terms(model), Terms::Prices(PriceList::free()));
    assert_eq!(terms(&model.replace("\"mode\":\"chat\",", "")), Terms::Prices(PriceList::free()));
    let embedding = r#"{"mode":"embedding","input_cost_per_token":0}"#;
    assert_eq!(terms(embedding), Terms::Prices(PriceList::free()));
}

#[test]
fn price_of_a_cache_hit_is_that_of_reading_unless_there_is_one() {
    let rate = |more: &str| {
        let model = format!(
            r#"{{"input_cost_per_token":0.4,"output_cost_per_token":0.1,
                "input_cost_per_token_cache_hit":0.2{more}}}"#
        );
        let Terms::Prices(prices) = terms(&model) else { panic!("{model}") };
        prices.rates(0, ServiceTier::Standard).cached_input
    };
    assert_eq!(rate(""), 0.2);
    assert_eq!(rate(r#","cache_read_input_token_cost":0.1"#), 0.1);
}

#[test]
fn tiered_pricing_is_by_context_and_takes_missing_output_from_the_model() {
    let model = r#"{"output_cost_per_token":0.9,"tiered_pricing":[
        {"range":[32000.0,128000.0],"input_cost_per_token":0.2},
        {"range":[0,32000.0],"input_cost_per_token":0.1},
        {"range":[128000.0,1000000.0],"input_cost_per_token":0.3,"output_cost_per_token":1}]}"#;
    let Terms::Prices(prices) = terms(model) else { panic!("{model}") };
    for (context, input, output) in [
        (0, 0.1, 0.9),
        (32_000, 0.1, 0.9),
        (32_001, 0.2, 0.9),
        (128_001, 0.3, 1.0),
        (2_000_000, 0.3, 1.0),
    ] {
        let rates = prices.rates(context, ServiceTier::Standard);
        assert_eq!((rates.input, rates.output), (input, output), "{context}");
    }
}

#[test]
fn only_models_of_ollama_are_not_hosted() {
    let found = models(
        r#"{"sample_spec":{"mode":1},"fallback_generalizations":{"rules":[]},
            "a":{"litellm_provider":"ollama"},"b":{"litellm_provider":"openai"},"c":{}}"#,
    );
    let hosted: Vec<_> = found.iter().map(|model| (model.name.as_str(), model.is_hosted)).collect();
    assert_eq!(hosted, [("a", false), ("b", true), ("c", true)]);
}

#[test]
fn problem_names_the_model_and_the_key() {
    for (text, expected) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[]", "invalid type: sequence, expected a map at line 1 column 0"),
        (r#"{"m":1}"#, r#""m": expected an object, found 1"#),
        (r#"{"m":{"alias_of":1}}"#, r#""m": alias_of: expected a string, found 1"#),
        (
            r#"{"m":{"input_cost_per_token":"x"}}"#,
            r#""m": input_cost_per_token: expected a number, found "x""#,
        ),
        (
            r#"{"m":{"input_cost_per_token_above_200k_tokens":-1}}"#,
            r#""m": input_cost_per_token_above_200k_tokens: must be at least 0, not -1"#,
        ),
        (
            r#"{"m":{"input_cost_per_token":1e30}}"#,
            r#""m": input_cost_per_token: must be at most 1 US dollar per token, not 1e30"#,
        ),
        (
            r#"{"m":{"tiered_pricing":[{"range":1}]}}"#,
            r#""m": tiered_pricing: expected a range of two numbers, found 1"#,
        ),
    ] {
        let error = match parse(text) {
            Ok(models) => panic!("{models:?}"),
            Err(ParseError::Malformed(message)) => message,
            Err(ParseError::Invalid(problem)) => problem.to_string(),
        };
        assert_eq!(error, expected, "{text}");
    }
}
