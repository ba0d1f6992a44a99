//! Producers, which send each event until it is acknowledged.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_ENCODING, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::deployment::{Deployment, INGEST_TIMEOUT, SLACK};
use crate::oracle::event::{GeneratedEvent, SendMode, event};

/// Number of concurrent producers.
pub(crate) const PRODUCERS: u32 = 12;
/// Number of producers that send batches.
const BATCH_PRODUCERS: u32 = 3;
/// Maximum number of events in a batch.
const LARGEST_BATCH: u64 = 120;

/// Result of one request.
enum Attempt {
    /// Status 200 with this body.
    Acknowledged(String),
    /// Status 503 with this `Retry-After`.
    Rejected(Duration),
    /// No response; the request may have been committed.
    Unknown,
}

#[derive(Deserialize)]
struct Single {
    id: String,
    status: String,
}

#[derive(Deserialize)]
struct Batch {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
}

#[derive(Deserialize)]
struct Acknowledged {
    durability: String,
}

/// Starts the producers. Each request needs a permit, so a caller that holds all permits can be
/// sure that no request is in progress.
pub(crate) fn start(deployment: &Arc<Deployment>, permits: &Arc<Semaphore>, seed: u64) {
    for number in 0..PRODUCERS {
        let (deployment, permits) = (deployment.clone(), permits.clone());
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(number.into()));
        tokio::spawn(async move {
            let mode = if number < BATCH_PRODUCERS { SendMode::Batch } else { SendMode::Single };
            while let Ok(permit) = permits.acquire().await {
                if deployment.has_failed() {
                    return;
                }
                let sent = match mode {
                    SendMode::Batch => send_batch(&deployment, &mut random).await,
                    SendMode::Single => send_single(&deployment, &mut random).await,
                };
                if let Err(violation) = sent {
                    deployment.report(violation);
                    return;
                }
                drop(permit);
                let pause = if mode == SendMode::Batch { 150 } else { 25 };
                tokio::time::sleep(Duration::from_millis(random.u64(0..pause))).await;
            }
        });
    }
}

/// Sends one event by itself until it is acknowledged.
pub(crate) async fn send_single(
    deployment: &Deployment,
    random: &mut fastrand::Rng,
) -> Result<(), String> {
    let sent = event(deployment.seed, deployment.next_event(SendMode::Single));
    let request = || {
        let request =
            deployment.client.post(format!("{}/event", deployment.url)).body(sent.body.clone());
        sent.key.iter().fold(request, |request, key| request.header("Idempotency-Key", key))
    };
    let mut may_be_known = false;
    loop {
        match attempt(deployment, request(), random).await? {
            Attempt::Acknowledged(text) => {
                if check_single(&sent, &text, may_be_known)? {
                    deployment.tally.add("duplicates reported when events were sent again", 1);
                }
                break;
            }
            // The journal may still commit the event after the timeout.
            Attempt::Rejected(pause) => {
                may_be_known = true;
                wait(deployment, pause).await;
            }
            Attempt::Unknown => {
                may_be_known = true;
                deployment.tally.add("events sent again after no response", 1);
                wait(deployment, Duration::from_millis(20)).await;
            }
        }
        if deployment.has_failed() {
            return Ok(());
        }
    }
    deployment.oracle().acknowledge([sent.n]);
    deployment.tally.add("events acknowledged", 1);
    if random.u8(..16) == 0
        && let Attempt::Acknowledged(text) = attempt(deployment, request(), random).await?
    {
        let known = check_single(&sent, &text, true)?;
        if !known {
            return Err(format!(
                "event {} ({}) was acknowledged before and accepted again: {text}",
                sent.n, sent.id
            ));
        }
        deployment.tally.add("duplicates sent on purpose", 1);
    }
    Ok(())
}

/// Checks the response to a single event. Returns whether it was a duplicate.
fn check_single(sent: &GeneratedEvent, text: &str, may_be_known: bool) -> Result<bool, String> {
    let GeneratedEvent { n, id, .. } = sent;
    let response: Single =
        serde_json::from_str(text).map_err(|error| format!("event {n}: {error}: {text}"))?;
    if response.id != id.to_string() {
        return Err(format!("the response to event {n} lacks the id {id}: {text}"));
    }
    match &*response.status {
        "accepted" => Ok(false),
        "duplicate" if may_be_known => Ok(true),
        _ => Err(format!("event {n} ({id}) was new, but the response was {text}")),
    }
}

