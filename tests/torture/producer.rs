//! Those who send events, again and again until each is acknowledged.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_ENCODING, RETRY_AFTER};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::deployment::{House, INGEST_TIMEOUT, SLACK};
use crate::oracle::event::{Sent, Way, event};

/// How many send at once, and how many of them send batches.
pub(crate) const PRODUCERS: u32 = 12;
const OF_BATCHES: u32 = 3;
const LARGEST_BATCH: u64 = 120;

/// What came of one request.
enum Outcome {
    /// The status 200 with this body.
    Taken(String),
    /// The observer said that it doesn't take it now.
    Refused(Duration),
    /// It may have been taken.
    Unknown,
}

#[derive(Deserialize)]
struct Single {
    id: String,
    status: String,
    durability: String,
}

#[derive(Deserialize)]
struct Batch {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    durability: String,
}

/// Send for as long as there are turns to be had: one who has all of them has silence.
pub(crate) fn start(house: &Arc<House>, turns: &Arc<Semaphore>, seed: u64) {
    for number in 0..PRODUCERS {
        let (house, turns) = (house.clone(), turns.clone());
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(number.into()));
        tokio::spawn(async move {
            let way = if number < OF_BATCHES { Way::Batch } else { Way::Single };
            while let Ok(turn) = turns.acquire().await {
                if house.is_over() {
                    return;
                }
                let sent = match way {
                    Way::Batch => send_batch(&house, &mut random).await,
                    Way::Single => send_single(&house, &mut random).await,
                };
                if let Err(what) = sent {
                    house.found(what);
                    return;
                }
                drop(turn);
                let pause = if way == Way::Batch { 150 } else { 25 };
                tokio::time::sleep(Duration::from_millis(random.u64(0..pause))).await;
            }
        });
    }
}

/// One event that is sent by itself, until it is acknowledged.
pub(crate) async fn send_single(house: &House, random: &mut fastrand::Rng) -> Result<(), String> {
    let sent = event(house.seed, house.hand_out(Way::Single));
    let request = || {
        let request = house.client.post(format!("{}/event", house.url)).body(sent.body.clone());
        sent.key.iter().fold(request, |request, key| request.header("Idempotency-Key", key))
    };
    let mut may_be_known = false;
    loop {
        match attempt(house, request(), random).await? {
            Outcome::Taken(text) => {
                if check_single(&sent, &text, may_be_known)? {
                    house.tally.add("events that were known when they were sent again", 1);
                }
                break;
            }
            // The journal may be slow, and commit it all the same.
            Outcome::Refused(pause) => {
                may_be_known = true;
                wait(house, pause).await;
            }
            Outcome::Unknown => {
                may_be_known = true;
                house.tally.add("events sent again after no answer", 1);
                wait(house, Duration::from_millis(20)).await;
            }
        }
        if house.is_over() {
            return Ok(());
        }
    }
    house.oracle().acknowledge([sent.n]);
    house.tally.add("events acknowledged", 1);
    if random.u8(..16) == 0
        && let Outcome::Taken(text) = attempt(house, request(), random).await?
    {
        let known = check_single(&sent, &text, true)?;
        if !known {
            return Err(format!(
                "event {} ({}) was acknowledged, and accepted once more: {text}",
                sent.n, sent.id
            ));
        }
        house.tally.add("duplicates sent on purpose", 1);
    }
    Ok(())
}

/// Whether it was a duplicate.
fn check_single(sent: &Sent, text: &str, may_be_known: bool) -> Result<bool, String> {
    let Sent { n, id, .. } = sent;
    let answer: Single =
        serde_json::from_str(text).map_err(|error| format!("event {n}: {error}: {text}"))?;
    if answer.id != id.to_string() {
        return Err(format!("event {n} was answered with another id than {id}: {text}"));
    }
    if answer.durability != "fsync" {
        return Err(format!("event {n} ({id}) was answered with less than was configured: {text}"));
    }
    match &*answer.status {
        "accepted" => Ok(false),
        "duplicate" if may_be_known => Ok(true),
        _ => Err(format!("event {n} ({id}) was sent for the first time, and answered with {text}")),
    }
}

