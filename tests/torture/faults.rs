//! Faults of the observer, of its receivers and of its disk; `incidents` has those of its clock and
//! its folders. Each target has its own sequence of faults, which follows from the seed; the
//! sequences run concurrently.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::{sleep, sleep_until};

use crate::deployment::Deployment;
use crate::deployment::configuration::Durability;
use crate::deployment::destination::Destination;
use crate::deployment::disk::SmallDisk;
use crate::incidents;
use crate::receiver::Behaviour;

/// Fault of the observer.
#[derive(Debug)]
enum ObserverFault {
    /// Kill -9, and a start after the downtime.
    Kill { downtime: Duration, verify: bool },
    /// Kill -9, and another one while the observer starts.
    KillTwice { after: Duration },
    /// SIGTERM.
    Terminate,
    /// SIGTERM, and kill -9 during the shutdown.
    KillWhileEnding { after: Duration },
    /// SIGSTOP and SIGCONT.
    Stop { duration: Duration },
}

/// Fault of a receiver.
#[derive(Debug)]
enum DestinationFault {
    Behaves { behaviour: Behaviour, duration: Duration },
    Kill { downtime: Duration },
    Stop { duration: Duration },
}

/// Longest outage of a receiver whose events may expire, in milliseconds.
const LONG_OUTAGE: u64 = 9000;

