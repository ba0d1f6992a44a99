//! Tests of the lookup. `resolution` has the table of names.

mod resolution;

use std::path::PathBuf;

use observer_core::ServiceTier;

use super::*;
use crate::Prices;

/// Excerpt of LiteLLM's map.
fn map() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/model-prices.json")
}

/// Writes files in a folder and reads them as one table.
fn try_read(files: &[(&str, &str)]) -> Result<Table, String> {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
    for (path, (_, text)) in paths.iter().zip(files) {
        fs::write(path, text).unwrap();
    }
    let place = format!("{}/", folder.path().display());
    Table::read(&paths, &[]).map_err(|error| error.to_string().replace(&place, ""))
}

#[track_caller]
fn read(files: &[(&str, &str)]) -> Table {
    try_read(files).unwrap()
}

/// Returns a TOML table of models, each with a rate of input.
fn toml(models: &[(&str, &str, f64)]) -> String {
    let models = models.iter().map(|(name, more, input)| {
        format!("[[models]]\nname = {name:?}\ninput = {input}\noutput = 0\n{more}\n")
    });
    models.collect()
}

fn query(model: &str) -> RateQuery<'_> {
    RateQuery {
        model,
        at: "2026-01-31T12:00:00Z".parse().unwrap(),
        context: 0,
        service_tier: ServiceTier::Standard,
        local: false,
    }
}

/// Returns the rate of input in US dollars per million tokens.
fn input(table: &Table, query: &RateQuery<'_>) -> Option<f64> {
    table.rates(query).map(|rates| (rates.input * 1e12).round() / 1e6)
}

#[test]
fn later_source_takes_precedence_and_a_more_specific_name_within_one() {
    let first = toml(&[("gpt-5", "", 1.0), ("gpt-5-mini", "", 2.0)]);
    let second = toml(&[("gpt-5*", "", 3.0), ("*", "", 4.0), ("gpt-5-n*", "", 5.0)]);
    let third = toml(&[("GPT-5.1", "", 6.0), ("gpt-5.1*", "", 7.0)]);
    let table = read(&[("1.toml", &first), ("2.toml", &second), ("3.toml", &third)]);
    for (model, expected) in [
        ("gpt-5", 3.0),
        ("gpt-5-mini", 3.0),
        ("gpt-5-nano", 5.0),
        ("gpt-5.1", 6.0),
        ("gpt-5-1-codex", 7.0),
        ("llama", 4.0),
    ] {
        assert_eq!(input(&table, &query(model)), Some(expected), "{model}");
    }
    let own = entry::parse(&toml(&[("gpt-5", "", 8.0)])).ok().unwrap();
    let table = Table::read(&[map()], &own).unwrap();
    assert_eq!(input(&table, &query("gpt-5")), Some(8.0));
    assert_eq!(input(&table, &query("openai/gpt-5")), Some(8.0));
}

#[test]
fn of_equally_specific_patterns_the_last_one_applies() {
    let table = read(&[("p.toml", &toml(&[("a*", "", 1.0), ("*a", "", 2.0)]))]);
    assert_eq!(input(&table, &query("a-a")), Some(2.0));
}

#[test]
fn name_itself_takes_precedence_over_names_derived_from_it() {
    let table = read(&[
        ("1.toml", &toml(&[("claude-sonnet-4-5-20250929", "", 1.0)])),
        ("2.toml", &toml(&[("claude-sonnet-4-5", "", 2.0)])),
    ]);
    assert_eq!(input(&table, &query("claude-sonnet-4.5@20250929")), Some(1.0));
    assert_eq!(input(&table, &query("anthropic/claude-sonnet-4.5")), Some(2.0));
    assert_eq!(input(&table, &query("claude-sonnet-4-5-20251231")), Some(2.0));
}

