//! The command line.

mod args;
mod check;
mod connect;
mod dead_letters;
mod emit;
mod journal;
mod remote;
mod replay;
mod signal;
mod sinks;
mod token;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::CommandFactory;
use observer_server::ReloadHandler;
use tokio::runtime::Builder;
use tokio::signal::unix::Signal;

use self::args::{Cli, Command, ServeArgs};
use crate::logging::LogFormat;
use crate::telemetry::{Settings, Telemetry};
use crate::{Config, ConfigError, Registry, ServeError, Service, logging, tls};

/// Something the operator has to mend on the command line or in the file.
const USAGE: u8 = 2;

/// How many files and connections may be open, where the system's hard limit lets them.
const MAX_DESCRIPTORS: u64 = 65_536;

/// A command that came to nothing.
#[derive(Debug)]
struct Failed {
    status: u8,
    error: anyhow::Error,
}

impl Failed {
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { status: USAGE, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        let error = error.into();
        let status = if error.is::<crate::ConfigError>() || error.is::<logging::LogError>() {
            USAGE
        } else {
            1
        };
        Self { status, error }
    }
}

/// Read the command line and do what it says.
pub(crate) fn run<A: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = A>,
    types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
) -> ExitCode {
    tls::install();
    let cli = match Cli::from_command_line(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, all else to standard error; there is no one to tell if
            // that fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    dispatch(cli, types).unwrap_or_else(|Failed { status, error }| {
        eprintln!("observer: {}", observer_core::report(error.as_ref()));
        ExitCode::from(status)
    })
}

fn dispatch(
    cli: Cli,
    types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
) -> Result<ExitCode, Failed> {
    let Cli { global, command } = cli;
    let command = command.unwrap_or_else(|| Command::Serve(ServeArgs::default()));
    // Who serves begins the log once it is known who else is to listen.
    let log = Log { format: global.log_format, filter: global.log };
    logging::parse(&log.filter)?;
    if !matches!(command, Command::Serve(_)) {
        logging::init(log.format, &log.filter)?;
    }
    let config = global.config;
    let load = move || Config::load(config.as_deref());
    match command {
        Command::Serve(arguments) => {
            serve(move || Ok(arguments.clone().over(load()?)), types, &log)
        }
        Command::Check => {
            let config = load()?;
            config.load_tls()?;
            let sinks = types(&prometheus::Registry::new()).build_all(&config)?;
            let telemetry = Settings::resolve(&config.telemetry, &|name| env::var_os(name));
            let report =
                block_on(Builder::new_multi_thread(), check::report(&config, sinks, &telemetry))?;
            print(&report.text)?;
            Ok(report.exit_code())
        }
        Command::Emit(arguments) => block_on(Builder::new_current_thread(), emit::run(*arguments))?,
        Command::Status(remote) => block_on(Builder::new_current_thread(), sinks::status(*remote))?,
        Command::Sinks(arguments) => {
            block_on(Builder::new_current_thread(), sinks::run(*arguments))?
        }
        Command::DeadLetters(arguments) => {
            block_on(Builder::new_current_thread(), dead_letters::run(*arguments))?
        }
        Command::Replay(arguments) => {
            block_on(Builder::new_current_thread(), replay::run(*arguments))?
        }
        Command::Journal(arguments) => journal::run(&arguments, &load()?),
        Command::Token(arguments) => {
            print(&token::made(&arguments)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "observer", &mut script);
            print(&String::from_utf8(script).context("the completions are not UTF-8")?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// How the log is to look, and what is to show of it.
struct Log {
    format: LogFormat,
    filter: String,
}

fn serve(
    load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
    log: &Log,
) -> Result<ExitCode, Failed> {
    block_on(Builder::new_multi_thread(), async {
        let ended = signal::ended()?;
        let hangups = signal::hangups()?;
        let config = load()?;
        config.validate()?;
        let telemetry = Telemetry::new(&config, &|name| env::var_os(name))?;
        let others = telemetry.layers(logging::parse(&log.filter)?);
        if others.is_empty() {
            logging::init(log.format, &log.filter)?;
        } else {
            logging::init_with(log.format, &log.filter, others)?;
        }
        telemetry.tell_ignored();
        // Every producer is a connection; what the system allows by default may be less than there
        // are.
        if let Err(error) = rlimit::increase_nofile_limit(MAX_DESCRIPTORS) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
        match Service::start_loaded(config, load, types, Some(telemetry)).await {
            Ok(service) => {
                let reloading = tokio::spawn(reload_on(hangups, service.reloader()));
                service.run(ended).await;
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
        // What came of it is in the log.
        let _ = reloader.reload().await;
    }
}

/// Run to the end, and wait for nothing beyond it: a read of standard input, or a disk that hangs,
/// may take forever.
fn block_on<F: Future>(mut builder: Builder, future: F) -> io::Result<F::Output> {
    let runtime = builder.enable_all().build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// Write to standard output. A reader that has seen enough (`observer … | head`) is no failure.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests;
