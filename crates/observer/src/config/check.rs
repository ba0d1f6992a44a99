//! What a single value can't know of itself.

use std::time::Duration;

use observer_server::TokenDigest;

use super::journal::LEAST_SEGMENTS;
use super::sinks::name_problem;
use super::{AccessConfig, Config, Problem, ServerConfig, key::KeyPath, telemetry, tls};

/// Everything in the configuration that can't be.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let Config { origin: _, data_dir, server, access, ingest, journal, telemetry, sinks } = config;
    let mut problems = Vec::new();
    let mut refuse = |applies: bool, key: &str, message: &str| {
        if applies {
            problems.push(Problem::new(key, message));
        }
    };

    refuse(data_dir.as_os_str().is_empty(), "data_dir", "must not be empty");
    refuse(
        server.listen.is_empty() && server.tls.is_none(),
        "server.listen",
        "must name at least one address",
    );
    for (key, timeout) in [
        ("server.body_timeout", server.body_timeout),
        ("server.header_timeout", server.header_timeout),
        ("server.ingest_timeout", server.ingest_timeout),
        ("ingest.dedup.window", ingest.dedup.window),
    ] {
        refuse(timeout == Duration::ZERO, key, "must be longer than 0s");
    }
    refuse(
        server.max_bytes_in_flight < server.max_body.max(server.max_batch_body),
        "server.max_bytes_in_flight",
        "must be at least as large as server.max_body and server.max_batch_body, or a body of that size could never be taken",
    );
    refuse(ingest.dedup.max_keys == 0, "ingest.dedup.max_keys", "must be at least 1");
    refuse(journal.path.as_os_str().is_empty(), "journal.path", "must not be empty");
    for (key, size) in [
        ("server.max_body", server.max_body),
        ("server.max_batch_body", server.max_batch_body),
        ("journal.max_size", journal.max_size),
        ("journal.segment_size", journal.segment_size),
    ] {
        refuse(size == 0, key, "must be larger than 0");
    }
    let least = journal.segment_size.saturating_mul(LEAST_SEGMENTS);
    refuse(
        journal.max_size > 0 && journal.max_size < least,
        "journal.max_size",
        "must be at least twice journal.segment_size, since room is made by removing whole segments",
    );

    problems.extend(server_problems(server));
    problems.extend(tls::problems(server));
    problems.extend(access_problems(server, access));
    problems.extend(telemetry::problems(telemetry));
    let names = sinks.keys().filter_map(|name| name_problem(name).map(|problem| (name, problem)));
    problems
        .extend(names.map(|(name, problem)| Problem::new(KeyPath::of(["sinks", name]), problem)));
    problems
}

fn server_problems(server: &ServerConfig) -> impl Iterator<Item = Problem> {
    let is_name = |host: &str| !host.is_empty() && !host.contains([':', '/', '@', ' ']);
    let is_origin = |origin: &str| match origin.split_once("://") {
        Some((scheme, host)) => {
            !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '@', ' ', '*'])
        }
        None => origin == "*",
    };
    // The values are not repeated: they may have been filled in.
    let hosts = server.hosts.iter().enumerate().filter(move |(_, host)| !is_name(host)).map(
        |(index, _)| {
            let at = KeyPath::of(["server", "hosts"]).index(index);
            Problem::new(
                at,
                "a host name has neither scheme nor port, such as \"observer.example.com\"",
            )
        },
    );
    let origins =
        server.cors_origins.iter().enumerate().filter(move |(_, origin)| !is_origin(origin)).map(|(index, _)| {
            let at = KeyPath::of(["server", "cors_origins"]).index(index);
            Problem::new(at, "an origin has a scheme and a host and no path, such as \"https://grafana.example.com\"")
        });
    hosts.chain(origins)
}

fn access_problems(server: &ServerConfig, access: &AccessConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let plain = server.listen.iter().map(|address| ("server.listen", address));
    // Clients that show a certificate aren't just anyone.
    let tls = server.tls.iter().filter(|tls| tls.client_ca.is_none()).flat_map(|tls| &tls.listen);
    let mut all = plain.chain(tls.map(|address| ("server.tls.listen", address)));
    let public = all.find(|(_, address)| !address.ip().is_loopback());
    if let Some((key, public)) = public.filter(|_| access.is_open_by_default()) {
        let problem = format!(
            "{public} can be reached from other machines, and there are no tokens; make one with `observer token` and put it \
             under [access.tokens.NAME], or write `anonymous = [\"ingest\", \"read\"]` under [access] to let everyone do that"
        );
        problems.push(Problem::new(key, problem));
    }
    let mut known: Vec<(&str, &TokenDigest)> = Vec::new();
    for (name, token) in &access.tokens {
        let at = KeyPath::of(["access", "tokens", name]);
        if token.scopes.is_empty() {
            let problem = "must name at least one scope: \"ingest\", \"read\" or \"admin\"";
            problems.push(Problem::new(at.key("scopes"), problem));
        }
        if token.sha256.is_empty() {
            problems.push(Problem::new(
                at.key("sha256"),
                "must have at least one digest; `observer token` makes one",
            ));
        }
        for digest in &token.sha256 {
            match known.iter().find(|(_, known)| *known == digest) {
                Some((other, _)) => {
                    problems.push(Problem::new(
                        at.key("sha256"),
                        format!("is the same token as that of {other:?}"),
                    ));
                }
                None => known.push((name, digest)),
            }
        }
    }
    problems
}
