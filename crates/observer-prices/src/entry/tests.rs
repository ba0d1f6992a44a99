use super::*;

fn entries(text: &str) -> Vec<Entry> {
    match parse(text) {
        Ok(entries) => entries,
        Err(ParseError::Malformed(message)) => panic!("{message}"),
        Err(ParseError::Invalid(problem)) => panic!("{problem}"),
    }
}

#[test]
fn entry_has_every_key_of_the_documentation() {
    let source = include_str!("../entry.rs");
    let text = source.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let text = text.replace("//! ", "").replace("//!", "");
    let [first, second] = entries(&text).try_into().unwrap();
    assert_eq!(first.from, Some("2025-09-29T00:00:00Z".parse().unwrap()));
    let EntryTerms::Prices(prices) = first.terms else { panic!("{first:?}") };
    let per_million = |rate: f64| (rate * 1e12).round() / 1e6;
    let rates = |context, tier| {
        let rates = prices.rates(context, tier);
        let row = [
            rates.input,
            rates.cached_input,
            rates.cache_creation_input,
            rates.cache_creation_1h_input,
            rates.output,
            rates.reasoning,
        ];
        row.map(per_million)
    };
    assert_eq!(rates(0, ServiceTier::Standard), [3.0, 0.3, 3.75, 6.0, 15.0, 15.0]);
    assert_eq!(rates(0, ServiceTier::Batch), [1.5, 0.3, 3.75, 6.0, 7.5, 7.5]);
    assert_eq!(rates(200_001, ServiceTier::Standard), [6.0, 0.3, 3.75, 6.0, 22.5, 22.5]);
    assert_eq!(rates(200_001, ServiceTier::Batch), [3.0, 0.3, 3.75, 6.0, 11.25, 11.25]);
    assert_eq!(second.terms, EntryTerms::AliasOf("gpt-5".to_owned()));
}

#[track_caller]
fn rejected(text: &str, expected: &str) {
    let error = match parse(text) {
        Ok(entries) => panic!("{entries:?}"),
        Err(ParseError::Malformed(message)) => message,
        Err(ParseError::Invalid(problem)) => problem.to_string(),
    };
    assert_eq!(error, expected, "{text}");
}

#[test]
fn problem_names_the_entry_and_the_key() {
    let entry = |rest: &str| format!("[[models]]\nname = 'm'\ninput = 1\noutput = 2\n{rest}");
    for (rest, expected) in [
        ("inptu = 1", "inptu: unknown field `inptu`, expected one of `name`, `from`, `alias_of`, "),
        ("cache_read = 'x'", "cache_read: invalid type: string \"x\", expected f64"),
        ("cache_read = -1", "cache_read: must be a number of at least 0, not -1"),
        ("cache_read = nan", "cache_read: must be a number of at least 0, not NaN"),
        (
            "cache_read = 1e308",
            "cache_read: must be at most 1000000 US dollars per million tokens, not 1e308",
        ),
        (
            "batch = { output = 1_000_001.0 }",
            "batch.output: must be at most 1000000 US dollars per million tokens, not 1.000001e6",
        ),
        (
            "above = [{ context = 200_000, input = 1e30 }]",
            "above[0].input: must be at most 1000000 US dollars per million tokens, not 1e30",
        ),
        (
            "cache_read = 3e-7",
            "cache_read: 0.0000003 is a price per token; write US dollars per million tokens",
        ),
        ("batch = { inputs = 1 }", "batch.inputs: unknown field `inputs`, expected one of "),
        (
            "above = [{ context = 200_001 }]",
            "above[0].context: must be one of 32000, 100000, 128000, 200000, 256000, 272000, \
             512000, not 200001, since stored sums of tokens are split there",
        ),
        (
            "above = [{ context = 200_000 }, { context = 200_000 }]",
            "has two steps in `above` with the same `context`",
        ),
        ("from = 2025", "from: invalid type: integer `2025`, expected a string"),
        ("from = 2025-01-02T00:00:00Z", "from: must be a day such as 2026-01-31, not \""),
        ("alias_of = 'n'", "states rates beside `alias_of`; remove one of them"),
    ] {
        let text = entry(rest);
        let error = match parse(&text) {
            Err(ParseError::Invalid(problem)) => problem.to_string(),
            _ => panic!("{text}"),
        };
        let expected = format!("models[0] (\"m\"): {expected}");
        assert!(error.starts_with(&expected), "{error}\n{expected}");
    }
    rejected("[[models]]\ninput = 1", "models[0]: missing field `name`");
    let missing = "needs the keys `input` and `output`, or `alias_of`; what is free has the rate 0";
    let both = "[[models]]\nname = 'a'\ninput = 1\noutput = 0\n[[models]]\nname = 'b'\ninput = 1";
    rejected(both, &format!("models[1] (\"b\"): {missing}"));
    let blank = "[[models]]\nname = ' '\ninput = 1\noutput = 0";
    rejected(blank, "models[0] (\" \"): needs a name that is not empty");
}

#[test]
fn largest_rate_is_a_million_dollars() {
    assert_eq!(entries("[[models]]\nname = 'm'\ninput = 1e6\noutput = 1_000_000").len(), 1);
}

#[test]
fn file_that_is_no_table_of_prices_is_rejected() {
    rejected("[[prices]]", "unknown key `prices`; write each price as [[models]]");
    let message = "`models` must be a list of tables; write each price as [[models]]";
    rejected("models = 1", message);
    assert!(matches!(parse("[[models"), Err(ParseError::Malformed(m)) if m.contains("line 1")));
    assert_eq!(entries(""), []);
    assert_eq!(entries("models = []"), []);
}