async fn send_batch(deployment: &Deployment, random: &mut fastrand::Rng) -> Result<(), String> {
    let count = random.u64(1..=LARGEST_BATCH);
    let events: Vec<_> = (0..count)
        .map(|_| event(deployment.seed, deployment.next_event(SendMode::Batch)))
        .collect();
    let lines: String = events.iter().map(|sent| format!("{}\n", sent.body)).collect();
    let (first, last) = (events[0].n, events[events.len() - 1].n);
    let name = format!("the batch of {count} events from {first} to {last}");
    let compressed = if random.bool() { Some(gzip(&lines)?) } else { None };
    let request = || {
        let request = deployment.client.post(format!("{}/v1/events", deployment.url));
        match &compressed {
            Some(bytes) => request.header(CONTENT_ENCODING, "gzip").body(bytes.clone()),
            None => request.body(lines.clone()),
        }
    };
    let mut may_be_known = false;
    loop {
        match attempt(deployment, request(), random).await? {
            Attempt::Acknowledged(text) => {
                if check_batch(&name, count, &text, may_be_known)? {
                    deployment.tally.add("duplicates reported when events were sent again", count);
                }
                break;
            }
            Attempt::Rejected(pause) => {
                may_be_known = true;
                wait(deployment, pause).await;
            }
            Attempt::Unknown => {
                may_be_known = true;
                deployment.tally.add("events sent again after no response", count);
                wait(deployment, Duration::from_millis(20)).await;
            }
        }
        if deployment.has_failed() {
            return Ok(());
        }
    }
    deployment.oracle().acknowledge(events.iter().map(|sent| sent.n));
    deployment.tally.add("events acknowledged", count);
    if random.u8(..16) == 0
        && let Attempt::Acknowledged(text) = attempt(deployment, request(), random).await?
    {
        let known = check_batch(&name, count, &text, true)?;
        if !known {
            return Err(format!("{name} was acknowledged before and accepted again: {text}"));
        }
        deployment.tally.add("duplicates sent on purpose", count);
    }
    Ok(())
}

/// Checks the response to a batch. Returns whether all of its events were duplicates; otherwise
/// none of them was.
fn check_batch(name: &str, count: u64, text: &str, may_be_known: bool) -> Result<bool, String> {
    let response: Batch =
        serde_json::from_str(text).map_err(|error| format!("{name}: {error}: {text}"))?;
    if response.rejected > 0 {
        return Err(format!("{name} is valid, but the response was {text}"));
    }
    match (response.accepted, response.duplicates) {
        (accepted, 0) if accepted == count => Ok(false),
        (0, duplicates) if duplicates == count && may_be_known => Ok(true),
        _ => Err(format!(
            "{name} must be stored completely or not at all, but the response was {text}"
        )),
    }
}

async fn attempt(
    deployment: &Deployment,
    request: RequestBuilder,
    random: &mut fastrand::Rng,
) -> Result<Attempt, String> {
    deployment.tally.add("requests", 1);
    let begun = deployment.availability.begin();
    let limit = INGEST_TIMEOUT + SLACK;
    let exchange = async {
        let response = request.timeout(limit).send().await?;
        let (status, pause) =
            (response.status().as_u16(), response.headers().get(RETRY_AFTER).cloned());
        Ok::<_, reqwest::Error>((status, pause, response.text().await?))
    };
    // Some producers disconnect early and send the request again.
    let exchange = if random.u8(..50) == 0 {
        let limit = Duration::from_micros(random.u64(0..20_000));
        match tokio::time::timeout(limit, exchange).await {
            Ok(exchange) => exchange,
            Err(_) => {
                deployment.tally.add("requests cancelled by their producer", 1);
                return Ok(Attempt::Unknown);
            }
        }
    } else {
        exchange.await
    };
    match exchange {
        Ok((200, _, text)) => {
            let Acknowledged { durability } =
                serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
            if !deployment.availability.has_durability(begun, &durability) {
                return Err(format!("a response lacks the configured durability: {text}"));
            }
            if let Some(after) = deployment.availability.answered(begun) {
                deployment.tally.recovered(after);
            }
            Ok(Attempt::Acknowledged(text))
        }
        Ok((503, pause, text)) => {
            deployment.tally.add("responses with status 503", 1);
            Ok(Attempt::Rejected(pause_before_repeat(pause.as_ref(), &text, random)?))
        }
        Ok((status, _, text)) => Err(format!("response {status} to a valid request: {text}")),
        Err(error) if deployment.availability.was_available(begun) => {
            let after = begun.at.elapsed().as_secs_f64();
            Err(format!(
                "no response within {after:.3} s, although the observer was available: {error:?}"
            ))
        }
        Err(_) => Ok(Attempt::Unknown),
    }
}

/// Returns the pause after a response 503. Most producers ignore `Retry-After`.
fn pause_before_repeat(
    retry_after: Option<&HeaderValue>,
    text: &str,
    random: &mut fastrand::Rng,
) -> Result<Duration, String> {
    let pause = retry_after.and_then(|pause| pause.to_str().ok()?.parse().ok());
    let pause = pause.ok_or_else(|| format!("a 503 lacks Retry-After: {text}"))?;
    let obeys = random.u8(..4) == 0;
    Ok(if obeys { Duration::from_secs(pause) } else { Duration::from_millis(100) })
}

/// Waits before the next attempt, unless the test has failed.
async fn wait(deployment: &Deployment, pause: Duration) {
    if !deployment.has_failed() {
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
