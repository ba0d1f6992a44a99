//! Validation across keys.

use std::net::SocketAddr;
use std::time::Duration;

use observer_server::{Scope, TokenDigest};

use super::journal::{MIN_SEGMENTS, MIN_SIZE};
use super::sinks::name_problem;
use super::{
    AccessConfig, Config, Problem, ServerConfig, parse::key_path::KeyPath, telemetry, tls,
};

/// Returns every problem of the configuration.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let Config {
        origin: _,
        data_dir,
        server,
        access,
        ingest,
        redact,
        journal,
        prices,
        telemetry,
        sinks,
    } = config;
    let mut problems = Vec::new();
    let mut reject = |applies: bool, key: &str, message: &str| {
        if applies {
            problems.push(Problem::new(key, message));
        }
    };

    reject(data_dir.as_os_str().is_empty(), "data_dir", "must not be empty");
    reject(
        server.listen.is_empty() && server.tls.is_none(),
        "server.listen",
        "must name at least one address",
    );
    for (key, timeout) in [
        ("server.body_timeout", server.body_timeout),
        ("server.write_timeout", server.write_timeout),
        ("server.header_timeout", server.header_timeout),
        ("server.ingest_timeout", server.ingest_timeout),
        ("ingest.dedup.window", ingest.dedup.window),
    ] {
        reject(timeout == Duration::ZERO, key, "must be longer than 0s");
    }
    reject(
        server.max_bytes_in_flight < server.max_body.max(server.max_batch_body),
        "server.max_bytes_in_flight",
        "must be at least server.max_body and server.max_batch_body; a smaller limit would reject \
         every body of that size",
    );
    reject(ingest.dedup.max_keys == 0, "ingest.dedup.max_keys", "must be at least 1");
    reject(
        ingest.phases.contains(""),
        "ingest.phases",
        "must not contain an empty string, since no event has an empty `event_kind`",
    );
    reject(journal.path.as_os_str().is_empty(), "journal.path", "must not be empty");
    for (key, size) in [
        ("server.max_body", server.max_body),
        ("server.max_batch_body", server.max_batch_body),
        ("journal.max_size", journal.max_size),
        ("journal.segment_size", journal.segment_size),
    ] {
        reject(size == 0, key, "must be larger than 0");
    }
    reject(
        (1..MIN_SIZE).contains(&journal.max_size),
        "journal.max_size",
        "must be at least 32KiB; a smaller journal has no room for events",
    );
    let min_size = journal.segment_size.saturating_mul(MIN_SEGMENTS);
    reject(
        journal.max_size > 0 && journal.max_size < min_size,
        "journal.max_size",
        "must be at least twice journal.segment_size, since space is freed by whole segments",
    );

    problems.extend(server_problems(server));
    problems.extend(tls::problems(server));
    problems.extend(access_problems(server, access));
    problems.extend(redact.problems());
    problems.extend(prices.problems());
    problems.extend(telemetry::problems(telemetry));
    let names = sinks.keys().filter_map(|name| name_problem(name).map(|problem| (name, problem)));
    problems
        .extend(names.map(|(name, problem)| Problem::new(KeyPath::of(["sinks", name]), problem)));
    problems
}

fn server_problems(server: &ServerConfig) -> impl Iterator<Item = Problem> {
    let is_host_name =
        |host: &str| !host.is_empty() && (host == "*" || !host.contains([':', '/', '@', ' ', '*']));
    let is_origin = |origin: &str| match origin.split_once("://") {
        Some((scheme, host)) => {
            !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '@', ' ', '*'])
        }
        None => origin == "*",
    };
    // The messages don't repeat the values, which may be substituted secrets.
    let hosts = server.hosts.iter().enumerate().filter(move |(_, host)| !is_host_name(host)).map(
        |(index, _)| {
            let path = KeyPath::of(["server", "hosts"]).index(index);
            let message = "must be a host name without scheme, port and wildcard, such as \
                 \"observer.example.com\", or \"*\" for any name";
            Problem::new(path, message)
        },
    );
    let origins = server.cors_origins.iter().enumerate();
    let origins = origins.filter(move |(_, origin)| !is_origin(origin)).map(|(index, _)| {
        let path = KeyPath::of(["server", "cors_origins"]).index(index);
        let message =
            "must be a scheme and a host without a path, such as \"https://grafana.example.com\"";
        Problem::new(path, message)
    });
    hosts.chain(origins).chain(repeated_addresses(server))
}