#[test]
fn entry_applies_from_its_date_on() {
    let table = read(&[
        ("1.toml", &toml(&[("m", "from = 2024-01-01", 1.0), ("n", "from = 2026-01-01", 9.0)])),
        (
            "2.toml",
            &toml(&[
                ("m", "from = 2025-01-01", 2.0),
                ("m", "from = '2026-01-01'", 3.0),
                ("*", "from = 2025-06-01", 4.0),
            ]),
        ),
    ]);
    for (model, at, expected) in [
        ("m", "2023-12-31T23:59:59.999Z", None),
        ("m", "2024-01-01T00:00:00Z", Some(1.0)),
        ("m", "2024-12-31T23:59:59Z", Some(1.0)),
        ("m", "2025-01-01T00:00:00Z", Some(2.0)),
        ("m", "2025-12-31T23:59:59Z", Some(2.0)),
        ("m", "2026-01-01T00:00:00Z", Some(3.0)),
        ("m", "2030-01-01T00:00:00Z", Some(3.0)),
        ("n", "2025-05-31T00:00:00Z", None),
        ("n", "2025-06-01T00:00:00Z", Some(4.0)),
        ("n", "2026-06-01T00:00:00Z", Some(4.0)),
    ] {
        let query = RateQuery { at: at.parse().unwrap(), ..query(model) };
        assert_eq!(input(&table, &query), expected, "{model} {at}");
    }
}

#[test]
fn alias_has_the_price_of_its_target_from_its_own_date_on() {
    let aliases = "[[models]]\nname = 'ours'\nalias_of = 'theirs'\nfrom = 2025-06-01\n\
                   [[models]]\nname = 'prod-*'\nalias_of = 'ours'\n\
                   [[models]]\nname = 'gpt-5*'\nalias_of = 'gpt-5'\n";
    let prices = toml(&[("theirs", "", 1.0), ("theirs", "from = 2026-01-01", 2.0)]);
    let map = fs::read_to_string(map()).unwrap();
    let table = read(&[("map.json", &map), ("a.toml", aliases), ("p.toml", &prices)]);
    for (model, at, expected) in [
        ("ours", "2025-05-31T00:00:00Z", None),
        ("ours", "2025-06-01T00:00:00Z", Some(1.0)),
        ("prod-eu", "2026-01-01T00:00:00Z", Some(2.0)),
        ("gpt-5-codex", "2026-01-01T00:00:00Z", Some(1.25)),
        ("gpt-5", "2026-01-01T00:00:00Z", Some(1.25)),
    ] {
        let query = RateQuery { at: at.parse().unwrap(), ..query(model) };
        assert_eq!(input(&table, &query), expected, "{model} {at}");
    }
    assert_eq!(input(&table, &query("azure/gpt-luna-latest")), Some(0.1));
}

#[test]
fn alias_of_litellm_in_a_circle_or_to_nothing_has_no_price() {
    let map = r#"{"a":{"alias_of":"b"},"b":{"alias_of":"c"},"c":{"alias_of":"a"},
                  "d":{"alias_of":"d"},"e":{"alias_of":"nothing"},
                  "f":{"alias_of":"g"},
                  "g":{"input_cost_per_token":1e-6,"output_cost_per_token":0}}"#;
    let table = read(&[("map.json", map)]);
    for (model, expected) in
        [("a", None), ("b", None), ("c", None), ("d", None), ("e", None), ("f", Some(1.0))]
    {
        assert_eq!(input(&table, &query(model)), expected, "{model}");
    }
}

#[test]
fn alias_of_a_table_needs_a_price() {
    let alias =
        |name: &str, target: &str| format!("[[models]]\nname = {name:?}\nalias_of = {target:?}\n");
    let error = |text: &str| try_read(&[("p.toml", text)]).unwrap_err();
    assert_eq!(
        error(&(toml(&[("x", "", 1.0)]) + &alias("a", "b"))),
        r#"p.toml: models[1] ("a"): alias_of: no entry with a price is named "b""#
    );
    assert_eq!(
        error(&(alias("a", "b") + &alias("b", "a"))),
        r#"p.toml: models[0] ("a"): alias_of: no entry with a price is named "b""#
    );
    let own = entry::parse(&alias("a", "gpt-5")).ok().unwrap();
    let error = Table::read::<PathBuf>(&[], &own).unwrap_err();
    assert!(matches!(error, PriceError::InvalidOwn { index: 0, .. }), "{error:?}");
    assert!(Table::read(&[map()], &own).is_ok());
}

