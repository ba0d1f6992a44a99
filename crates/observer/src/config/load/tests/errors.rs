//! What is wrong with a file is said with its key and a remedy.

use super::*;

#[test]
fn unknown_key_suggests_the_nearest_one() {
    check("[server]\nlistn = 1", "server.listn: unknown key; did you mean `listen`?");
    check("sink.a.type = 'file'", "sink: unknown key; did you mean `sinks`?");
    check(
        "journal.colour = 1",
        "journal.colour: unknown key; known keys: `path`, `durability`, `max_size`, `retain`, \
         `segment_size`",
    );
    check("ingest.dedup.windw = '1h'", "ingest.dedup.windw: unknown key; did you mean `window`?");
}

#[test]
fn malformed_value_is_reported_with_the_expected_form() {
    check(
        "server.body_timeout = 10",
        "server.body_timeout: expected a duration with its unit in quotes, such as \"500ms\", \
         \"30s\" or \"24h\", found 10",
    );
    check(
        "journal.max_size = '10 parsecs'",
        "journal.max_size: expected a size such as \"64KiB\", \"1MiB\" or \"10GiB\", found \"10 \
         parsecs\"",
    );
    check(
        "server.listen = '127.0.0.1'",
        r#"server.listen: the address "127.0.0.1" has no port; write "127.0.0.1:3800""#,
    );
    check(
        "server.listen = ['[::1]:1', '[::1]']",
        r#"server.listen[1]: the address "[::1]" has no port; write "[::1]:3800""#,
    );
    check(
        "server.listen = 'localhost:1'",
        "server.listen: \"localhost:1\" is not an IP address with a port, such as \
         \"127.0.0.1:3800\" or \"[::1]:3800\"",
    );
    check(
        "server.listen = 3800",
        "server.listen: expected an address with a port, such as \"127.0.0.1:3800\", or a list \
         of them, found 3800",
    );
    check(
        "journal.durability = 'sync'",
        r#"journal.durability: unknown name "sync"; did you mean `fsync`?"#,
    );
    check(
        "journal.durability = true",
        r#"journal.durability: expected "fsync" or "write", found true"#,
    );
    check(
        "ingest.oversize = 'trims'",
        r#"ingest.oversize: unknown name "trims"; did you mean `trim`?"#,
    );
    check("ingest.partial_status = 204", "ingest.partial_status: 204 is neither 200 nor 207");
    check("ingest.phases = 'started'", "ingest.phases: expected a list, found \"started\"");
    check(
        "ingest.require.bot = ['cycle']",
        r#"ingest.require.bot[0]: unknown name "cycle"; did you mean `cycle_id`?"#,
    );
    check(
        "ingest.require.bot = ['colour']",
        "ingest.require.bot[0]: unknown name \"colour\"; known names: `cycle_id`, `sig_hash`, \
         `staffer_id`, `turns`, `duration_ms`, `extra`, `id`, `timestamp`, `traceparent`, \
         `usage`, `cost_usd`, `attempt`, `replaces`, `labels`",
    );
    check(
        "ingest.dedup.max_keys = -1",
        "ingest.dedup.max_keys: expected a whole number of at least 0, found -1",
    );
    check("server = 1", "server: expected a table, found 1");
    check("sinks = 1", "sinks: expected a table of sinks; write each sink as [sinks.NAME]");
    check("sinks.type = 'file'", "sinks.type: expected a table; write each sink as [sinks.NAME]");
}

#[test]
fn addresses_that_exclude_each_other_are_rejected() {
    for (server, expected) in [
        (
            "listen = ['127.0.0.1:1', '127.0.0.1:1']",
            "server.listen[1]: 127.0.0.1:1 is listed twice; remove one",
        ),
        (
            "listen = ['127.0.0.1:1', '[::1]:1', '0.0.0.0:1']\nhosts = 'a'",
            "server.listen[2]: 0.0.0.0:1 and 127.0.0.1:1 overlap; remove one",
        ),
        (
            "listen = '[::1]:7'\ntls = { listen = '[::]:7', cert = 'c', key = 'k' }",
            "server.tls.listen[0]: [::]:7 and [::1]:7 overlap; remove one",
        ),
    ] {
        let text = format!("[access]\nanonymous = ['ingest']\n[server]\n{server}\n");
        check(&text, expected);
    }
    for server in ["listen = ['127.0.0.1:0', '127.0.0.1:0']", "listen = ['127.0.0.1:1', '[::1]:1']"]
    {
        read(&format!("[server]\n{server}\n")).unwrap();
    }
}

