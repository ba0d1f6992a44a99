//! `observer check`: what is in effect, and whether each sink can be reached.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use humantime::format_duration;
use observer_pipeline::Durability;
use observer_server::Access;
use tokio::task::JoinSet;
use tokio::time;

use crate::telemetry::{Settings, reach};
use crate::{BuiltSink, Config};

/// For a sink whose `timeout` isn't set.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a check found.
pub(super) struct Report {
    pub(super) text: String,
    failed: usize,
}

impl Report {
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Ask all sinks at the same time, and then where telemetry goes.
pub(super) async fn report(config: &Config, sinks: Vec<BuiltSink>, telemetry: &Settings) -> Report {
    let mut checks = JoinSet::new();
    let mut names: Vec<_> = sinks.iter().map(|sink| (sink.name.clone(), sink.type_name)).collect();
    let mut problems = vec![Some("the check panicked".to_owned()); sinks.len()];
    for (place, BuiltSink { sink, settings, .. }) in sinks.into_iter().enumerate() {
        let timeout = settings.timeout.unwrap_or(DEFAULT_TIMEOUT);
        checks.spawn(async move {
            let problem = match time::timeout(timeout, sink.check()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.report()),
                Err(_) => {
                    Some(format!("no answer within {}, see `timeout`", format_duration(timeout)))
                }
            };
            (place, problem)
        });
    }
    while let Some(ended) = checks.join_next().await {
        if let Ok((place, problem)) = ended {
            problems[place] = problem;
        }
    }

    for (signal, problem) in reach(telemetry).await {
        names.push((format!("telemetry: {}", signal.name()), "otlp"));
        problems.push(problem);
    }

    let mut text = in_effect(config, telemetry);
    if names.is_empty() {
        text.push_str("\nno sinks: events go to the journal, and nowhere from there\n");
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

fn in_effect(config: &Config, telemetry: &Settings) -> String {
    let Config { origin, data_dir, server, access, journal, .. } = config;
    let origin = origin
        .as_ref()
        .map_or_else(|| "none, the defaults hold".to_owned(), |path| path.display().to_string());
    let mut listen: Vec<_> = server.listen.iter().map(ToString::to_string).collect();
    if let Some(tls) = &server.tls {
        let how = if tls.client_ca.is_some() { "TLS with client certificates" } else { "TLS" };
        listen.extend(tls.listen.iter().map(|address| format!("{address} ({how})")));
    }
    let mut text = format!(
        "config   {origin}\nlisten   {listen}\naccess   {access}\ndata     {data}\njournal  {journal} ({durability}, at most {max_size}, delivered events stay {retain})\n",
        listen = listen.join(", "),
        access = in_words(&access.resolve()),
        data = data_dir.display(),
        journal = journal.path.display(),
        durability = match journal.durability {
            Durability::Fsync => "fsync",
            Durability::Write => "write",
        },
        max_size = ByteSize(journal.max_size),
        retain = format_duration(journal.retain),
    );
    if !telemetry.targets.is_empty() {
        let _ = writeln!(text, "otlp     {telemetry}");
    }
    for ignored in &telemetry.ignored {
        let _ = writeln!(text, "warning  {ignored}");
    }
    text
}

/// Tokens by name, since there is nothing else to show of them.
fn in_words(access: &Access) -> String {
    let tokens = access.tokens.iter().map(|token| format!("{} for {}; ", token.name, token.scopes));
    format!("{}without a token for {}", tokens.collect::<String>(), access.anonymous)
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
        Fine,
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
                Self::Fine => Ok(()),
                Self::Blocked => Err(SinkError::blocked("401 unauthorized")),
                Self::Hanging => std::future::pending().await,
            }
        }
    }

    fn off() -> Settings {
        Settings::resolve(&TelemetryConfig::default(), &|_| None)
    }

    fn sink(name: &str, type_name: &'static str, sink: Scripted) -> BuiltSink {
        BuiltSink {
            name: name.to_owned(),
            type_name,
            sink: Arc::new(sink),
            settings: SinkSettings::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_sink_has_its_line_and_one_that_hangs_holds_up_no_other() {
        let config = Config::parse("").unwrap();
        let sinks = vec![
            sink("archive", "file", Scripted::Fine),
            sink("collector/logs", "otlp", Scripted::Hanging),
            sink("hooks", "http", Scripted::Blocked),
        ];
        let report = report(&config, sinks, &off()).await;
        assert_eq!(report.exit_code(), ExitCode::FAILURE);
        assert_snapshot!(report.text, @"
        config   none, the defaults hold
        listen   127.0.0.1:3800, [::1]:3800
        access   without a token for ingest, read and admin
        data     observer-data
        journal  observer-data/journal (fsync, at most 10.0 GiB, delivered events stay 1day)

        sink            type  check
        archive         file  ok
        collector/logs  otlp  no answer within 10s, see `timeout`
        hooks           http  401 unauthorized
        ");
    }

    #[tokio::test]
    async fn no_sinks_at_all_is_fine_and_said() {
        let config = Config::parse("sinks = {}").unwrap();
        let report = report(&config, Vec::new(), &off()).await;
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
        assert!(
            report
                .text
                .ends_with("\n\nno sinks: events go to the journal, and nowhere from there\n"),
            "{}",
            report.text
        );
    }
}