async fn send_batch(house: &House, random: &mut fastrand::Rng) -> Result<(), String> {
    let count = random.u64(1..=LARGEST_BATCH);
    let events: Vec<_> =
        (0..count).map(|_| event(house.seed, house.hand_out(Way::Batch))).collect();
    let lines: String = events.iter().map(|sent| format!("{}\n", sent.body)).collect();
    let (first, last) = (events[0].n, events[events.len() - 1].n);
    let name = format!("the batch of {count} events between {first} and {last}");
    let compressed = if random.bool() { Some(gzip(&lines)?) } else { None };
    let request = || {
        let request = house.client.post(format!("{}/v1/events", house.url));
        match &compressed {
            Some(bytes) => request.header(CONTENT_ENCODING, "gzip").body(bytes.clone()),
            None => request.body(lines.clone()),
        }
    };
    let mut may_be_known = false;
    loop {
        match attempt(house, request(), random).await? {
            Outcome::Taken(text) => {
                if check_batch(&name, count, &text, may_be_known)? {
                    house.tally.add("events that were known when they were sent again", count);
                }
                break;
            }
            Outcome::Refused(pause) => {
                may_be_known = true;
                wait(house, pause).await;
            }
            Outcome::Unknown => {
                may_be_known = true;
                house.tally.add("events sent again after no answer", count);
                wait(house, Duration::from_millis(20)).await;
            }
        }
        if house.is_over() {
            return Ok(());
        }
    }
    house.oracle().acknowledge(events.iter().map(|sent| sent.n));
    house.tally.add("events acknowledged", count);
    if random.u8(..16) == 0
        && let Outcome::Taken(text) = attempt(house, request(), random).await?
    {
        let known = check_batch(&name, count, &text, true)?;
        if !known {
            return Err(format!("{name} was acknowledged, and accepted once more: {text}"));
        }
        house.tally.add("duplicates sent on purpose", count);
    }
    Ok(())
}

/// Whether all were duplicates; else none is.
fn check_batch(name: &str, count: u64, text: &str, may_be_known: bool) -> Result<bool, String> {
    let answer: Batch =
        serde_json::from_str(text).map_err(|error| format!("{name}: {error}: {text}"))?;
    if answer.rejected > 0 || answer.durability != "fsync" {
        return Err(format!("{name} is good, and was answered with {text}"));
    }
    match (answer.accepted, answer.duplicates) {
        (accepted, 0) if accepted == count => Ok(false),
        (0, duplicates) if duplicates == count && may_be_known => Ok(true),
        _ => Err(format!(
            "{name} is to be stored together or not at all, and was answered with {text}"
        )),
    }
}

async fn attempt(
    house: &House,
    request: RequestBuilder,
    random: &mut fastrand::Rng,
) -> Result<Outcome, String> {
    house.tally.add("requests", 1);
    let begun = house.weather.begin();
    let limit = INGEST_TIMEOUT + SLACK;
    let exchange = async {
        let answer = request.timeout(limit).send().await?;
        let (status, pause) =
            (answer.status().as_u16(), answer.headers().get(RETRY_AFTER).cloned());
        Ok::<_, reqwest::Error>((status, pause, answer.text().await?))
    };
    // Some hang up and come back.
    let exchange = if random.u8(..50) == 0 {
        let patience = Duration::from_micros(random.u64(0..20_000));
        match tokio::time::timeout(patience, exchange).await {
            Ok(exchange) => exchange,
            Err(_) => {
                house.tally.add("requests given up by their producer", 1);
                return Ok(Outcome::Unknown);
            }
        }
    } else {
        exchange.await
    };
    match exchange {
        Ok((200, _, text)) => {
            if let Some(after) = house.weather.answered(begun) {
                house.tally.recovered(after);
            }
            Ok(Outcome::Taken(text))
        }
        Ok((503, pause, text)) => {
            house.tally.add("requests answered with 503", 1);
            let pause = pause.as_ref().and_then(|pause| pause.to_str().ok()?.parse().ok());
            let pause = pause.ok_or_else(|| format!("a 503 has no Retry-After: {text}"))?;
            // Some don't do as they are told.
            let obeys = random.u8(..4) == 0;
            Ok(Outcome::Refused(if obeys {
                Duration::from_secs(pause)
            } else {
                Duration::from_millis(100)
            }))
        }
        Ok((status, _, text)) => Err(format!("a good request was answered with {status}: {text}")),
        Err(error) if house.weather.was_fine(begun) => {
            let after = begun.at.elapsed().as_secs_f64();
            Err(format!(
                "no answer within {after:.3} s, though nothing was done to the observer: {error:?}"
            ))
        }
        Err(_) => Ok(Outcome::Unknown),
    }
}

/// Before the next try; not for long when all is over.
async fn wait(house: &House, pause: Duration) {
    if !house.is_over() {
        tokio::time::sleep(pause).await;
    }
}

fn gzip(text: &str) -> Result<Vec<u8>, String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish())
        .map_err(|error| error.to_string())
}
