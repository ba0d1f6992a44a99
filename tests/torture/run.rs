//! Command line of the test, the sequence of its rounds, and its output.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::sync::{Semaphore, watch};

use crate::deployment::Deployment;
use crate::deployment::disk::{SmallDisk, enter_namespace, unmount};
use crate::faults::Script;
use crate::incidents;
use crate::producer::{self, PRODUCERS};
use crate::progress;
use crate::tally::grouped;

/// Length of a round. After each round, faults and producers stop, and everything is checked.
const ROUND: Duration = Duration::from_secs(20);
/// Size of the small disk.
const SMALL: &str = "96m";

/// Kinds of faults and checks.
const KINDS: &str = "\
Faults of an observer:
  crash       kill -9, also during start and shutdown; SIGTERM; SIGSTOP
  disk        a small disk is full, again and again
  receivers   hang, fail, disconnect, truncate responses, are killed or stopped
  clock       the wall clock jumps by hours and years, ahead and back to 1970
  files       other programs put files into the folders of the sinks, also under names that a sink
              is about to use
  removal     the folder of the archive is removed while events arrive, and that of the journal at
              the end of each round
Always so:
  overlap     two file sinks share a folder, and the names of their files overlap
  optional    the sink of one receiver is not required, so its events expire in long outages
  durability  each start of the observer chooses `fsync` or `write`

Checked: nothing acknowledged is lost; the archive has each event once and in order; deliveries,
dead letters, accounts and metrics agree with it; foreign files are unchanged.

`torture deliveries --help` describes a run against destinations that refuse some events.";

/// Inject faults into observers, receivers and a disk, and check that no event is lost
#[derive(Debug, Clone, Parser)]
#[command(name = "torture", after_help = KINDS)]
struct Options {
    /// Duration of the test
    #[arg(
        long = "for",
        value_name = "TIME",
        default_value = "20s",
        value_parser = humantime::parse_duration
    )]
    duration: Duration,
    /// Seed of the sequence of faults [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for the data, which must not exist; it is removed if the test passes
    /// [default: beside the program]
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(crate) fn run() -> ExitCode {
    let options = Options::parse();
    enter_namespace();
    match begin(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn begin(options: &Options) -> Result<(), String> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => default_dir(seed)?,
    };
    std::fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let dir = dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()))?;
    println!("seed {seed}, for {}", humantime::format_duration(options.duration));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let (violation, mut found) = watch::channel(None);
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            done = torture(options, seed, &dir, &violation) => done,
            // After a violation, the remaining tasks get a moment to end by themselves.
            _ = async {
                let _ = found.wait_for(Option::is_some).await;
                tokio::time::sleep(Duration::from_secs(10)).await;
            } => Ok(()),
        }
    });
    // This kills the processes, so that the data no longer changes.
    runtime.shutdown_timeout(Duration::from_secs(10));
    let found = found.borrow().clone();
    match found.map_or(result, Err) {
        Ok(()) => {
            unmount(&dir.join("small"));
            let _ = std::fs::remove_dir_all(&dir);
            Ok(())
        }
        Err(violation) => {
            let duration = humantime::format_duration(options.duration);
            Err(format!(
                "\nFAILED: {violation}\ndata kept in {}\n\
                 repeat with: --seed {seed} --for {duration}",
                keep(&dir).display()
            ))
        }
    }
}

fn default_dir(seed: u64) -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.parent().unwrap_or(Path::new("."));
    Ok(folder.join(format!("torture-{seed}-{}", std::process::id())))
}

/// Copies the data of the small disk, which is unmounted with this process, and returns the folder.
fn keep(dir: &Path) -> PathBuf {
    let copy = dir.join("small-kept");
    let _ = std::process::Command::new("cp").arg("-r").arg(dir.join("small")).arg(copy).status();
    dir.to_owned()
}

async fn torture(
    options: &Options,
    seed: u64,
    dir: &Path,
    violation: &watch::Sender<Option<String>>,
) -> Result<(), String> {
    let begun = Instant::now();
    let small = SmallDisk::mount(&dir.join("small"), SMALL)?;
    let mut deployments =
        vec![Deployment::build("large", &dir.join("large"), seed, None, violation.clone()).await?];
    match small {
        Some(small) => {
            deployments.push(
                Deployment::build(
                    "small",
                    &dir.join("small"),
                    seed.wrapping_add(1),
                    Some(small),
                    violation.clone(),
                )
                .await?,
            );
        }
        None if std::env::var_os("OBSERVER_TEST_TOOLS").is_some() => {
            return Err(
                "the test of a full disk needs `unshare --mount`, which is not permitted here"
                    .to_owned(),
            );
        }
        None => println!(
            "SKIPPED: the observer on a small disk, since `unshare --mount` is not permitted here"
        ),
    }
    let runs: Vec<_> = deployments
        .into_iter()
        .map(Arc::new)
        .map(|deployment| tokio::spawn(run_deployment(deployment, begun + options.duration)))
        .collect();
    for run in runs {
        run.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// Tests one deployment and prints its summary.
async fn run_deployment(deployment: Arc<Deployment>, end: Instant) -> Result<(), String> {
    progress::watch(&deployment)?;
    let result = run_rounds(&deployment, end).await;
    if let Err(violation) = &result {
        deployment.report(violation.clone());
    }
    println!("\n{}:\n{}", deployment.name, deployment.tally.summary());
    result
}

async fn run_rounds(deployment: &Arc<Deployment>, end: Instant) -> Result<(), String> {
    let mut script = Script::new(deployment.seed, deployment.destinations.len());
    let mut random = fastrand::Rng::with_seed(deployment.seed);
    let permits = Arc::new(Semaphore::new(0));
    deployment.start(false).await?;
    producer::start(deployment, &permits, deployment.seed);
    while Instant::now() < end && !deployment.has_failed() {
        permits.add_permits(PRODUCERS as usize);
        script.play(deployment, (Instant::now() + ROUND).min(end)).await?;
        let all_permits =
            permits.acquire_many(PRODUCERS).await.map_err(|error| error.to_string())?;
        all_permits.forget();
        if deployment.has_failed() {
            return Ok(());
        }
        deployment.check_all().await?;
        incidents::remove_journal(&mut random, deployment).await?;
        let acknowledged = grouped(deployment.tally.get("events acknowledged"));
        println!("{}: {acknowledged} events acknowledged, all checks passed", deployment.name);
    }
    deployment.terminate().await?;
    for destination in &deployment.destinations {
        deployment.tally.add(
            format!("events repeated at the receiver \"{}\"", destination.name),
            deployment.oracle().repeats(destination.name),
        );
        deployment.tally.add(
            format!("events delivered late to the receiver \"{}\"", destination.name),
            deployment.oracle().late(destination.name),
        );
        let what = if destination.may_expire { "expired events" } else { "dead letters" };
        deployment.tally.add(
            format!("{what} of the sink \"{}\"", destination.name),
            deployment.oracle().skipped(destination.name),
        );
    }
    deployment.tally.add("events in the archive, without duplicates", deployment.oracle().head());
    deployment.read_log()
}
