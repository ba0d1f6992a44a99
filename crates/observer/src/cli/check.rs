//! `observer check`: prints the effective settings and checks that each sink is reachable.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use humantime::format_duration;
use observer_journal::{OfflineJournal, OpenError};
use observer_pipeline::verify_versions;
use observer_server::{Access, BindError, verify_addresses};
use tokio::task::JoinSet;
use tokio::time;

use crate::telemetry::{Settings, probe};
use crate::{BuiltSink, Config, file_sinks, options, permissions};

/// Timeout of the check of a sink whose `timeout` is absent: that of a delivery, since a sink that
/// responds within it works.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Number of files of strangers that are listed for each sink.
const MAX_FILES: usize = 20;

/// Result of the checks.
pub(super) struct Report {
    pub(super) text: String,
    /// Number of checks that failed.
    failed: usize,
}

impl Report {
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Checks all sinks concurrently, then the telemetry endpoints. `prices` describes the price files.
pub(super) async fn report(
    config: &Config,
    sinks: Vec<BuiltSink>,
    prices: Option<String>,
    telemetry: &Settings,
) -> Report {
    let mut checks = JoinSet::new();
    let mut names: Vec<_> = sinks.iter().map(|sink| (sink.name.clone(), sink.type_name)).collect();
    let warnings = sinks.iter().flat_map(|BuiltSink { name, warnings, .. }| {
        warnings.iter().map(move |warning| format!("sinks.{name}: {warning}"))
    });
    let warnings: Vec<_> = warnings
        .chain(telemetry.warnings.iter().cloned())
        .chain(permissions::warnings(config))
        .chain(file_sinks::warnings(config))
        .collect();
    let mut problems = vec![Some("the check panicked".to_owned()); sinks.len()];
    for (index, BuiltSink { sink, settings, .. }) in sinks.into_iter().enumerate() {
        let timeout = settings.timeout.unwrap_or(DEFAULT_TIMEOUT);
        checks.spawn(async move {
            let checked = async {
                sink.verify_state().await?;
                sink.inspect().await
            };
            let problem = match time::timeout(timeout, checked).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.report()),
                Err(_) => {
                    Some(format!("no response within {}; see `timeout`", format_duration(timeout)))
                }
            };
            (index, problem)
        });
    }
    while let Some(joined) = checks.join_next().await {
        if let Ok((index, problem)) = joined {
            problems[index] = problem;
        }
    }

    // These are not sinks, and have a line only if they can't be used.
    for (name, problem) in
        [("journal", journal_problem(config)), ("server", listen_problem(config).await)]
    {
        if let Some(problem) = problem {
            names.push((name.to_owned(), ""));
            problems.push(Some(problem));
        }
    }

    for (signal, problem) in probe(telemetry).await {
        names.push((format!("telemetry: {}", signal.as_str()), "otlp"));
        problems.push(problem);
    }

    let mut text = effective_settings(config, prices, telemetry);
    for warning in warnings {
        let _ = writeln!(text, "warning  {warning}");
    }
    for (sink, files) in file_sinks::unowned(config) {
        for file in files.iter().take(MAX_FILES) {
            let file = file.display();
            let _ = writeln!(text, "unowned  sinks.{sink}: {file}");
        }
        if let Some(more) = files.len().checked_sub(MAX_FILES).filter(|more| *more > 0) {
            let _ = writeln!(text, "unowned  sinks.{sink}: {more} more files");
        }
        let _ = writeln!(
            text,
            "unowned  sinks.{sink}: it leaves these alone; to adopt them: observer sinks adopt {sink}"
        );
    }
    if names.is_empty() {
        text.push_str("\nno sinks: events stay in the journal\n");
    } else {
        let longest = |heading: &str, lengths: &mut dyn Iterator<Item = usize>| {
            lengths.fold(heading.len(), usize::max)
        };
        let name_width = longest("sink", &mut names.iter().map(|(name, _)| name.len()));
        let type_width = longest("type", &mut names.iter().map(|(_, type_name)| type_name.len()));
        let _ = writeln!(text, "\n{:name_width$}  {:type_width$}  check", "sink", "type");
        for ((name, type_name), problem) in names.iter().zip(&problems) {
            let outcome = problem.as_deref().unwrap_or("ok");
            let _ = writeln!(text, "{name:name_width$}  {type_name:type_width$}  {outcome}");
        }
    }
    Report { text, failed: problems.iter().flatten().count() }
}

/// Returns why the journal can't be used, as far as its files show.
fn journal_problem(config: &Config) -> Option<String> {
    let path = &config.journal.path;
    // The nearest part of the path that exists has to be a folder.
    let existing = path.ancestors().find(|part| part.exists());
    if let Some(file) = existing.filter(|existing| !existing.is_dir()) {
        let file = file.display();
        return Some(format!("{file} is a file; choose a folder in `journal.path`"));
    }
    verify_versions(&options::journal(config)).err().map(|error| observer_core::report(&error))
}

