//! What is done to the observer, to its receivers and to its disk: drawn from the seed, one thing
//! after the other for each of them, all at once.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::{sleep, sleep_until};

use crate::deployment::House;
use crate::deployment::destination::FarSide;
use crate::deployment::disk::SmallDisk;
use crate::receiver::Manners;

#[derive(Debug)]
enum ServerFault {
    Kill {
        away: Duration,
        look: bool,
    },
    /// Again while it starts.
    KillTwice {
        after: Duration,
    },
    Terminate,
    /// SIGTERM, and kill -9 while it ends.
    KillWhileEnding {
        after: Duration,
    },
    Stop {
        lasts: Duration,
    },
}

#[derive(Debug)]
enum FarFault {
    Behaves { manners: Manners, lasts: Duration },
    Kill { away: Duration },
    Stop { lasts: Duration },
}

fn millis(random: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

impl ServerFault {
    fn draw(random: &mut Rng) -> Self {
        match random.u8(..10) {
            0..5 => Self::Kill {
                away: if random.bool() { Duration::ZERO } else { millis(random, 0..1500) },
                look: random.bool(),
            },
            5 => Self::KillTwice { after: millis(random, 0..60) },
            6 => Self::Terminate,
            7 => Self::KillWhileEnding { after: millis(random, 0..400) },
            _ => Self::Stop { lasts: millis(random, 50..3000) },
        }
    }

    async fn execute(&self, house: &House) -> Result<(), String> {
        house.remember(format!("{self:?}"));
        match *self {
            Self::Kill { away, look } => {
                house.tally.add("fault: kill -9 of the observer", 1);
                house.kill(look).await?;
                sleep(away).await;
                house.start(true).await?;
            }
            Self::KillTwice { after } => {
                house.tally.add("fault: kill -9 of the observer", 1);
                house.tally.add("fault: kill -9 of the observer while it starts", 1);
                house.kill(false).await?;
                house.start_and_kill(after).await?;
                house.start(true).await?;
            }
            Self::Terminate => {
                house.tally.add("fault: SIGTERM of the observer", 1);
                house.terminate().await?;
                house.start(false).await?;
            }
            Self::KillWhileEnding { after } => {
                house.tally.add("fault: kill -9 of the observer while it ends", 1);
                house.weather.disturb();
                house.signal("-TERM").await?;
                sleep(after).await;
                house.kill(true).await?;
                house.start(true).await?;
            }
            Self::Stop { lasts } => {
                house.tally.add("fault: SIGSTOP of the observer", 1);
                house.weather.disturb();
                house.signal("-STOP").await?;
                sleep(lasts).await;
                house.signal("-CONT").await?;
                house.weather.clear_up();
            }
        }
        house.remember("… and it runs");
        Ok(())
    }
}

impl FarFault {
    fn draw(random: &mut Rng) -> Self {
        match random.u8(..12) {
            0 | 1 => Self::Kill { away: millis(random, 0..2500) },
            2 => Self::Stop { lasts: millis(random, 50..3000) },
            _ => Self::Behaves {
                manners: *random.choice(&Manners::ALL).expect("there are manners"),
                lasts: millis(random, 50..3500),
            },
        }
    }

    async fn execute(&self, house: &House, far_side: &FarSide) -> Result<(), String> {
        house.remember(format!("{}: {self:?}", far_side.name));
        match *self {
            Self::Behaves { manners, lasts } => {
                house.tally.add(format!("fault: a receiver {}", manners.told()), 1);
                far_side.behave(manners).await;
                sleep(lasts).await;
                far_side.behave(Manners::Well).await;
            }
            Self::Kill { away } => {
                house.tally.add("fault: kill -9 of a receiver", 1);
                far_side.kill().await;
                sleep(away).await;
                far_side.restart().await?;
            }
            Self::Stop { lasts } => {
                house.tally.add("fault: SIGSTOP of a receiver", 1);
                far_side.signal("-STOP").await?;
                sleep(lasts).await;
                far_side.signal("-CONT").await?;
            }
        }
        Ok(())
    }
}

/// Faults until then. Whatever is done is undone at the end.
pub(crate) struct Script {
    server: Rng,
    far_sides: Vec<Rng>,
    disk: Rng,
}

impl Script {
    pub(crate) fn new(seed: u64, far_sides: usize) -> Self {
        let mut random = Rng::with_seed(seed);
        let far_sides = (0..far_sides).map(|_| random.fork()).collect();
        Self { server: random.fork(), far_sides, disk: random.fork() }
    }

    /// Everything at once until then.
    pub(crate) async fn play(&mut self, house: &House, until: Instant) -> Result<(), String> {
        let far_sides = self.far_sides.iter_mut().zip(&house.far_sides);
        let far_sides: Vec<_> =
            far_sides.map(|(random, far_side)| abuse(random, house, far_side, until)).collect();
        let (server, far, disk, looks) = tokio::join!(
            kill(&mut self.server, house, until),
            all(far_sides),
            fill(&mut self.disk, house, house.small.as_ref(), until),
            look(house, until)
        );
        server.and(far).and(disk).and(looks)
    }
}

async fn all(faults: Vec<impl Future<Output = Result<(), String>>>) -> Result<(), String> {
    let mut faults = faults.into_iter();
    // There are two receivers.
    match (faults.next(), faults.next()) {
        (Some(one), Some(other)) => {
            let (one, other) = tokio::join!(one, other);
            one.and(other)
        }
        _ => Ok(()),
    }
}

/// Until then, or until something was found.
async fn pause(house: &House, pause: Duration, until: Instant) -> bool {
    sleep_until((Instant::now() + pause).min(until).into()).await;
    Instant::now() < until && !house.is_over()
}

async fn kill(random: &mut Rng, house: &House, until: Instant) -> Result<(), String> {
    loop {
        let (wait, fault) = (millis(random, 100..3500), ServerFault::draw(random));
        if !pause(house, wait, until).await {
            return Ok(());
        }
        fault.execute(house).await.inspect_err(|what| house.found(what.clone()))?;
    }
}

async fn abuse(
    random: &mut Rng,
    house: &House,
    far_side: &FarSide,
    until: Instant,
) -> Result<(), String> {
    loop {
        let (wait, fault) = (millis(random, 50..2500), FarFault::draw(random));
        if !pause(house, wait, until).await {
            return Ok(());
        }
        fault.execute(house, far_side).await.inspect_err(|what| house.found(what.clone()))?;
    }
}

async fn fill(
    random: &mut Rng,
    house: &House,
    disk: Option<&SmallDisk>,
    until: Instant,
) -> Result<(), String> {
    let Some(disk) = disk else { return Ok(()) };
    loop {
        let (wait, lasts) = (millis(random, 300..4000), millis(random, 100..4000));
        if !pause(house, wait, until).await {
            return Ok(());
        }
        house.tally.add("fault: the disk is full", 1);
        house.remember(format!("the disk is full for {lasts:?}"));
        let filled = disk.fill(lasts).await;
        filled.and(disk.free()).inspect_err(|what| house.found(what.clone()))?;
        house.remember("the disk has space again");
    }
}

async fn look(house: &House, until: Instant) -> Result<(), String> {
    while pause(house, Duration::from_millis(500), until).await {
        let looked = house.look().and(house.ask_metrics().await.map(drop));
        looked.inspect_err(|what| house.found(what.clone()))?;
    }
    Ok(())
}