#[test]
fn chains_of_aliases_are_bounded() {
    let chain: String =
        (0..30).map(|at| format!("\"m{at}\":{{\"alias_of\":\"m{}\"}},", at + 1)).collect();
    let last = r#""m30":{"input_cost_per_token":1e-6,"output_cost_per_token":0}"#;
    let table = read(&[("map.json", &format!("{{{chain}{last}}}"))]);
    assert_eq!(input(&table, &query("m25")), Some(1.0));
    assert_eq!(input(&table, &query("m0")), None);
}

#[test]
fn two_entries_for_the_same_name_and_date_are_rejected() {
    for (first, second) in [("gpt-5.1", "GPT-5-1"), ("gpt-*", "gpt-*")] {
        let text = toml(&[(first, "from = 2025-01-01", 1.0), ("x", "", 1.0), (second, "", 1.0)]);
        assert!(try_read(&[("p.toml", &text)]).is_ok());
        let text = text.replace("from = 2025-01-01", "");
        assert_eq!(
            try_read(&[("p.toml", &text)]).unwrap_err(),
            format!(
                "p.toml: models[2] ({second:?}): is for the same name and date as models[0] \
                 ({first:?})"
            )
        );
    }
}

#[test]
fn unreadable_files_are_rejected_by_name() {
    let error = |path: &str| {
        let error = Table::read(&[PathBuf::from(path)], &[]).unwrap_err();
        observer_core::report(&error)
    };
    assert!(error("nowhere/prices.toml").starts_with(
        "the price file nowhere/prices.toml can't be read: No such file or directory"
    ));
    assert_eq!(
        error("prices.yaml"),
        "the price file prices.yaml has an unknown format; its name must end in .toml, or in \
         .json for LiteLLM's price map"
    );
    let rejected = |name, text| try_read(&[(name, text)]).unwrap_err();
    assert!(rejected("p.toml", "[[models").starts_with("p.toml: TOML parse error at line 1"));
    assert_eq!(
        rejected("p.json", "{\n\"a\":"),
        "p.json: EOF while parsing a value at line 2 column 4"
    );
}

#[test]
fn empty_table_has_no_prices_not_even_for_free_variants() {
    let table = Table::default();
    assert_eq!(table.rates(&query("meta-llama/llama-3.2-3b-instruct:free")), None);
    assert_eq!(table.counts(), [0; 0]);
    assert_eq!(Prices::default().rates(&query("gpt-5")), None);
}

#[test]
fn names_of_any_length_and_content_are_looked_up() {
    let table = read(&[("p.toml", &toml(&[("*", "", 1.0)]))]);
    let long = "x".repeat(257);
    for (model, expected) in
        [("", None), (long.as_str(), None), (&long[1..], Some(1.0)), ("\u{0}é 💥", Some(1.0))]
    {
        assert_eq!(input(&table, &query(model)), expected, "{model}");
    }
}

#[test]
fn replaced_table_applies_to_every_clone_of_the_handle() {
    let prices = Prices::new(read(&[("p.toml", &toml(&[("m", "", 1.0)]))]));
    let clone = prices.clone();
    let rate = || clone.rates(&query("m")).map(|rates| rates.input);
    assert_eq!(rate(), Some(1e-6));
    prices.replace(read(&[("p.toml", &toml(&[("m", "", 2.0)]))]));
    assert_eq!(rate(), Some(2e-6));
    prices.replace(Table::default());
    assert_eq!(rate(), None);
}

#[test]
fn entries_with_a_price_are_counted() {
    let own = entry::parse(&toml(&[("m", "", 1.0)])).ok().unwrap();
    let table = Table::read(&[map()], &own).unwrap();
    assert_eq!(format!("{table:?}"), "Table { counts: [30, 1], .. }");
}
