//! Observer with a sink of its own: `type = "spool"` writes a file for each event into a `folder`
//! that another program empties. Run it with `cargo run -p examples --example spool_sink`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{
    Batch, BuildError, EventSink, Receipt, SinkConfig, SinkContext, SinkError, SinkPart, Uuid,
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpoolConfig {
    folder: PathBuf,
}

impl SinkConfig for SpoolConfig {
    const TYPE: &'static str = "spool";

    fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        Ok(vec![SinkPart::whole(Arc::new(SpoolSink { folder: self.folder }))])
    }
}

struct SpoolSink {
    folder: PathBuf,
}

impl SpoolSink {
    /// Creates the folder if it is missing, and runs blocking work on it.
    async fn with_folder<F>(&self, work: F) -> Result<(), SinkError>
    where
        F: FnOnce(&Path) -> io::Result<()> + Send + 'static,
    {
        let folder = self.folder.clone();
        let task = move || fs::create_dir_all(&folder).and_then(|()| work(&folder));
        let result = tokio::task::spawn_blocking(task).await.map_err(SinkError::transient)?;
        result.map_err(SinkError::blocked)
    }
}

#[async_trait]
impl EventSink for SpoolSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let batch = batch.clone();
        let write = move |folder: &Path| {
            batch.events().iter().try_for_each(|envelope| {
                // The name depends on the event only, so a repeated delivery replaces the file.
                let name = format!("{:020}-{}", envelope.seq, envelope.id);
                let temporary = folder.join(format!(".{}", Uuid::now_v7()));
                fs::write(&temporary, envelope.to_json())?;
                fs::rename(temporary, folder.join(name))
            })
        };
        self.with_folder(write).await.map(|()| Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        let sync = |folder: &Path| {
            // A file that can't be opened was already removed by the reader of the folder.
            let files = fs::read_dir(folder)?.flatten().flat_map(|entry| File::open(entry.path()));
            files.chain([File::open(folder)?]).try_for_each(|file| file.sync_all())
        };
        self.with_folder(sync).await
    }

    async fn check(&self) -> Result<(), SinkError> {
        self.with_folder(|_| Ok(())).await
    }
}

fn main() -> ExitCode {
    observer::run_with(std::env::args_os(), |metrics| {
        observer::registry::with_defaults(metrics).with::<SpoolConfig>()
    })
}
