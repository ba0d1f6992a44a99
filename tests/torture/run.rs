//! The program that a person starts: its command line, its rounds, and what it says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::sync::{Semaphore, watch};

use crate::deployment::House;
use crate::deployment::disk::{SmallDisk, enter_namespace, unmount};
use crate::faults::Script;
use crate::producer::{self, PRODUCERS};
use crate::tally::grouped;

/// After this long there is a pause, in which all is held against all.
const ROUND: Duration = Duration::from_secs(20);
const SMALL: &str = "96m";

/// Kill, stop, fill up and cut off everything around the observer, and see whether its promises
/// hold.
#[derive(Debug, Clone, Parser)]
#[command(name = "torture")]
struct Options {
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// What the script of faults follows from; without one it is drawn
    #[arg(long)]
    seed: Option<u64>,
    /// Where the data goes: a folder that isn't there, and is removed if nothing is found
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(crate) fn run() -> ExitCode {
    let options = Options::parse();
    enter_namespace();
    match begin(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(finding) => {
            eprintln!("{finding}");
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
    println!("seed {seed}, for {}", humantime::format_duration(options.lasts));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let (finding, mut found) = watch::channel(None);
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            done = torture(options, seed, &dir, &finding) => done,
            // Whoever waits for something else needn't.
            _ = async {
                let _ = found.wait_for(Option::is_some).await;
                tokio::time::sleep(Duration::from_secs(10)).await;
            } => Ok(()),
        }
    });
    // The processes go with what has them, so that nothing changes any more in what is kept.
    drop(runtime);
    let found = found.borrow().clone();
    match found.map_or(result, Err) {
        Ok(()) => {
            unmount(&dir.join("small"));
            let _ = std::fs::remove_dir_all(&dir);
            Ok(())
        }
        Err(what) => {
            let lasts = humantime::format_duration(options.lasts);
            Err(format!(
                "\nFOUND: {what}\nkept: {}\nthe same script again: --seed {seed} --for {lasts}",
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

/// What is on a small disk would be gone with this process.
fn keep(dir: &Path) -> PathBuf {
    let copy = dir.join("small-kept");
    let _ = std::process::Command::new("cp").arg("-r").arg(dir.join("small")).arg(copy).status();
    dir.to_owned()
}

async fn torture(
    options: &Options,
    seed: u64,
    dir: &Path,
    finding: &watch::Sender<Option<String>>,
) -> Result<(), String> {
    let begun = Instant::now();
    let small = SmallDisk::mount(&dir.join("small"), SMALL)?;
    let mut houses =
        vec![House::build("large", &dir.join("large"), seed, None, finding.clone()).await?];
    match small {
        Some(small) => {
            houses.push(
                House::build(
                    "small",
                    &dir.join("small"),
                    seed.wrapping_add(1),
                    Some(small),
                    finding.clone(),
                )
                .await?,
            );
        }
        None if std::env::var_os("OBSERVER_TEST_TOOLS").is_some() => {
            return Err(
                "`unshare --mount` is needed here for a disk that can be full, and is not allowed"
                    .to_owned(),
            );
        }
        None => println!(
            "SKIPPED: no disk is full in this run, since `unshare --mount` is not allowed here"
        ),
    }
    let lives: Vec<_> = houses
        .into_iter()
        .map(Arc::new)
        .map(|house| tokio::spawn(live(house, begun + options.lasts)))
        .collect();
    for live in lives {
        live.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// One observer from its start to its end.
async fn live(house: Arc<House>, end: Instant) -> Result<(), String> {
    let lived = rounds(&house, end).await;
    if let Err(what) = &lived {
        house.found(what.clone());
    }
    println!("\n{}:\n{}", house.name, house.tally.shown());
    lived
}

async fn rounds(house: &Arc<House>, end: Instant) -> Result<(), String> {
    let mut script = Script::new(house.seed, house.far_sides.len());
    let turns = Arc::new(Semaphore::new(0));
    house.start(false).await?;
    producer::start(house, &turns, house.seed);
    while Instant::now() < end && !house.is_over() {
        turns.add_permits(PRODUCERS as usize);
        script.play(house, (Instant::now() + ROUND).min(end)).await?;
        let silence = turns.acquire_many(PRODUCERS).await.map_err(|error| error.to_string())?;
        silence.forget();
        if house.is_over() {
            return Ok(());
        }
        house.settle().await?;
        let acknowledged = grouped(house.tally.get("events acknowledged"));
        println!("{}: {acknowledged} events acknowledged, all is well", house.name);
    }
    house.terminate().await?;
    for far_side in &house.far_sides {
        house.tally.add(
            format!("repeats at the receiver {}", far_side.name),
            house.oracle().repeats(far_side.name),
        );
        house.tally.add(
            format!("dead letters of the receiver {}", far_side.name),
            house.oracle().passed(far_side.name),
        );
    }
    house.tally.add("events in the archive, each once", house.oracle().head());
    house.read_log()
}
