//! Producers with little overhead: a body is built once, and each request changes only the numbers
//! that make its events unique.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Text in [`EVENT`] that ends in the digits of its number.
const PLACE: &str = "cycle-0000000000";
const DIGITS: usize = 10;
/// Typical event of an agent.
pub(crate) const EVENT: &str = r#"{"source":"bench","cycle_id":"cycle-0000000000","sig_hash":"03f203cc93b17365","event_kind":"tests_failed","ok":false,"staffer_id":"gpt-oss:120b","turns":83,"duration_ms":49081.172,"extra":{"repo":"example/repository","usage":{"prompt_tokens":3975829,"completion_tokens":1478,"cost_usd":2.99},"patch_tokens":15984}}"#;

/// Load of several producers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: u64,
    /// Number of events in a request. A single event is sent to `/event`.
    pub(crate) batch: u64,
    /// Interval between the requests of a connection. Zero means right after the response.
    pub(crate) every: Duration,
    /// Number of the first event.
    pub(crate) first: u64,
}

impl Load {
    /// Sends events while `more` returns true. Returns the number of acknowledged events and the
    /// time they took.
    pub(crate) fn send(
        self,
        address: &str,
        more: impl Fn() -> bool + Sync,
    ) -> anyhow::Result<(u64, Duration)> {
        self.send_timed(address, more, |_| ())
    }

    /// Sends events as [`Self::send`] does, and gives `observe` the time of each request.
    pub(crate) fn send_timed(
        self,
        address: &str,
        more: impl Fn() -> bool + Sync,
        observe: impl Fn(Duration) + Sync,
    ) -> anyhow::Result<(u64, Duration)> {
        let (numbers, acknowledged) = (AtomicU64::new(self.first), AtomicU64::new(0));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let producers: Vec<_> = (0..self.connections)
                .map(|producer| {
                    // Spread over the interval, as independent producers are.
                    let delay = self.every.mul_f64(producer as f64 / self.connections as f64);
                    let (numbers, acknowledged) = (&numbers, &acknowledged);
                    let (more, observe) = (&more, &observe);
                    scope.spawn(move || {
                        std::thread::sleep(delay);
                        self.produce(address, numbers, acknowledged, more, observe)
                    })
                })
                .collect();
            producers
                .into_iter()
                .try_for_each(|producer| producer.join().expect("producers do not panic"))
        })?;
        Ok((acknowledged.into_inner(), begun.elapsed()))
    }

    fn produce(
        self,
        address: &str,
        numbers: &AtomicU64,
        acknowledged: &AtomicU64,
        more: &impl Fn() -> bool,
        observe: &impl Fn(Duration),
    ) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut responses = BufReader::new(stream.try_clone()?);
        let (path, media, accepted) = match self.batch {
            1 => ("/event", "application/json", r#""status":"accepted""#.to_owned()),
            batch => ("/v1/events", "application/x-ndjson", format!("\"accepted\":{batch},")),
        };
        let body = format!("{EVENT}\n").repeat(usize::try_from(self.batch)?);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let place = EVENT.find(PLACE).context("the event has no number")? + PLACE.len();
        let mut request = [head.as_bytes(), body.as_bytes()].concat();
        while more() {
            let begun = Instant::now();
            let first = numbers.fetch_add(self.batch, Ordering::Relaxed);
            for (event, number) in
                request[head.len()..].chunks_exact_mut(EVENT.len() + 1).zip(first..)
            {
                write_number(&mut event[place - DIGITS..place], number);
            }
            let sent = Instant::now();
            stream.write_all(&request)?;
            let response = read_response(&mut responses)?;
            observe(sent.elapsed());
            if !response.contains(&accepted) {
                bail!("a request was not accepted: {response}");
            }
            acknowledged.fetch_add(self.batch, Ordering::Relaxed);
            std::thread::sleep(self.every.saturating_sub(begun.elapsed()));
        }
        Ok(())
    }
}

/// Returns the number of events per second.
pub(crate) fn rate(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

fn write_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

pub(crate) fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
    read_response(&mut BufReader::new(stream))
}

/// Returns the sinks of the observer as in `/v1/sinks`.
pub(crate) fn sinks(address: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let status: serde_json::Value = serde_json::from_str(&get(address, "/v1/sinks")?)?;
    Ok(status["sinks"].as_array().context("the response has no sinks")?.clone())
}

/// Returns the number of pending events of a sink.
pub(crate) fn pending(sink: &serde_json::Value) -> u64 {
    sink["pending"].as_u64().unwrap_or(u64::MAX)
}

fn read_response(responses: &mut impl BufRead) -> anyhow::Result<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if responses.read_line(&mut line)? == 0 {
            bail!("the connection was closed before the response");
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    responses.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}
