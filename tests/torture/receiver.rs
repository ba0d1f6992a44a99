//! The far side of a sink: a process that takes batches over HTTP, as well or as badly as it is
//! told to on its standard input.
//!
//! What it takes it writes to a file before it answers, one line for each event, `seq n`; so a kill
//! loses nothing that it has answered for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::oracle::event;

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    Well,
    Slow,
    /// It reads the request and does nothing.
    Hangs,
    /// It takes the batch and never says so.
    TakesAndHangs,
    Fails,
    /// 429 with `Retry-After`.
    Later,
    /// It takes the batch, and its answer breaks off.
    HalfAnAnswer,
    Cuts,
    TakesAndCuts,
    /// Any of these, for each request anew.
    Moody,
}

impl Manners {
    pub(crate) const ALL: [Self; 10] = [
        Self::Well,
        Self::Slow,
        Self::Hangs,
        Self::TakesAndHangs,
        Self::Fails,
        Self::Later,
        Self::HalfAnAnswer,
        Self::Cuts,
        Self::TakesAndCuts,
        Self::Moody,
    ];

    /// One word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Slow => "slow",
            Self::Hangs => "hangs",
            Self::TakesAndHangs => "takes-and-hangs",
            Self::Fails => "500",
            Self::Later => "429",
            Self::HalfAnAnswer => "half-an-answer",
            Self::Cuts => "cuts",
            Self::TakesAndCuts => "takes-and-cuts",
            Self::Moody => "moody",
        }
    }

    /// What it does, as the figures say it.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Well => "is well",
            Self::Slow => "is slow",
            Self::Hangs => "hangs",
            Self::TakesAndHangs => "takes the batch and hangs",
            Self::Fails => "answers 500",
            Self::Later => "answers 429",
            Self::HalfAnAnswer => "takes the batch and answers half",
            Self::Cuts => "cuts the connection",
            Self::TakesAndCuts => "takes the batch and cuts the connection",
            Self::Moody => "does any of these",
        }
    }

    fn takes(self) -> bool {
        matches!(
            self,
            Self::Well | Self::Slow | Self::TakesAndHangs | Self::HalfAnAnswer | Self::TakesAndCuts
        )
    }
}

struct Receiver {
    seed: u64,
    picky: bool,
    taken: Mutex<File>,
    manners: Mutex<Manners>,
    changed: Condvar,
}

/// Be a receiver: its port, the file to write to, the seed of the events, and whether it refuses
/// those that are poison.
pub(crate) fn receive(arguments: &[String]) -> ExitCode {
    match begin(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the receiver: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: &[String]) -> io::Result<()> {
    let [port, file, seed, picky] = arguments else {
        return Err(io::Error::other("four arguments are needed"));
    };
    // There before anyone can connect, since it is looked for then.
    let taken = File::options().create(true).append(true).open(file)?;
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let receiver = Arc::new(Receiver {
        seed: seed.parse().map_err(io::Error::other)?,
        picky: picky == "picky",
        taken: Mutex::new(taken),
        manners: Mutex::new(Manners::Well),
        changed: Condvar::new(),
    });
    let accepting = receiver.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let receiver = accepting.clone();
            // An error is a connection that is gone.
            std::thread::spawn(move || while receiver.serve(&connection).is_ok_and(|more| more) {});
        }
    });
    // It ends with the program that has started it.
    for line in io::stdin().lines() {
        let line = line?;
        if let Some(manners) = Manners::ALL.into_iter().find(|manners| manners.name() == line) {
            *receiver.manners() = manners;
            receiver.changed.notify_all();
        }
    }
    Ok(())
}

impl Receiver {
    /// One request; whether there may be another one.
    fn serve(&self, mut connection: &TcpStream) -> io::Result<bool> {
        // Requests come one after the other, so nothing of the next one is read ahead.
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
            answer(connection, "200 OK", "")?;
            return Ok(true);
        }
        let mut manners = *self.manners();
        if manners == Manners::Moody {
            manners = *fastrand::choice(&Manners::ALL[..Manners::ALL.len() - 1])
                .expect("there are manners");
        }
        let body = std::str::from_utf8(&body).map_err(io::Error::other)?;
        let mut lines = String::new();
        for line in body.lines() {
            match event::read(self.seed, line) {
                Ok(seen) if self.picky && event::is_poison(seen.n) => {
                    answer(connection, "422 Unprocessable Content", "")?;
                    return Ok(true);
                }
                Ok(seen) => lines.push_str(&format!("{} {}\n", seen.seq, seen.n)),
                Err(why) => lines.push_str(&format!("wrong: {why}\n")),
            }
        }
        if manners == Manners::Slow {
            std::thread::sleep(Duration::from_millis(fastrand::u64(50..500)));
        }
        if manners.takes() {
            self.taken
                .lock()
                .expect("nothing panics while it writes")
                .write_all(lines.as_bytes())?;
        }
        match manners {
            Manners::Well | Manners::Slow => answer(connection, "200 OK", "")?,
            Manners::Fails => answer(connection, "500 Internal Server Error", "")?,
            Manners::Later => answer(connection, "429 Too Many Requests", "Retry-After: 1\r\n")?,
            Manners::HalfAnAnswer => {
                connection
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ntaken, and")?;
                return Ok(false);
            }
            Manners::Hangs | Manners::TakesAndHangs | Manners::Moody => {
                let hangs = self.manners();
                let was = *hangs;
                let wait = self
                    .changed
                    .wait_timeout_while(hangs, Duration::from_secs(5), |now| *now == was);
                drop(wait);
                return Ok(false);
            }
            Manners::Cuts | Manners::TakesAndCuts => return Ok(false),
        }
        Ok(true)
    }

    fn manners(&self) -> MutexGuard<'_, Manners> {
        self.manners.lock().expect("nothing panics while it holds these")
    }
}

fn answer(mut connection: &TcpStream, status: &str, headers: &str) -> io::Result<()> {
    connection
        .write_all(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes())
}
