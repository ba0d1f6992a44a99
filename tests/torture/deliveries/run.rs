//! Command line of the run, its phases, and its output.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::time::{sleep, sleep_until};

use super::destination::Kind;
use super::observer::Observer;
use super::oracle::Oracle;
use super::producer::Phase;
use super::spells::{KILLS, Spell, scaled, timetable};
use crate::deployment::process::Process;
use crate::sync::lock;
use crate::tally::grouped;

/// Deliver to destinations that refuse some events and are unavailable from time to time
#[derive(Debug, Parser)]
#[command(name = "torture deliveries")]
struct Options {
    /// Duration of the phase with faults
    #[arg(
        long = "for",
        value_name = "TIME",
        default_value = "20s",
        value_parser = humantime::parse_duration
    )]
    duration: Duration,
    /// Duration of the healthy phase before it [default: the same]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    healthy: Option<Duration>,
    /// Events per second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Largest accepted ratio of the producers' p99 to that of the healthy phase [default: none]
    #[arg(long)]
    max_ratio: Option<f64>,
    /// Seed that determines which events are bad [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for the data, which must not exist; it is removed if the run passes
    /// [default: beside the program]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Rate of the good events while the last bad ones become dead letters.
const TRICKLE: u32 = 10;

/// Process of a destination.
struct Destination {
    kind: Kind,
    process: Process,
}

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let options = Options::parse_from(arguments);
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
    let error = |error: std::io::Error| format!("{}: {error}", dir.display());
    std::fs::create_dir(&dir).map_err(error)?;
    let dir = dir.canonicalize().map_err(error)?;
    println!(
        "seed {seed}, {} events/s for {}",
        options.rate,
        humantime::format_duration(options.duration)
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let result = runtime.block_on(phases(options, seed, &dir));
    // Dropping the runtime kills the processes, so that the data no longer changes.
    drop(runtime);
    match result {
        Ok(()) => {
            let _ = std::fs::remove_dir_all(&dir);
            Ok(())
        }
        Err(violation) => {
            Err(format!("\nFAILED: {violation}\ndata kept in {}; --seed {seed}", dir.display()))
        }
    }
}

fn default_dir(seed: u64) -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.parent().unwrap_or(Path::new("."));
    Ok(folder.join(format!("deliveries-{seed}-{}", std::process::id())))
}

async fn phases(options: &Options, seed: u64, dir: &Path) -> Result<(), String> {
    let mut destinations = Vec::new();
    let mut urls = Vec::new();
    for kind in Kind::ALL {
        let (destination, url) = Destination::start(kind, dir).await?;
        destinations.push(destination);
        urls.push((kind, url));
    }
    let observer = Arc::new(Observer::start(dir, &urls, options.duration).await?);
    let oracle = Arc::<Mutex<Oracle>>::default();

    let healthy = Phase::new(&observer, &oracle, None);
    let begun = Instant::now();
    let end = begun + options.healthy.unwrap_or(options.duration);
    let (produced, ()) = tokio::join!(
        Arc::clone(&healthy).produce(options.rate, end),
        report_progress(&observer, "healthy", end)
    );
    produced?;

    let faulty = Phase::new(&observer, &oracle, Some(seed));
    let begun = Instant::now();
    let end = begun + options.duration;
    // A violation ends the run at once.
    tokio::try_join!(
        Arc::clone(&faulty).produce(options.rate, end),
        disturb_destinations(&mut destinations, begun, options.duration),
        kill_observer(&observer, begun, options.duration),
        async {
            report_progress(&observer, "faulty", end).await;
            Ok(())
        }
    )?;

    let drained = drain(&observer, &oracle, options.duration).await?;
    let oracle = lock(&oracle).clone();
    let compared = oracle.check(&observer, dir).await?;
    check_log(&observer)?;
    let within = drained.as_secs();
    println!(
        "\n{} events acknowledged; nothing pending or undecided {within} s after the last fault",
        grouped(oracle.count())
    );
    print!("{compared}");
    report_latencies(options, &healthy, &faulty)
}

