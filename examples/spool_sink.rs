//! The observer with a sink of one's own, `type = "spool"`: a file for each event, in a `folder`
//! that another program empties. `cargo run -p examples --example spool_sink`

use std::{fs, fs::File, io, path::Path, path::PathBuf, process::ExitCode, sync::Arc};

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
        Ok(vec![SinkPart::whole(Arc::new(Spool(self.folder)))])
    }
}

struct Spool(PathBuf);

impl Spool {
    async fn run<F: FnOnce(&Path) -> io::Result<()> + Send + 'static>(
        &self,
        work: F,
    ) -> Result<(), SinkError> {
        let folder = self.0.clone();
        let turn = move || fs::create_dir_all(&folder).and_then(|()| work(&folder));
        tokio::task::spawn_blocking(turn)
            .await
            .map_err(SinkError::transient)?
            .map_err(SinkError::blocked)
    }
}

#[async_trait]
impl EventSink for Spool {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let batch = batch.clone();
        let write = move |folder: &Path| {
            batch.events().iter().try_for_each(|envelope| {
                // The same event again has the same name, and names sort; so it does no harm if a
                // delivery that was given up ends later.
                let (new, name) = (
                    format!(".{}", Uuid::now_v7()),
                    format!("{:020}-{}", envelope.seq, envelope.id),
                );
                fs::write(folder.join(&new), envelope.to_json())?;
                fs::rename(folder.join(new), folder.join(name))
            })
        };
        self.run(write).await.map(|()| Receipt::accepted())
    }
    async fn flush(&self) -> Result<(), SinkError> {
        let sync = |folder: &Path| {
            // What can't be opened was taken away by now.
            let files = fs::read_dir(folder)?.flatten().flat_map(|entry| File::open(entry.path()));
            files.chain([File::open(folder)?]).try_for_each(|file| file.sync_all())
        };
        self.run(sync).await
    }
    async fn check(&self) -> Result<(), SinkError> {
        self.run(|_| Ok(())).await
    }
}
fn main() -> ExitCode {
    observer::run_with(std::env::args_os(), |types| {
        observer::registry::with_defaults(types).with::<SpoolConfig>()
    })
}
