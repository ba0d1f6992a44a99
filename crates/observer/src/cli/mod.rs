//! The command line.

mod args;
mod check;
mod connect;
mod dead_letters;
mod emit;
mod failure;
mod grid;
mod health;
mod journal;
mod kb;
mod mcp;
mod output;
mod query;
mod redact;
mod remote;
mod replay;
mod signal;
mod sinks;
mod sockets;
mod tail;
mod token;

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::CommandFactory;
use observer_prices::Prices;
use observer_server::ReloadHandler;
use tokio::runtime::Builder;
use tokio::signal::unix::Signal;

use self::args::{Cli, Command, ServeArgs};
use self::failure::{Failure, USAGE};
use self::output::{print, print_error, print_styled};
use self::query::QueryCommand;
use crate::logging::LogFormat;
use crate::serve::Outside;
use crate::telemetry::{Settings, Telemetry};
use crate::{Config, ConfigError, Registry, ServeError, Service, file_sinks, logging, prices, tls};

/// Wanted limit of open files and connections; the hard limit of the system caps it.
const MAX_DESCRIPTORS: u64 = 65_536;

/// Parses the command line and runs its command.
pub(crate) fn run<A: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = A>,
    sink_types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
) -> ExitCode {
    tls::install();
    let cli = match Cli::from_command_line(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, errors to standard error. If that write fails, nothing
            // else can be reported.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    let is_serve = matches!(cli.command, None | Some(Command::Serve(_)));
    let log_format = cli.global.log_format;
    dispatch(cli, sink_types).unwrap_or_else(|Failure { status, error }| {
        let report = observer_core::report(error.as_ref());
        if is_serve {
            logging::write_fatal(log_format, &report);
        } else {
            print_error(&format!("observer: {report}"));
        }
        ExitCode::from(status)
    })
}

fn dispatch(
    cli: Cli,
    sink_types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
) -> Result<ExitCode, Failure> {
    let Cli { global, command } = cli;
    let command = command.unwrap_or_else(|| Command::Serve(ServeArgs::default()));
    // `serve` initialises the log later: telemetry in the configuration adds layers to it.
    let log = LogOptions { format: global.log_format, filter: global.log };
    logging::parse(&log.filter)?;
    if !matches!(command, Command::Serve(_)) {
        logging::init(log.format, &log.filter)?;
    }
    let file = global.config;
    let load = {
        let file = file.clone();
        move || Config::load(file.as_deref())
    };
    let file = file.as_deref();
    match command {
        Command::Serve(arguments) => {
            serve(move || Ok(arguments.clone().apply(load()?)), sink_types, &log)
        }
        Command::Check { redact: Some(file) } => {
            let text = match load()?.redact.preview() {
                Some(redactor) => redact::preview(&redactor, &file)?,
                None => "redaction is disabled by redact.enabled\n".to_owned(),
            };
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { redact: None } => {
            let config = load()?;
            config.load_tls()?;
            let prices = prices::describe(&config, &config.load_prices()?);
            let sinks = sink_types(&prometheus::Registry::new()).build_all(&config)?;
            file_sinks::refuse_overlaps(&config)?;
            let telemetry = Settings::resolve(&config.telemetry, &|name| env::var_os(name));
            let report = block_on(
                Builder::new_multi_thread(),
                check::report(&config, sinks, prices, &telemetry),
            )?;
            print(&report.text)?;
            Ok(report.exit_code())
        }
        Command::Emit(arguments) => block_on(Builder::new_current_thread(), emit::run(*arguments))?,
        Command::Query(arguments) => query(*arguments, file, sink_types),
        Command::Tail(arguments) => {
            block_on(Builder::new_current_thread(), tail::run(*arguments, file))?
        }
        Command::History(arguments) => query(*arguments, file, sink_types),
        Command::Problems(arguments) => query(*arguments, file, sink_types),
        Command::Models(arguments) => query(*arguments, file, sink_types),
        Command::Usage(arguments) => query(*arguments, file, sink_types),
        Command::Diff(arguments) => query(*arguments, file, sink_types),
        Command::Hints(arguments) => query(*arguments, file, sink_types),
        Command::Mcp(arguments) => {
            block_on(Builder::new_current_thread(), mcp::run(*arguments, file))?
        }
        Command::Status(remote) => {
            block_on(Builder::new_current_thread(), sinks::status(*remote, file))?
        }
        Command::Health(arguments) => {
            block_on(Builder::new_current_thread(), health::run(*arguments, file))?
        }
        Command::Sinks(arguments) => {
            block_on(Builder::new_current_thread(), sinks::run(*arguments, file))?
        }
        Command::DeadLetters(arguments) => {
            block_on(Builder::new_current_thread(), dead_letters::run(*arguments, file))?
        }
        Command::Replay(arguments) => {
            block_on(Builder::new_current_thread(), replay::run(*arguments, file))?
        }
        Command::Journal(arguments) => journal::run(&arguments, &load()?),
        Command::Kb(arguments) => kb::run(arguments, &load()?),
        Command::Token(arguments) => {
            print(&token::generate(&arguments)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "observer", &mut script);
            print_styled(&String::from_utf8(script).context("the completions are not UTF-8")?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn query(
    command: impl QueryCommand,
    config: Option<&Path>,
    sink_types: impl Fn(&prometheus::Registry) -> Registry,
) -> Result<ExitCode, Failure> {
    let open_file = || {
        let config = Config::load(config)?;
        let prices = Arc::new(Prices::new(config.load_prices()?));
        let registry = sink_types(&prometheus::Registry::new()).with_prices(prices);
        Ok(registry.store(&config))
    };
    let context = query::Context { config, open_file: &open_file };
    block_on(Builder::new_current_thread(), command.run(context))?
}

/// Format and filter of the log.
struct LogOptions {
    format: LogFormat,
    filter: String,
}

fn serve(
    load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    sink_types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
    log: &LogOptions,
) -> Result<ExitCode, Failure> {
    let sockets = sockets::inherit()?;
    block_on(Builder::new_multi_thread(), async {
        let shutdown = signal::shutdown()?;
        let hangups = signal::hangups()?;
        signal::survive_file_size_limit()?;
        signal::ignore_user_signals()?;
        let config = load()?;
        config.validate()?;
        let telemetry = Telemetry::new(&config, &|name| env::var_os(name))?;
        let layers = telemetry.layers(logging::parse(&log.filter)?);
        if layers.is_empty() {
            logging::init(log.format, &log.filter)?;
        } else {
            logging::init_with(log.format, &log.filter, layers)?;
        }
        telemetry.log_warnings();
        // Every producer holds a connection, and the soft limit may be lower than their number.
        if let Err(error) = rlimit::increase_nofile_limit(MAX_DESCRIPTORS) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        let outside = Outside { telemetry: Some(telemetry), sockets };
        match Service::start_loaded(config, load, sink_types, outside).await {
            Ok(service) => {
                let reloading = tokio::spawn(reload_on(hangups, service.reloader()));
                service.run(shutdown).await;
                reloading.abort();
            }
            Err(ServeError::Config(error)) => return Err(error.into()),
            Err(error) => return Err(error.into()),
        }
        Ok(ExitCode::SUCCESS)
    })?
}

async fn reload_on(mut hangups: Signal, reloader: Option<Arc<dyn ReloadHandler>>) {
    let Some(reloader) = reloader else { return };
    while hangups.recv().await.is_some() {
        // The reloader logs the result.
        let _ = reloader.reload().await;
    }
}

/// Runs the future to completion and waits for no other task: a blocked read of standard input or
/// of a disk may never return.
fn block_on<F: Future>(mut builder: Builder, future: F) -> io::Result<F::Output> {
    let runtime = builder.enable_all().build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

#[cfg(test)]
mod tests;
