//! Listeners, tokens, the socket of administration, hosts and origins.

use super::*;

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
    let public = "server.listen = ['127.0.0.1:3801', '0.0.0.0:3800']\n";
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
        Config::load_addresses(Some(&file)).map(|addresses| addresses.admin_socket)
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
      server.hosts[1]: must be a host name without scheme, port and wildcard, such as "observer.example.com", or "*" for any name
      server.hosts[2]: must be a host name without scheme, port and wildcard, such as "observer.example.com", or "*" for any name
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