impl Destination {
    /// Starts the process. Returns the URL, too.
    async fn start(kind: Kind, dir: &Path) -> Result<(Self, String), String> {
        let log = dir.join(format!("{}.log", kind.as_str()));
        let process =
            Process::start(&["destination", kind.as_str(), &dir.to_string_lossy()], &log)?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if let Ok(url) = std::fs::read_to_string(kind.url_file(dir)) {
                return Ok((Self { kind, process }, url));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Err(format!("the {} does not listen", kind.as_str()))
    }

    fn begin(&mut self, spell: Spell) -> Result<(), String> {
        match spell {
            Spell::Frozen => self.process.signal("-STOP"),
            spell => {
                self.process.write_line(spell.as_str());
                Ok(())
            }
        }
    }

    fn end(&mut self, spell: Spell) -> Result<(), String> {
        match spell {
            Spell::Frozen => self.process.signal("-CONT"),
            _ => self.begin(Spell::Healthy),
        }
    }

    async fn disturb(
        &mut self,
        spells: Vec<(Duration, Duration, Spell)>,
        begun: Instant,
    ) -> Result<(), String> {
        for (at, length, spell) in spells {
            sleep_until((begun + at).into()).await;
            println!("{:>6} s  {}: {spell:?}", at.as_secs(), self.kind.as_str());
            self.begin(spell)?;
            sleep(length).await;
            self.end(spell)?;
        }
        Ok(())
    }
}

async fn disturb_destinations(
    destinations: &mut [Destination],
    begun: Instant,
    run: Duration,
) -> Result<(), String> {
    let disturbed = (0..)
        .zip(destinations)
        .map(|(index, destination)| destination.disturb(timetable(index, run), begun));
    // Both destinations are disturbed at once.
    let mut disturbed: Vec<_> = disturbed.collect();
    match (disturbed.pop(), disturbed.pop()) {
        (Some(one), Some(other)) => tokio::try_join!(one, other).map(drop),
        _ => Ok(()),
    }
}

async fn kill_observer(observer: &Observer, begun: Instant, run: Duration) -> Result<(), String> {
    for part in KILLS {
        let at = run.mul_f64(part);
        sleep_until((begun + at).into()).await;
        println!("{:>6} s  observer: kill -9", at.as_secs());
        observer.kill().await?;
    }
    Ok(())
}

/// Posts good events until no bad one is undecided, and waits until nothing is pending. Returns the
/// time that this took.
async fn drain(
    observer: &Arc<Observer>,
    oracle: &Arc<Mutex<Oracle>>,
    run: Duration,
) -> Result<Duration, String> {
    let begun = Instant::now();
    let deadline = scaled(Duration::from_secs(3600), run).max(Duration::from_secs(300));
    let mut reported = begun;
    loop {
        let phase = Phase::new(observer, oracle, None);
        phase.produce(TRICKLE, Instant::now() + Duration::from_secs(2)).await?;
        let quiet = Instant::now();
        while quiet.elapsed() < Duration::from_secs(5) {
            let sinks = observer.sinks().await?;
            if sinks.iter().all(|sink| sink.pending == 0) {
                return Ok(begun.elapsed());
            }
            if sinks.iter().any(|sink| sink.undecided > 0) {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        if begun.elapsed() > deadline {
            return Err(format!("events are still pending: {:#?}", observer.sinks().await?));
        }
        if reported.elapsed() > Duration::from_secs(60) {
            print_progress(observer, "draining").await;
            reported = Instant::now();
        }
    }
}

/// Prints the state of the sinks from time to time until `end`.
async fn report_progress(observer: &Observer, phase: &str, end: Instant) {
    let every =
        ((end - Instant::now()) / 4).max(Duration::from_secs(2)).min(Duration::from_secs(60));
    while Instant::now() + every < end {
        sleep(every).await;
        print_progress(observer, phase).await;
    }
}

async fn print_progress(observer: &Observer, phase: &str) {
    // The observer may have been killed.
    let Ok(sinks) = observer.sinks().await else { return };
    for sink in sinks.iter().filter(|sink| Kind::ALL.iter().any(|kind| kind.sink() == sink.name)) {
        println!(
            "    {phase}: {} {}: {} accepted, {} delivered, {} dead, {} pending, {} undecided{}",
            sink.name,
            sink.state,
            sink.accepted,
            sink.delivered,
            sink.dead,
            sink.pending,
            sink.undecided,
            sink.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
        );
    }
}

/// Checks that the observer has not panicked, and prints how many warnings and errors it logged.
fn check_log(observer: &Observer) -> Result<(), String> {
    let log = std::fs::read_to_string(observer.log()).map_err(|error| error.to_string())?;
    if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
        return Err(format!("the observer panicked: {line}"));
    }
    let count = |level: &str| log.lines().filter(|line| line.contains(level)).count();
    println!(
        "  log of the observer: {} warnings, {} errors",
        count(r#""level":"WARN""#),
        count(r#""level":"ERROR""#)
    );
    Ok(())
}

fn report_latencies(options: &Options, healthy: &Phase, faulty: &Phase) -> Result<(), String> {
    let (healthy_latencies, faulty_latencies) = (lock(&healthy.latencies), lock(&faulty.latencies));
    println!(
        "  requests: {} in the healthy phase, {} with faults; {} repeated after a kill; {} without \
         a response within 3 s",
        grouped(healthy_latencies.count() as u64),
        grouped(faulty_latencies.count() as u64),
        grouped(faulty.interrupted.load(Ordering::Relaxed)),
        grouped(healthy.timeouts.load(Ordering::Relaxed) + faulty.timeouts.load(Ordering::Relaxed)),
    );
    let mut ratio_of_p99 = 0.0;
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let (before, after) =
            (healthy_latencies.percentile(share), faulty_latencies.percentile(share));
        let ratio = after / before;
        println!(
            "  {name:<6} {before:>9.3} ms healthy {after:>9.3} ms with faults  ratio {ratio:.3}"
        );
        if share == 0.99 {
            ratio_of_p99 = ratio;
        }
    }
    match options.max_ratio {
        Some(most) if ratio_of_p99 > most => Err(format!(
            "the producers' p99 is {ratio_of_p99:.3} times that of the healthy phase, which is \
             more than {most}"
        )),
        _ => Ok(()),
    }
}
