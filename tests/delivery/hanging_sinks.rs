//! A sink that never completes a delivery, beside one that works, behind the real server.

use std::time::Duration;

use crate::support::hanging_sink::HangingConfig;
use crate::support::{archive, client, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_sink_delays_neither_producers_nor_other_sinks() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("observer-data");
    let text = format!(
        "data_dir = {data:?}\n[server]\nlisten = \"127.0.0.1:0\"\nshutdown_timeout = \"1s\"\n\
         [sinks.archive]\ntype = \"file\"\npath = \"{}/events/{{date}}.jsonl\"\n[sinks.stuck]\n\
         type = \"hanging\"\n",
        data.display()
    );
    let config = observer::Config::parse(&text).unwrap();
    let types = |metrics: &prometheus::Registry| {
        observer::registry::with_defaults(metrics).with::<HangingConfig>()
    };
    let service = observer::Service::start(&config, types).await.unwrap();
    let url = format!("http://{}", service.local_addrs()[0]);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(service.run(async { stopped.await.unwrap_or_default() }));
    let client = client();
    for number in 0..200 {
        let event =
            format!(r#"{{"source":"job","cycle_id":"{number}","event_kind":"ok","ok":true}}"#);
        let response = client.post(format!("{url}/event")).body(event).send();
        let response = tokio::time::timeout(Duration::from_secs(10), response)
            .await
            .expect("the producer gets a response")
            .unwrap();
        assert_eq!(response.status(), 200);
    }
    wait_until("the archive has every event", async || {
        dir.path().join("observer-data/events").exists() && archive(dir.path()).len() == 200
    })
    .await;
    let sinks: serde_json::Value =
        client.get(format!("{url}/v1/sinks")).send().await.unwrap().json().await.unwrap();
    let stuck =
        sinks["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == "stuck").unwrap();
    assert_eq!((stuck["pending"].as_u64(), stuck["delivered"].as_u64()), (Some(200), Some(0)));
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), serving)
        .await
        .expect("the service stops")
        .unwrap();
}
