//! Single events over HTTP against a no-op handler, in one run: `cargo bench -p observer --bench ingest`.
//!
//! `wrk` sends unique events of about 300 bytes; rounds of the no-op and of the observer alternate, each against a fresh process on the same machine. Beside
//! the ratio stands how long the disk under the journal takes for an `fdatasync`, since one group of answers waits for each.

mod load;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::load::{Run, Server, median, need_wrk, number, wrk};

struct Settings {
    seconds: u64,
    rounds: usize,
    connections: Vec<usize>,
    durabilities: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == "serve-nothing") {
        return serve_nothing();
    }
    let settings = Settings {
        seconds: number(&arguments, "--seconds", 5)?,
        rounds: usize::try_from(number(&arguments, "--rounds", 3)?)?,
        connections: vec![64, 256],
        durabilities: vec!["fsync".into(), "write".into()],
    };
    need_wrk()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    println!("fdatasync of 4 KiB under the journal: p50 {:.3} ms\n", sync_p50(folder.path())?.as_secs_f64() * 1e3);
    println!(
        "{:>11} {:>10} {:>12} {:>12} {:>7} {:>9} {:>9}",
        "connections", "durability", "no-op /s", "observer /s", "ratio", "p50, ms", "p99, ms"
    );
    for connections in &settings.connections {
        for durability in &settings.durabilities {
            let (mut nothing, mut observer) = (Vec::new(), Vec::new());
            for round in 0..settings.rounds {
                let load = |server: &Server| wrk(server, *connections, settings.seconds, &round.to_string());
                nothing.push(load(&Server::of_this_program(&["serve-nothing"])?)?);
                observer.push(load(&serve_observer(folder.path(), durability, round)?)?);
            }
            let of = |runs: &[Run], what: fn(&Run) -> f64| median(runs.iter().map(what).collect());
            let rate = |runs: &[Run]| of(runs, |run| run.requests_per_second);
            println!(
                "{connections:>11} {durability:>10} {:>12.0} {:>12.0} {:>7.2} {:>9.3} {:>9.3}",
                rate(&nothing),
                rate(&observer),
                rate(&observer) / rate(&nothing),
                of(&observer, |run| run.p50.as_secs_f64() * 1e3),
                of(&observer, |run| run.p99.as_secs_f64() * 1e3),
            );
        }
    }
    Ok(())
}

fn serve_observer(folder: &Path, durability: &str, round: usize) -> anyhow::Result<Server> {
    let data = folder.join(format!("{durability}-{round}"));
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    let config = folder.join("observer.toml");
    let text = format!(
        "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:0\"\n[journal]\ndurability = {durability:?}\n",
        data.display().to_string()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    Server::start(command.args(["--log-format", "json", "--config"]).arg(config).stderr(Stdio::piped()))
}

/// A handler that reads the body and does nothing with it.
fn serve_nothing() -> anyhow::Result<()> {
    use axum::http::header::CONTENT_TYPE;

    let answer = r#"{"id":"00000000-0000-0000-0000-000000000000","status":"accepted","durability":"none"}"#;
    tokio::runtime::Runtime::new()?.block_on(async {
        let handler = move |_body: bytes::Bytes| async move { ([(CONTENT_TYPE, "application/json")], answer) };
        let app = axum::Router::new().route("/event", axum::routing::post(handler));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        axum::serve(listener, app).await?;
        Ok(())
    })
}

fn sync_p50(folder: &Path) -> anyhow::Result<Duration> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::new();
    for _ in 0..300 {
        file.write_all(&[7; 4096])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}
