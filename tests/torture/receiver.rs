//! Receiver: a process that accepts batches over HTTP, as the destination of a sink.
//!
//! A line on its standard input sets its behaviour. It writes each accepted event to a file before
//! it responds, as a line `seq n`, so a kill loses no event that it has acknowledged.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::oracle::event;
use crate::sync::lock;

/// Behaviour of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Accepts the batch.
    Healthy,
    /// Accepts the batch after a delay.
    Slow,
    /// Reads the request and never responds.
    Hangs,
    /// Accepts the batch and never responds.
    AcceptsAndHangs,
    /// Responds with 500.
    ServerError,
    /// Responds with 429 and `Retry-After`.
    TooManyRequests,
    /// Accepts the batch and sends a part of the response.
    TruncatedResponse,
    /// Closes the connection.
    Disconnects,
    /// Accepts the batch and closes the connection.
    AcceptsAndDisconnects,
    /// Chooses another behaviour at random for each request.
    Random,
}

impl Behaviour {
    pub(crate) const ALL: [Self; 10] = [
        Self::Healthy,
        Self::Slow,
        Self::Hangs,
        Self::AcceptsAndHangs,
        Self::ServerError,
        Self::TooManyRequests,
        Self::TruncatedResponse,
        Self::Disconnects,
        Self::AcceptsAndDisconnects,
        Self::Random,
    ];

    /// Returns the line on standard input that selects this behaviour.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Hangs => "hangs",
            Self::AcceptsAndHangs => "accepts-and-hangs",
            Self::ServerError => "500",
            Self::TooManyRequests => "429",
            Self::TruncatedResponse => "truncated-response",
            Self::Disconnects => "disconnects",
            Self::AcceptsAndDisconnects => "accepts-and-disconnects",
            Self::Random => "random",
        }
    }

    /// Returns a predicate for the summary.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Healthy => "is healthy",
            Self::Slow => "is slow",
            Self::Hangs => "hangs",
            Self::AcceptsAndHangs => "accepts batches and hangs",
            Self::ServerError => "responds with 500",
            Self::TooManyRequests => "responds with 429",
            Self::TruncatedResponse => "accepts batches and truncates responses",
            Self::Disconnects => "disconnects",
            Self::AcceptsAndDisconnects => "accepts batches and disconnects",
            Self::Random => "behaves at random",
        }
    }

    fn accepts(self) -> bool {
        matches!(
            self,
            Self::Healthy
                | Self::Slow
                | Self::AcceptsAndHangs
                | Self::TruncatedResponse
                | Self::AcceptsAndDisconnects
        )
    }
}

struct Receiver {
    seed: u64,
    rejects_poison: bool,
    accepted: Mutex<File>,
    behaviour: Mutex<Behaviour>,
    changed: Condvar,
}

/// Argument of a receiver that rejects poison events.
pub(crate) const STRICT: &str = "strict";
/// Argument of a receiver that accepts all events.
pub(crate) const LENIENT: &str = "lenient";

/// Runs a receiver. The arguments are its port, the file to write to, the seed of the events, and
/// [`STRICT`] or [`LENIENT`].
pub(crate) fn receive(arguments: &[String]) -> ExitCode {
    match begin(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("receiver: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: &[String]) -> io::Result<()> {
    let [port, file, seed, mode] = arguments else {
        return Err(io::Error::other("expected four arguments"));
    };
    // The file must exist once the port accepts connections, since the test program reads it then.
    let accepted = File::options().create(true).append(true).open(file)?;
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let receiver = Arc::new(Receiver {
        seed: seed.parse().map_err(io::Error::other)?,
        rejects_poison: mode == STRICT,
        accepted: Mutex::new(accepted),
        behaviour: Mutex::new(Behaviour::Healthy),
        changed: Condvar::new(),
    });
    let accepting = receiver.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let receiver = accepting.clone();
            // An error means that the client closed the connection.
            std::thread::spawn(move || while receiver.serve(&connection).is_ok_and(|more| more) {});
        }
    });
    // Standard input ends with the program that started this process.
    for line in io::stdin().lines() {
        let line = line?;
        if let Some(behaviour) =
            Behaviour::ALL.into_iter().find(|behaviour| behaviour.as_str() == line)
        {
            *receiver.behaviour() = behaviour;
            receiver.changed.notify_all();
        }
    }
    Ok(())
}

impl Receiver {
    /// Serves one request. Returns whether the connection stays open.
    fn serve(&self, connection: &TcpStream) -> io::Result<bool> {
        // Clients do not pipeline requests, so the reader buffers no part of the next one.
        let mut reader = BufReader::new(connection);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let start = head.len();
            if reader.read_line(&mut head)? == 0 {
                return Ok(false);
            }
            let line = head[start..].trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if head.starts_with("OPTIONS") {
            respond(connection, "200 OK", "")?;
            return Ok(true);
        }
        let mut behaviour = *self.behaviour();
        if behaviour == Behaviour::Random {
            behaviour = *fastrand::choice(&Behaviour::ALL[..Behaviour::ALL.len() - 1])
                .expect("the list is not empty");
        }
        let body = std::str::from_utf8(&body).map_err(io::Error::other)?;
        let mut lines = String::new();
        for line in body.lines() {
            match event::read(self.seed, line) {
                Ok(seen) if self.rejects_poison && event::is_poison(seen.n) => {
                    respond(connection, "422 Unprocessable Content", "")?;
                    return Ok(true);
                }
                Ok(seen) => lines.push_str(&format!("{} {}\n", seen.seq, seen.n)),
                Err(reason) => lines.push_str(&format!("invalid event: {reason}\n")),
            }
        }
        if behaviour == Behaviour::Slow {
            std::thread::sleep(Duration::from_millis(fastrand::u64(50..500)));
        }
        if behaviour.accepts() {
            lock(&self.accepted).write_all(lines.as_bytes())?;
        }
        self.reply(connection, behaviour)
    }

    /// Responds to a request, or not. Returns whether the connection stays open.
    fn reply(&self, mut connection: &TcpStream, behaviour: Behaviour) -> io::Result<bool> {
        match behaviour {
            Behaviour::Healthy | Behaviour::Slow => respond(connection, "200 OK", "")?,
            Behaviour::ServerError => respond(connection, "500 Internal Server Error", "")?,
            Behaviour::TooManyRequests => {
                respond(connection, "429 Too Many Requests", "Retry-After: 1\r\n")?;
            }
            Behaviour::TruncatedResponse => {
                connection
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\naccepted, and")?;
                return Ok(false);
            }
            Behaviour::Hangs | Behaviour::AcceptsAndHangs | Behaviour::Random => {
                let guard = self.behaviour();
                let before = *guard;
                let limit = Duration::from_secs(5);
                drop(self.changed.wait_timeout_while(guard, limit, |now| *now == before));
                return Ok(false);
            }
            Behaviour::Disconnects | Behaviour::AcceptsAndDisconnects => return Ok(false),
        }
        Ok(true)
    }

    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        lock(&self.behaviour)
    }
}

fn respond(mut connection: &TcpStream, status: &str, headers: &str) -> io::Result<()> {
    connection
        .write_all(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes())
}