/// Returns why the addresses can't be listened on. While an observer has the journal open, they are
/// taken to be its own.
async fn listen_problem(config: &Config) -> Option<String> {
    let plain = config.server.listen.iter();
    let encrypted = config.server.tls.iter().flat_map(|tls| &tls.listen);
    let addresses: Vec<_> = plain.chain(encrypted).map(ToString::to_string).collect();
    let error = verify_addresses(&addresses).await.err()?;
    let is_running = || {
        let journal = OfflineJournal::open(options::journal(config));
        matches!(journal, Err(OpenError::InUse { .. }))
    };
    if matches!(error, BindError::InUse { .. }) && is_running() {
        return None;
    }
    Some(observer_core::report(&error))
}

fn effective_settings(config: &Config, prices: Option<String>, telemetry: &Settings) -> String {
    let Config { origin, data_dir, server, access, journal, .. } = config;
    let origin = origin
        .as_ref()
        .map_or_else(|| "none (defaults)".to_owned(), |path| path.display().to_string());
    let mut listen: Vec<_> = server.listen.iter().map(ToString::to_string).collect();
    if let Some(tls) = &server.tls {
        let mode = if tls.client_ca.is_some() { "TLS with client certificates" } else { "TLS" };
        listen.extend(tls.listen.iter().map(|address| format!("{address} ({mode})")));
    }
    let mut text = format!(
        "config   {origin}\nlisten   {listen}\naccess   {access}\n\
         socket   {socket}\ndata     {data}\n\
         journal  {journal} ({durability}, at most {max_size}, \
         delivered events kept for {retain})\n",
        listen = listen.join(", "),
        access = describe(&access.resolve()),
        socket = access
            .admin_socket
            .as_ref()
            .map_or_else(|| "none".to_owned(), |path| path.display().to_string()),
        data = data_dir.display(),
        journal = journal.path.display(),
        durability = journal.durability.as_str(),
        max_size = ByteSize(journal.max_size),
        retain = format_duration(journal.retain),
    );
    if let Some(prices) = prices {
        let _ = writeln!(text, "prices   {prices}");
    }
    if !telemetry.targets.is_empty() {
        let _ = writeln!(text, "otlp     {telemetry}");
    }
    text
}

/// Describes tokens by name, scopes and sources; the configuration holds no token itself.
fn describe(access: &Access) -> String {
    let tokens = access.tokens.iter().map(|token| {
        let sources = token.sources.as_ref().map(|sources| format!(" of {}", sources.join(", ")));
        format!("{} for {}{}; ", token.name, token.scopes, sources.unwrap_or_default())
    });
    format!("{}without a token for {}", tokens.collect::<String>(), access.anonymous_scopes())
        .replace('`', "")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use insta::assert_snapshot;
    use observer_core::{Batch, EventSink, Receipt, SinkError, SinkSettings};

    use super::*;
    use crate::config::TelemetryConfig;

    enum Scripted {
        Reachable,
        Blocked,
        Hanging,
    }

    #[async_trait]
    impl EventSink for Scripted {
        async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
            Ok(Receipt::accepted())
        }

        async fn flush(&self) -> Result<(), SinkError> {
            Ok(())
        }

        async fn check(&self) -> Result<(), SinkError> {
            match self {
                Self::Reachable => Ok(()),
                Self::Blocked => Err(SinkError::blocked("401 unauthorized")),
                Self::Hanging => std::future::pending().await,
            }
        }
    }

    fn without_telemetry() -> Settings {
        Settings::resolve(&TelemetryConfig::default(), &|_| None)
    }

    fn sink(name: &str, type_name: &'static str, sink: Scripted) -> BuiltSink {
        BuiltSink {
            name: name.to_owned(),
            type_name,
            sink: Arc::new(sink),
            settings: SinkSettings::default(),
            fingerprint: String::new(),
            store: None,
            warnings: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn report_has_a_line_per_sink_and_a_hung_check_delays_no_other() {
        let config = Config::parse("server.listen = \"127.0.0.1:0\"").unwrap();
        let sinks = vec![
            sink("archive", "file", Scripted::Reachable),
            sink("collector/logs", "otlp", Scripted::Hanging),
            sink("hooks", "http", Scripted::Blocked),
        ];
        let report = report(&config, sinks, None, &without_telemetry()).await;
        assert_eq!(report.exit_code(), ExitCode::FAILURE);
        assert_snapshot!(report.text, @"
        config   none (defaults)
        listen   127.0.0.1:0
        access   without a token for ingest, read and relay
        socket   observer-data/admin.sock
        data     observer-data
        journal  observer-data/journal (fsync, at most 10.0 GiB, delivered events kept for 1day)

        sink            type  check
        archive         file  ok
        collector/logs  otlp  no response within 30s; see `timeout`
        hooks           http  401 unauthorized
        ");
    }

    #[tokio::test]
    async fn check_succeeds_without_sinks() {
        let config = Config::parse("sinks = {}\nserver.listen = \"127.0.0.1:0\"").unwrap();
        let report = report(&config, Vec::new(), None, &without_telemetry()).await;
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
        assert!(
            report.text.ends_with("\n\nno sinks: events stay in the journal\n"),
            "{}",
            report.text
        );
    }
}
