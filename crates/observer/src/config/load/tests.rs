use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;
use observer_core::{Field, Phases};
use observer_pipeline::Durability;
use observer_server::{Oversize, PartialStatus, Scope, Scopes, TokenDigest};
use observer_sink_otlp::{Compression, Protocol};

use super::from_text;
use crate::config::{Config, ConfigError, TelemetryConfig};

fn environment(name: &str) -> Option<OsString> {
    match name {
        "TOKEN" => Some("hunter2".into()),
        "LISTEN" => Some("[::]:9000".into()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    from_text(text, Some("observer.toml".into()), &environment)
}

fn problems(text: &str) -> String {
    let message = read(text).unwrap_err().to_string();
    assert!(!message.contains("hunter2"), "a secret shows in {message}");
    message
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(problems(text), format!("observer.toml: {expected}"));
}

#[test]
fn empty_file_is_the_default_configuration() {
    let config = from_text("", None, &environment).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.validate().map_err(|error| error.to_string()), Ok(()));
    assert_eq!(config.journal.path, Path::new("observer-data/journal"));
    assert_eq!(config.journal.segment_size, 64 << 20);
    assert_eq!(config.ingest.require["bot"], [Field::CycleId, Field::SigHash]);
    let archive = toml::to_string(&config.sinks["archive"].table).unwrap();
    assert_snapshot!(archive, @r#"
    path = "observer-data/events/{date}.jsonl"
    required = true
    start = "earliest"
    type = "file"
    "#);
}

#[test]
fn keys_are_read() {
    let config = read(
        r#"
        data_dir = "/var/lib/observer"
        [server]
        listen = "${LISTEN}"
        max_body = "64KiB"
        body_timeout = "1s"
        min_body_rate = "2KiB"
        write_timeout = "4s"
        header_timeout = "2s"
        ingest_timeout = "3s"
        shutdown_timeout = "0s"
        max_connections = 7
        max_requests_in_flight = 8
        max_queries_in_flight = 9
        max_bytes_in_flight = "20MiB"
        hosts = "observer.example"
        cors_origins = ["https://grafana.example", "http://localhost:3000"]
        [access]
        anonymous = ["ingest"]
        [access.tokens.ops]
        sha256 = ["b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799"]
        scopes = ["read", "admin"]
        rate = { per_second = 5 }
        [ingest]
        dedup = { window = "1h", max_keys = 10 }
        require = { scenario = ["usage"] }
        phases = ["queued"]
        strict = true
        oversize = "reject"
        partial_status = 200
        [journal]
        durability = "write"
        max_size = "80MiB"
        retain = "0s"
        [sinks.hooks]
        type = "http"
        token = "${TOKEN}"
        "#,
    )
    .unwrap();
    assert_eq!(config.server.listen, [SocketAddr::from(([0; 16], 9000))]);
    assert_eq!(config.server.max_body, 64 << 10);
    assert_eq!(config.server.ingest_timeout, Duration::from_secs(3));
    assert_eq!((config.ingest.dedup.window.as_secs(), config.ingest.dedup.max_keys), (3600, 10));
    assert_eq!(
        (config.server.max_connections.get(), config.server.max_requests_in_flight.get()),
        (7, 8)
    );
    assert_eq!(config.server.max_queries_in_flight.get(), 9);
    assert_eq!((config.server.min_body_rate, config.server.write_timeout.as_secs()), (2048, 4));
    assert_eq!((config.server.max_bytes_in_flight, config.server.hosts.len()), (20 << 20, 1));
    assert_eq!(config.server.cors_origins.len(), 2);
    let access = config.access.resolve();
    let rate = access.tokens[0].rate.unwrap();
    assert_eq!((&*access.tokens[0].name, rate.per_second.get(), rate.burst.get()), ("ops", 5, 50));
    assert_eq!(access.tokens[0].digests, [TokenDigest::of("swordfish")]);
    assert_eq!(access.tokens[0].scopes, Scopes::from_iter([Scope::Read, Scope::Admin]));
    assert_eq!(access.anonymous, Scopes::from_iter([Scope::Ingest]));
    assert_eq!(config.ingest.require.keys().collect::<Vec<_>>(), ["bot", "scenario"]);
    assert_eq!(config.ingest.phases, Phases::new(["queued"]));
    assert_eq!((config.ingest.strict, config.ingest.oversize), (true, Oversize::Reject));
    assert_eq!(config.ingest.partial_status, PartialStatus::Ok);
    assert_eq!(config.journal.path, Path::new("/var/lib/observer/journal"));
    assert_eq!(config.journal.durability, Durability::Write);
    assert_eq!(config.journal.segment_size, 10 << 20, "one eighth of a small journal");
    assert_eq!(config.state_dir("hooks"), Path::new("/var/lib/observer/sinks/hooks"));
    assert_eq!(config.sinks.len(), 1, "configured sinks replace the default ones");
    assert_eq!(config.sinks["hooks"].table["token"].as_str(), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

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
fn tls_requires_a_separate_address_a_certificate_and_its_key() {
    let tls = "[server.tls]\nlisten = '[::1]:3843'\ncert = 'cert.pem'\nkey = 'key.pem'\n";
    let config = read(tls).unwrap();
    assert_eq!(
        config.server.listen.len(),
        2,
        "plain HTTP stays available on the loopback addresses"
    );
    assert_eq!(config.server.tls.unwrap().resolve().listen, ["[::1]:3843"]);
    assert!(read(&format!("[server]\nlisten = []\n{tls}")).unwrap().server.listen.is_empty());
    check("server.listen = []", "server.listen: must name at least one address");
    check("[server.tls]", "server.tls: the key `listen` is missing");
    assert_snapshot!(problems("[server.tls]\nlisten = []\ncert = ''\nkey = ''\nclient_ca = ''"), @"
    observer.toml: 4 problems
      server.tls.listen: must name at least one address
      server.tls.cert: must not be empty
      server.tls.key: must not be empty
      server.tls.client_ca: must not be empty
    ");
    check(
        &format!("{tls}client_cert = 'ca.pem'"),
        "server.tls.client_cert: unknown key; did you mean `client_ca`?",
    );
    check(
        &tls.replace("3843", "3800"),
        "server.tls.listen: [::1]:3800 is in server.listen too; use a separate port for TLS",
    );
    let public = tls.replace("[::1]", "0.0.0.0");
    check(
        &public,
        "server.tls.listen: 0.0.0.0:3843 is reachable from other machines, and no token is \
         configured; add one from `observer token` under [access.tokens.NAME], or set \
         `anonymous = [\"ingest\", \"read\"]` under [access] to open these scopes to every client",
    );
    assert!(
        read(&format!("{public}client_ca = 'clients.pem'")).is_ok(),
        "client certificates restrict access"
    );
}

#[test]
fn public_address_requires_access_rules() {
    let public = "server.listen = ['127.0.0.1:3800', '0.0.0.0:3800']\n";
    check(
        public,
        "server.listen: 0.0.0.0:3800 is reachable from other machines, and no token is \
         configured; add one from `observer token` under [access.tokens.NAME], or set \
         `anonymous = [\"ingest\", \"read\"]` under [access] to open these scopes to every client",
    );
    for access in [
        "access.anonymous = ['ingest']",
        "access.anonymous = []",
        "access.tokens.ci.scopes = ['ingest']\naccess.tokens.ci.sha256 = \
         'b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799'",
    ] {
        assert!(read(&format!("{public}{access}")).is_ok(), "{access}");
    }
    let access = |text: &str| read(text).unwrap().access.resolve().anonymous;
    assert_eq!(access(""), Scopes::ALL_BUT_ADMIN);
    assert_eq!(access("access.anonymous = []"), Scopes::NONE);
}

#[test]
fn invalid_token_is_rejected_and_not_shown() {
    check(
        "access.tokens.ci = { scopes = ['ingest'], sha256 = 'hunter2' }",
        "access.tokens.ci.sha256: not the SHA-256 of a token, which has 64 hexadecimal digits; the \
         value is not shown in case it is the token itself",
    );
    assert_snapshot!(problems("access.tokens.ci = { scopes = ['ingest'], token = 'hunter2' }"), @"
    observer.toml: 2 problems
      access.tokens.ci.token: unknown key; known keys: `sha256`, `scopes`, `sources`, `rate`
      access.tokens.ci: the key `sha256` is missing
    ");
    check(
        "access.tokens.ci = { scopes = ['write'], sha256 = [] }",
        "access.tokens.ci.scopes[0]: unknown name \"write\"; known names: `ingest`, `read`, \
         `relay`, `admin`",
    );
    let digest = TokenDigest::of("swordfish");
    let text = format!(
        "[access.tokens]
        a = {{ scopes = ['ingest'], sha256 = '{digest}' }}
        b = {{ scopes = [], sha256 = '{digest}' }}"
    );
    assert_snapshot!(problems(&text), @r#"
    observer.toml: 2 problems
      access.tokens.b.scopes: must name at least one scope: "ingest", "read", "relay" or "admin"
      access.tokens.b.sha256: is the digest of token "a" too; use a token of its own
    "#);
    check(
        "access.anonymus = ['ingest']",
        "access.anonymus: unknown key; did you mean `anonymous`?",
    );
}

#[test]
fn token_may_be_limited_to_sources_and_rates() {
    let digest = TokenDigest::of("swordfish");
    let token = |more: &str| {
        read(&format!(
            "access.tokens.ci = {{ scopes = ['ingest', 'relay'], sha256 = '{digest}', {more} }}"
        ))
        .map(|config| config.access.resolve().tokens.remove(0))
        .map_err(|error| observer_core::report(&error).replace("observer.toml: ", ""))
    };
    let limited =
        token("sources = ['ci', 'nightly'], rate = { per_second = 5, bytes_per_second = '1MiB' }");
    let limited = limited.unwrap();
    assert_eq!(limited.sources.unwrap(), ["ci", "nightly"]);
    let rate = limited.rate.unwrap();
    assert_eq!((rate.burst.get(), rate.bytes_per_second.map(NonZeroU64::get)), (50, Some(1 << 20)));
    assert!(limited.scopes.contains(Scope::Relay));
    let unlimited = token("rate = { per_second = 5 }").unwrap();
    assert_eq!((unlimited.sources, unlimited.rate.unwrap().bytes_per_second), (None, None));

    let sources = "access.tokens.ci.sources: must name at least one source, and no empty one; for \
                   all sources, remove the key";
    assert_eq!(token("sources = []").unwrap_err(), sources);
    assert_eq!(token("sources = ['']").unwrap_err(), sources);
    assert_eq!(
        token("rate = { per_second = 5, bytes_per_second = 0 }").unwrap_err(),
        "access.tokens.ci.rate.bytes_per_second: must be larger than 0"
    );
    assert!(token("rate = { bytes_per_second = '1MiB' }").is_err());
    check(
        &format!(
            "access.tokens.ci = {{ scopes = ['admin'], sha256 = '{digest}', sources = ['ci'] }}"
        ),
        "access.tokens.ci.scopes: the scope \"admin\" concerns all sources; use a token of its own \
         without `sources`",
    );
}

#[test]
fn admin_socket_is_in_the_data_folder_by_default() {
    let socket = |text: &str| read(text).unwrap().access.admin_socket;
    assert_eq!(socket(""), Some("observer-data/admin.sock".into()));
    assert_eq!(
        socket("data_dir = '/var/lib/observer'"),
        Some("/var/lib/observer/admin.sock".into())
    );
    assert_eq!(socket("access.admin_socket = '/run/o.sock'"), Some("/run/o.sock".into()));
    assert_eq!(socket("access.admin_socket = false"), None);
    assert_eq!(socket("access.admin_socket = ''"), None);
    for (value, found) in [("true", "true"), ("1", "1"), ("['a']", "a list")] {
        check(
            &format!("access.admin_socket = {value}"),
            &format!(
                "access.admin_socket: expected the path of a socket, or false for none, found {found}"
            ),
        );
    }
}

#[test]
fn admin_socket_is_known_without_the_secrets_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("observer.toml");
    let socket = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Config::load_addresses(Some(&file)).map(|(socket, _)| socket)
    };
    let text = "data_dir = 'd'\n[access]\nanonymous = ['${UNSET_IN_THIS_TEST}']\n\
                [sinks.a]\ntoken = '${UNSET_IN_THIS_TEST}'\n";
    assert_eq!(socket(text).unwrap(), Some("d/admin.sock".into()));
    assert!(Config::load(Some(&file)).is_err(), "the whole file needs the variable");
    assert_eq!(socket("access.admin_socket = false").unwrap(), None);
    assert!(socket("access.admin_socket = '${UNSET_IN_THIS_TEST}'").is_err());
    assert!(socket("[access").is_err());
    assert!(Config::load_addresses(Some(&folder.path().join("missing.toml"))).is_err());
}

#[test]
fn malformed_host_names_and_origins_are_rejected() {
    let text = "server.hosts = ['a.example', 'http://a.example', 'a.example:3800']";
    assert_snapshot!(problems(text), @r#"
    observer.toml: 2 problems
      server.hosts[1]: must be a host name without scheme and port, such as "observer.example.com"
      server.hosts[2]: must be a host name without scheme and port, such as "observer.example.com"
    "#);
    let text = "server.cors_origins = ['grafana.example', 'https://grafana.example/']";
    assert_snapshot!(problems(text), @r#"
    observer.toml: 2 problems
      server.cors_origins[0]: must be a scheme and a host without a path, such as "https://grafana.example.com"
      server.cors_origins[1]: must be a scheme and a host without a path, such as "https://grafana.example.com"
    "#);
    check(
        "server.max_bytes_in_flight = '1MiB'",
        "server.max_bytes_in_flight: must be at least server.max_body and server.max_batch_body; \
         a smaller limit would reject every body of that size",
    );
}

#[test]
fn any_origin_needs_tokens_or_explicit_scopes() {
    let any = "server.cors_origins = ['*']\n";
    let token =
        format!("access.tokens.ci = {{ scopes = ['read'], sha256 = '{}' }}\n", "0".repeat(64));
    let refused = "server.cors_origins: \"*\" lets every page";
    for (access, is_refused) in [
        ("", true),
        ("access.anonymous = ['admin']\n", true),
        ("access.anonymous = ['ingest']\n", false),
        (&token, false),
    ] {
        let result = read(&format!("{any}{access}"));
        match result {
            Ok(_) => assert!(!is_refused, "{access}"),
            Err(error) => assert!(is_refused && error.to_string().contains(refused), "{error}"),
        }
    }
    assert!(read("server.cors_origins = ['https://grafana.example']").is_ok());
}

#[test]
fn values_under_keys_of_secrets_are_hidden() {
    for text in [
        "[access]\ntokens = 'hunter2'",
        "access = 'hunter2'",
        "[access.tokens]\nci = 'hunter2'",
        "[access.tokens.ci]\nscopes = ['read']\nsha256 = 'hunter2'",
        "[access.tokens.ci]\nscopes = ['read']\nsha256 = ['hunter2']",
        "[telemetry]\nendpoint = 'http://localhost:4317'\nheaders = 'hunter2'",
        "[telemetry]\nendpoint = 'http://localhost:4317'\nheaders = ['hunter2']",
    ] {
        let message = read(text).unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message =
        read("[access.tokens.ci]\nscopes = ['reed']\nsha256 = ''").unwrap_err().to_string();
    assert!(message.contains("unknown name \"reed\""), "{message}");
}

#[test]
fn telemetry_defaults_to_off_and_invalid_values_are_rejected() {
    assert_eq!(read("").unwrap().telemetry, TelemetryConfig::default());
    let written = "
        [telemetry]
        endpoint = 'https://collector.example.com:4317'
        protocol = 'grpc'
        signals = ['metrics']
        headers = { x-team = '${TOKEN}' }
        compression = 'gzip'
        tls = { ca = 'ca.pem' }
        interval = '15s'
        sample = 0.1
        resource = { 'deployment.environment.name' = 'prod' }
    ";
    let telemetry = read(written).unwrap().telemetry;
    assert_eq!(
        (telemetry.protocol, telemetry.compression),
        (Some(Protocol::Grpc), Some(Compression::Gzip))
    );
    assert_eq!((telemetry.interval, telemetry.sample), (Some(Duration::from_secs(15)), Some(0.1)));
    assert!(!format!("{telemetry:?}").contains("hunter2"));
    check("telemetry.endpont = 'x'", "telemetry.endpont: unknown key; did you mean `endpoint`?");
    check(
        "telemetry.protocol = 'http'",
        r#"telemetry.protocol: unknown name "http"; did you mean `http/protobuf`?"#,
    );
    check(
        "telemetry.signals = ['spans']",
        r#"telemetry.signals[0]: unknown name "spans"; known names: `traces`, `metrics`, `logs`"#,
    );
    check(
        "telemetry.endpoint = 'https://me:${TOKEN}@h'",
        "telemetry.endpoint: must not hold a user or a password; use `headers` for credentials",
    );
    let text = r#"
        [telemetry]
        endpoint = "127.0.0.1:4318"
        signals = []
        interval = "0s"
        sample = 2
        headers = { "a b" = "", c = "${TOKEN}\n" }
    "#;
    assert_snapshot!(problems(text), @r#"
    observer.toml: 6 problems
      telemetry.endpoint: must be a URL, such as "http://127.0.0.1:4318"
      telemetry.signals: must name at least one signal: "traces", "metrics" or "logs"
      telemetry.interval: must be longer than 0s
      telemetry.sample: must be between 0.0 (no trace) and 1.0 (every trace)
      telemetry.headers."a b": is not a valid header name
      telemetry.headers.c: holds a character that is invalid in a header, such as a line feed
    "#);
    check(
        "telemetry = { endpoint = 'http://h', tls = { ca = 'ca.pem' } }",
        "telemetry.tls: is for https, and `endpoint` begins with http://",
    );
    check(
        "telemetry.tls = { cert = 'cert.pem' }",
        "telemetry.tls.cert: needs its private key in `tls.key`",
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