pub(crate) fn millis(random: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

impl ObserverFault {
    fn draw(random: &mut Rng) -> Self {
        match random.u8(..10) {
            0..5 => Self::Kill {
                downtime: if random.bool() { Duration::ZERO } else { millis(random, 0..1500) },
                verify: random.bool(),
            },
            5 => Self::KillTwice { after: millis(random, 0..60) },
            6 => Self::Terminate,
            7 => Self::KillWhileEnding { after: millis(random, 0..400) },
            _ => Self::Stop { duration: millis(random, 50..3000) },
        }
    }

    /// Causes the fault and undoes it. `durability` is that of the next process.
    async fn execute(&self, deployment: &Deployment, durability: Durability) -> Result<(), String> {
        deployment.record(format!("{self:?}, then durability {durability:?}"));
        match *self {
            Self::Kill { downtime, verify } => {
                deployment.tally.add("fault: kill -9 of the observer", 1);
                deployment.kill(verify).await?;
                sleep(downtime).await;
                deployment.configure(durability)?;
                deployment.start(true).await?;
            }
            Self::KillTwice { after } => {
                deployment.tally.add("fault: kill -9 of the observer", 1);
                deployment.tally.add("fault: kill -9 of the observer during its start", 1);
                deployment.kill(false).await?;
                deployment.configure(durability)?;
                deployment.start_and_kill(after).await?;
                deployment.start(true).await?;
            }
            Self::Terminate => {
                deployment.tally.add("fault: SIGTERM of the observer", 1);
                deployment.terminate().await?;
                deployment.configure(durability)?;
                deployment.start(false).await?;
            }
            Self::KillWhileEnding { after } => {
                deployment.tally.add("fault: kill -9 of the observer during its shutdown", 1);
                deployment.availability.interrupt();
                deployment.signal("-TERM").await?;
                sleep(after).await;
                deployment.kill(true).await?;
                deployment.configure(durability)?;
                deployment.start(true).await?;
            }
            Self::Stop { duration } => {
                deployment.tally.add("fault: SIGSTOP of the observer", 1);
                deployment.availability.interrupt();
                deployment.signal("-STOP").await?;
                sleep(duration).await;
                deployment.signal("-CONT").await?;
                deployment.availability.set_up();
            }
        }
        deployment.record("observer is available again");
        Ok(())
    }
}

impl DestinationFault {
    fn draw(random: &mut Rng, destination: &Destination) -> Self {
        if destination.may_expire && random.bool() {
            return Self::Kill { downtime: millis(random, 2000..LONG_OUTAGE) };
        }
        match random.u8(..12) {
            0 | 1 => Self::Kill { downtime: millis(random, 0..2500) },
            2 => Self::Stop { duration: millis(random, 50..3000) },
            _ => Self::Behaves {
                behaviour: *random.choice(&Behaviour::ALL).expect("the list is not empty"),
                duration: millis(random, 50..3500),
            },
        }
    }

    async fn execute(
        &self,
        deployment: &Deployment,
        destination: &Destination,
    ) -> Result<(), String> {
        deployment.record(format!("{}: {self:?}", destination.name));
        match *self {
            Self::Behaves { behaviour, duration } => {
                deployment.tally.add(format!("fault: a receiver {}", behaviour.description()), 1);
                destination.behave(behaviour).await;
                sleep(duration).await;
                destination.behave(Behaviour::Healthy).await;
            }
            Self::Kill { downtime } => {
                deployment.tally.add("fault: kill -9 of a receiver", 1);
                destination.kill().await;
                sleep(downtime).await;
                destination.restart().await?;
            }
            Self::Stop { duration } => {
                deployment.tally.add("fault: SIGSTOP of a receiver", 1);
                destination.signal("-STOP").await?;
                sleep(duration).await;
                destination.signal("-CONT").await?;
            }
        }
        Ok(())
    }
}

/// Sequences of faults. Each fault is undone before the next one begins.
pub(crate) struct Script {
    observer: Rng,
    destinations: Vec<Rng>,
    disk: Rng,
    incidents: Rng,
}

impl Script {
    pub(crate) fn new(seed: u64, destinations: usize) -> Self {
        let mut random = Rng::with_seed(seed);
        let destinations = (0..destinations).map(|_| random.fork()).collect();
        Self {
            observer: random.fork(),
            destinations,
            disk: random.fork(),
            incidents: random.fork(),
        }
    }

    /// Injects faults and checks the observer until `until`.
    pub(crate) async fn play(
        &mut self,
        deployment: &Deployment,
        until: Instant,
    ) -> Result<(), String> {
        let destinations = self.destinations.iter_mut().zip(&deployment.destinations);
        let destinations: Vec<_> = destinations
            .map(|(random, destination)| {
                disturb_destination(random, deployment, destination, until)
            })
            .collect();
        let (observer, destinations, disk, incidents, checks) = tokio::join!(
            disturb_observer(&mut self.observer, deployment, until),
            join_all(destinations),
            fill_disk(&mut self.disk, deployment, deployment.small_disk.as_ref(), until),
            incidents::cause(&mut self.incidents, deployment, until),
            check_repeatedly(deployment, until)
        );
        observer.and(destinations).and(disk).and(incidents).and(checks)
    }
}

async fn join_all(faults: Vec<impl Future<Output = Result<(), String>>>) -> Result<(), String> {
    let mut faults = faults.into_iter();
    // A deployment has three receivers.
    match (faults.next(), faults.next(), faults.next()) {
        (Some(first), Some(second), Some(third)) => {
            let (first, second, third) = tokio::join!(first, second, third);
            first.and(second).and(third)
        }
        _ => Ok(()),
    }
}

/// Waits for `pause`. Returns whether the round continues.
pub(crate) async fn pause(deployment: &Deployment, pause: Duration, until: Instant) -> bool {
    sleep_until((Instant::now() + pause).min(until).into()).await;
    Instant::now() < until && !deployment.has_failed()
}

async fn disturb_observer(
    random: &mut Rng,
    deployment: &Deployment,
    until: Instant,
) -> Result<(), String> {
    loop {
        let (wait, fault) = (millis(random, 100..3500), ObserverFault::draw(random));
        let durability = if random.u8(..3) == 0 { Durability::Write } else { Durability::Fsync };
        if !pause(deployment, wait, until).await {
            return Ok(());
        }
        fault
            .execute(deployment, durability)
            .await
            .inspect_err(|violation| deployment.report(violation.clone()))?;
    }
}

async fn disturb_destination(
    random: &mut Rng,
    deployment: &Deployment,
    destination: &Destination,
    until: Instant,
) -> Result<(), String> {
    loop {
        let (wait, fault) = (millis(random, 50..2500), DestinationFault::draw(random, destination));
        if !pause(deployment, wait, until).await {
            return Ok(());
        }
        fault
            .execute(deployment, destination)
            .await
            .inspect_err(|violation| deployment.report(violation.clone()))?;
    }
}

async fn fill_disk(
    random: &mut Rng,
    deployment: &Deployment,
    disk: Option<&SmallDisk>,
    until: Instant,
) -> Result<(), String> {
    let Some(disk) = disk else { return Ok(()) };
    loop {
        let (wait, duration) = (millis(random, 300..4000), millis(random, 100..4000));
        if !pause(deployment, wait, until).await {
            return Ok(());
        }
        deployment.tally.add("fault: the disk is full", 1);
        deployment.record(format!("disk is full for {duration:?}"));
        let filled = disk.fill(duration).await;
        filled.and(disk.free()).inspect_err(|violation| deployment.report(violation.clone()))?;
        deployment.record("disk has space again");
    }
}

async fn check_repeatedly(deployment: &Deployment, until: Instant) -> Result<(), String> {
    while pause(deployment, Duration::from_millis(500), until).await {
        let checked = deployment.check_progress().and(deployment.check_metrics().await.map(drop));
        checked.inspect_err(|violation| deployment.report(violation.clone()))?;
    }
    Ok(())
}
