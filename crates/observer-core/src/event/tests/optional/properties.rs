//! Any value of an optional field.

use super::*;

/// Any JSON value, some of whose strings look like numbers, times and lone surrogates.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i128>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("JSON has no other numbers", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,24})?",
        ".{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        r#""( |\\u[0-9a-f]{4}|[0-9TZez:.+-]){0,30}""#,
        "\"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}:[0-9]{2})?([+-][0-9]{2})?\"",
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let key = r#""([a-c]|\\ud800|\\u0061){0,2}""#;
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|values| format!("[{}]", values.join(","))),
            proptest::collection::vec((key, inner), 0..5).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_value_of_an_optional_field_is_accepted(
        fields in proptest::collection::vec((0..Field::OPTIONAL.len(), json()), 1..6),
    ) {
        let mut fields: Vec<_> =
            fields.into_iter().map(|(index, value)| (Field::OPTIONAL[index], value)).collect();
        // A second `id` is malformed.
        let mut ids = 0;
        fields.retain(|(field, _)| *field != Field::Id || std::mem::replace(&mut ids, 1) == 0);
        let members: Vec<_> =
            fields.iter().map(|(field, value)| format!(r#""{field}":{value}"#)).collect();
        let json = with(&members.join(","));
        let submission = Submission::parse(json.clone());
        prop_assert!(submission.is_ok(), "{json}: {submission:?}");
        let Submission { event, warnings, .. } = submission.unwrap();
        prop_assert_eq!(event.raw(), json.as_bytes());
        let strict = ParseOptions { strict: true, ..ParseOptions::default() };
        let rejected = Submission::parse_with(json.clone(), &strict);
        prop_assert_eq!(rejected.is_err(), !warnings.is_empty(), "{}", json);
        let again = Event::from_parsed(event.raw().clone());
        for field in Field::ALL {
            prop_assert_eq!(shown(&again, field), shown(&event, field), "{} of {}", field, json);
        }
    }
}