#[test]
fn values_out_of_range_are_rejected() {
    check(
        "journal = { max_size = '1MiB', segment_size = '1MiB' }",
        "journal.max_size: must be at least twice journal.segment_size, since space is freed by \
         whole segments",
    );
    assert_snapshot!(problems("journal.max_size = 0"), @"
    observer.toml: 2 problems
      journal.max_size: must be larger than 0
      journal.segment_size: must be larger than 0
    ");
    check(
        "ingest.phases = ['started', '']",
        "ingest.phases: must not contain an empty string, since no event has an empty `event_kind`",
    );
    check("server.ingest_timeout = '0s'", "server.ingest_timeout: must be longer than 0s");
    check("server.listen = []", "server.listen: must name at least one address");
    for size in ["1KiB", "32767B"] {
        check(
            &format!("journal.max_size = '{size}'"),
            "journal.max_size: must be at least 32KiB; a smaller journal has no room for events",
        );
    }
    check(
        "[sinks.'a.b']\n",
        "sinks.\"a.b\": the name of a sink must consist of the letters A-Z and a-z, digits, `_` \
         and `-`",
    );
    let name = "a".repeat(65);
    check(
        &format!("[sinks.{name}]\n"),
        &format!("sinks.{name}: the name of a sink must have at most 64 characters"),
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "
        data_dri = 'x'
        server = { listn = 1, max_body = 'x' }
        journal.retain = 3
        sinks.a = 1
    ";
    assert_snapshot!(problems(text), @r#"
    observer.toml: 5 problems
      data_dri: unknown key; did you mean `data_dir`?
      journal.retain: expected a duration with its unit in quotes, such as "500ms", "30s" or "24h", found 3
      server.listn: unknown key; did you mean `listen`?
      server.max_body: expected a size such as "64KiB", "1MiB" or "10GiB", found "x"
      sinks.a: expected a table; write each sink as [sinks.NAME]
    "#);
}

#[test]
fn substituted_values_appear_in_no_message() {
    check(
        "server.listen = '${TOKEN}'",
        "server.listen: invalid value (hidden, since it was substituted)",
    );
    check(
        "server.listen = ['127.0.0.1:1', '${TOKEN}']",
        "server.listen[1]: invalid value (hidden, since it was substituted)",
    );
    check(
        "server.max_body = '${TOKEN}'",
        "server.max_body: expected a size such as \"64KiB\", \"1MiB\" or \"10GiB\" (the value is \
         hidden, since it was substituted)",
    );
    check(
        "journal.durability = '${TOKEN}'",
        "journal.durability: invalid value (hidden, since it was substituted)",
    );
    check(
        "journal = '${TOKEN}'",
        "journal: expected a table (the value is hidden, since it was substituted)",
    );
}

#[test]
fn missing_substitution_is_reported_with_its_key() {
    check(
        "sinks.collector.token = '${COLLECTOR_TOKEN}'",
        "sinks.collector.token: environment variable COLLECTOR_TOKEN is not set",
    );
    assert_snapshot!(problems("sinks.a.urls = ['x', '${file:/no/such}']\ndata_dir = '${'"), @"
    observer.toml: 2 problems
      data_dir: `${` without a `}`; write `$$` for a plain `$`
      sinks.a.urls[1]: the file /no/such can't be read: No such file or directory (os error 2)
    ");
}

#[test]
fn syntax_error_is_reported_with_its_line() {
    check(
        "[server]\nlisten = 127.0.0.1:3800\n",
        "line 2, column 15: invalid float, expected nothing",
    );
    check("[server]\nlisten = 'a'\nlisten = 'b'\n", "line 3, column 1: duplicate key");
    check(
        "[sinks.hook]\ntoken = 'hunter2\n",
        "line 2, column 17: invalid literal string, expected `'`",
    );
}

#[test]
fn named_file_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str| {
        let path = folder.path().join(name);
        let error = Config::load(Some(&path)).unwrap_err();
        observer_core::report(&error).replace(folder.path().to_str().unwrap(), "…")
    };
    assert_eq!(error("missing.toml"), "the configuration file …/missing.toml does not exist");
    assert_eq!(
        error("."),
        "the configuration file …/. can't be read: Is a directory (os error 21)"
    );
    std::fs::write(folder.path().join("latin.toml"), b"data_dir = '\xe9'").unwrap();
    assert_eq!(
        error("latin.toml"),
        "the configuration file …/latin.toml can't be read: stream did not contain valid UTF-8"
    );
    std::fs::write(folder.path().join("good.toml"), "data_dir = 'd'").unwrap();
    let config = Config::load(Some(&folder.path().join("good.toml"))).unwrap();
    assert_eq!(config.data_dir, Path::new("d"));
    assert_eq!(config.origin, Some(folder.path().join("good.toml")));
}
