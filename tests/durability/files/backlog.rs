//! Closed files that wait for their compression or deletion.

use std::fs;
use std::path::Path;

use super::{config, event};
use crate::support::Observer;

/// Returns the total length of the files in a folder, and that of the uncompressed closed ones.
fn sizes(folder: &Path) -> (u64, u64) {
    let (mut all, mut waiting) = (0, 0);
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // It may have been deleted meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        all += metadata.len();
        if name.ends_with(".jsonl") && name.matches('.').count() > 1 {
            waiting += metadata.len();
        }
    }
    (all, waiting)
}

#[tokio::test]
async fn files_that_wait_for_compression_are_few_and_the_limit_on_size_holds() {
    const MIB: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let keys = |compression: &str, retain: &str| {
        format!("rotate = {{ max_size = \"128KiB\" }}\ncompression = \"{compression}\"\n{retain}")
    };
    let limit = "retain = { max_total_size = \"1MiB\" }";
    let config = config(&[
        ("gzip", "gzip/all.jsonl", &keys("gzip", "")),
        ("zstd", "zstd/{source}.jsonl", &keys("zstd", "")),
        ("limited", "limited/all.jsonl", &keys("gzip", limit)),
    ]);
    let observer = Observer::start(dir.path(), &config);
    let padding = "0123456789abcdef".repeat(500);
    let mut number = 0;
    for _ in 0..24 {
        let lines: Vec<_> = (0..120)
            .map(|_| {
                number += 1;
                event("worker", number).replace("\"n\":", &format!("\"p\":\"{padding}\",\"n\":"))
            })
            .collect();
        let batch = observer.client().post(format!("{}/v1/events", observer.url));
        assert_eq!(observer.send(batch.body(lines.join("\n"))).await.status, 200);
        for folder in ["gzip", "zstd", "limited"] {
            let (_, waiting) = sizes(&dir.path().join(folder));
            assert!(waiting < 9 * MIB, "{folder}: {waiting} bytes wait");
        }
    }
    observer.wait_until_caught_up().await;
    assert!(observer.terminate().0.success());
    let (all, _) = sizes(&dir.path().join("limited"));
    assert!(all <= MIB + MIB / 4, "{all}");
    let (all, _) = sizes(&dir.path().join("gzip"));
    assert!(all > 0);
}