/// Returns a problem for each address that can't be listened on because an earlier one of the
/// configuration covers it. That an address is in both lists is [a problem of TLS](tls::problems).
fn repeated_addresses(server: &ServerConfig) -> Vec<Problem> {
    let plain = server.listen.iter().enumerate();
    let encrypted = server.tls.iter().flat_map(|tls| tls.listen.iter().enumerate());
    let paths = plain.map(|(index, address)| (&["server", "listen"][..], index, *address)).chain(
        encrypted.map(|(index, address)| (&["server", "tls", "listen"][..], index, *address)),
    );
    let mut earlier: Vec<(&[&str], SocketAddr)> = Vec::new();
    let mut problems = Vec::new();
    for (list, index, address) in paths {
        let covers = |(other_list, other): &&(&[&str], SocketAddr)| {
            overlap(*other, address) && (*other != address || *other_list == list)
        };
        if let Some((_, other)) = earlier.iter().find(covers) {
            let problem = if *other == address {
                format!("{address} is listed twice; remove one")
            } else {
                format!("{address} and {other} overlap; remove one")
            };
            problems.push(Problem::new(KeyPath::of(list.iter().copied()).index(index), problem));
        }
        earlier.push((list, address));
    }
    problems
}

/// Returns whether two listeners can't have these addresses at once. With port 0, each gets a port
/// of its own.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip(), other.ip());
    let covers = first == second
        || first.is_ipv4() == second.is_ipv4()
            && (first.is_unspecified() || second.is_unspecified());
    one.port() != 0 && one.port() == other.port() && covers
}

fn access_problems(server: &ServerConfig, access: &AccessConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let plain = server.listen.iter().map(|address| ("server.listen", address));
    // Client certificates authenticate clients, so such an address isn't open.
    let tls = server.tls.iter().filter(|tls| tls.client_ca.is_none()).flat_map(|tls| &tls.listen);
    let mut open = plain.chain(tls.map(|address| ("server.tls.listen", address)));
    let public = open.find(|(_, address)| !address.ip().is_loopback());
    if let Some((key, public)) = public.filter(|_| access.is_open_by_default()) {
        let problem = format!(
            "{public} is reachable from other machines, and no token is configured; add one from \
             `observer token` under [access.tokens.NAME], or set \
             `anonymous = [\"ingest\", \"read\"]` under [access] to open these scopes to \
             every client"
        );
        problems.push(Problem::new(key, problem));
    }
    let is_any = server.cors_origins.iter().any(|origin| origin == "*");
    let is_open = access.tokens.is_empty()
        && access.anonymous.as_ref().is_none_or(|scopes| scopes.contains(&Scope::Admin));
    if is_any && is_open {
        let problem = "\"*\" lets every page in a browser send and read events, and no token is \
                       configured; name the origins, or add a token under [access.tokens.NAME], or \
                       list the scopes of everyone in `anonymous` under [access], without \"admin\"";
        problems.push(Problem::new("server.cors_origins", problem));
    }
    let mut known: Vec<(&str, &TokenDigest)> = Vec::new();
    for (name, token) in &access.tokens {
        let path = KeyPath::of(["access", "tokens", name]);
        if token.scopes.is_empty() {
            let problem =
                "must name at least one scope: \"ingest\", \"read\", \"relay\" or \"admin\"";
            problems.push(Problem::new(path.key("scopes"), problem));
        }
        if let Some(sources) = &token.sources {
            if sources.is_empty() || sources.iter().any(String::is_empty) {
                let problem = "must name at least one source, and no empty one; for all sources, \
                               remove the key";
                problems.push(Problem::new(path.key("sources"), problem));
            }
            if token.scopes.contains(&Scope::Admin) {
                let problem = "the scope \"admin\" concerns all sources; use a token of its own \
                               without `sources`";
                problems.push(Problem::new(path.key("scopes"), problem));
            }
        }
        if token.rate.is_some_and(|rate| rate.bytes_per_second == Some(0)) {
            let problem = "must be larger than 0";
            problems.push(Problem::new(path.key("rate").key("bytes_per_second"), problem));
        }
        if token.sha256.is_empty() {
            problems.push(Problem::new(
                path.key("sha256"),
                "must hold at least one digest; generate one with `observer token`",
            ));
        }
        for digest in &token.sha256 {
            match known.iter().find(|(_, known)| *known == digest) {
                Some((other, _)) => {
                    problems.push(Problem::new(
                        path.key("sha256"),
                        format!("is the digest of token {other:?} too; use a token of its own"),
                    ));
                }
                None => known.push((name, digest)),
            }
        }
    }
    problems
}
