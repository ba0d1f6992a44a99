//! Requests of the commands.

use super::*;

#[track_caller]
fn check(line: &str, path: &str, parameters: &[(&str, &str)]) {
    let Request { path: segments, parameters: found } = request(line);
    assert_eq!(segments.join("/"), path, "{line}");
    let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, parameters, "{line}");
}

#[test]
fn empty_part_of_a_url_is_refused() {
    for line in ["history ", "query ", "sinks retry ", "dead-letters show  x", "replay --sink "] {
        let arguments = line.split(' ').map(str::to_owned);
        let cli = Cli::from_command_line(["observer".to_owned()].into_iter().chain(arguments));
        let error = cli.unwrap_err().to_string();
        assert!(error.contains("it is empty; give a value"), "{line}: {error}");
    }
}

#[test]
fn flags_become_parameters() {
    check("query", "v1/events", &[]);
    check("query a/b --source ci", "v1/events/a/b", &[("source", "ci")]);
    check("query .. --source ci", "v1/events/-", &[("id", ".."), ("source", "ci")]);
    check("history .", "v1/signatures/-", &[("sig_hash", ".")]);
    check("history -", "v1/signatures/-", &[]);
    check(
        "query --source a --source b --event-kind k --failed --sig-hash s --cycle-id c --model m \
         --label x=y=z --since 24h --until 2026-11-22 --limit 7 --cursor 1-2",
        "v1/events",
        &[
            ("source", "a"),
            ("source", "b"),
            ("event_kind", "k"),
            ("ok", "false"),
            ("sig_hash", "s"),
            ("cycle_id", "c"),
            ("staffer_id", "m"),
            ("label.x", "y=z"),
            ("since", "24h"),
            ("until", "2026-11-22"),
            ("limit", "7"),
            ("cursor", "1-2"),
        ],
    );
    check("query --ok", "v1/events", &[("ok", "true")]);
    check("history s", "v1/signatures/s", &[]);
    check(
        "history s --model m --history 3 --transitions 2",
        "v1/signatures/s",
        &[("model", "m"), ("history", "3"), ("transitions", "2")],
    );
    check(
        "problems --state broken --state fixed? --source a --model m --since 7d --until 1d --sort \
         recent --limit 5 --cursor x",
        "v1/signatures",
        &[
            ("state", "broken"),
            ("state", "fixed?"),
            ("source", "a"),
            ("model", "m"),
            ("since", "7d"),
            ("until", "1d"),
            ("sort", "recent"),
            ("limit", "5"),
            ("cursor", "x"),
        ],
    );
    check("models", "v1/models", &[]);
    check(
        "models --compare x y --source a --sig-hash s --since 7d --until 1d --by-source",
        "v1/models",
        &[
            ("source", "a"),
            ("sig_hash", "s"),
            ("since", "7d"),
            ("until", "1d"),
            ("by_source", "true"),
            ("a", "x"),
            ("b", "y"),
        ],
    );
    check(
        "usage --by label --label branch --source a --model m --since 7d --until 1d --tz UTC \
         --limit 9",
        "v1/usage",
        &[
            ("by", "label"),
            ("label", "branch"),
            ("source", "a"),
            ("model", "m"),
            ("since", "7d"),
            ("until", "1d"),
            ("tz", "UTC"),
            ("limit", "9"),
        ],
    );
    check("hints", "v1/hints", &[]);
    check(
        "hints --source a --model m --since 7d --until 1d",
        "v1/hints",
        &[("source", "a"), ("model", "m"), ("since", "7d"), ("until", "1d")],
    );
    check("diff", "v1/diff", &[("since", "24h")]);
    check(
        "diff --since 7d --change failed --change slower --source a --model m --limit 2",
        "v1/diff",
        &[
            ("since", "7d"),
            ("change", "failed"),
            ("change", "slower"),
            ("source", "a"),
            ("model", "m"),
            ("limit", "2"),
        ],
    );
}

#[test]
fn contradictory_flags_are_rejected() {
    for line in [
        "query --ok --failed",
        "query --json --ndjson",
        "query ID --since 1d",
        "query ID --csv",
        "query --label branch",
        "query --label =x",
        "history s --md --history 3",
        "history s --csv --transitions 3",
        "history s --max-chars 300",
        "models --compare x",
        "models --compare x y --csv",
        "usage --json --csv",
    ] {
        let arguments = ["observer"].into_iter().chain(line.split(' '));
        assert!(Cli::from_command_line(arguments).is_err(), "{line}");
    }
}
