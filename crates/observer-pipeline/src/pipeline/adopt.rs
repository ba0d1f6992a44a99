//! Adoption of what is at a sink's destination and looks like the sink's own.

use observer_core::Adopted;

use super::{AdoptError, Pipeline};

impl Pipeline {
    /// Lets a running sink take over what is at its destination and looks like its own, such as
    /// the files of an earlier version.
    ///
    /// # Errors
    /// If the sink is unknown, is not running, has nothing of that kind, or fails.
    pub async fn adopt(&self, name: &str) -> Result<Adopted, AdoptError> {
        let sink = self.inner.workers().get(name).map(|running| running.sink.clone());
        let name = name.to_owned();
        let Some(sink) = sink else {
            return Err(if self.status().sinks.contains_key(&name) {
                AdoptError::NotRunning { name }
            } else {
                AdoptError::UnknownSink { name }
            });
        };
        match sink.adopt().await {
            Ok(Some(adopted)) => Ok(adopted),
            Ok(None) => Err(AdoptError::Nothing { name }),
            Err(error) => Err(AdoptError::Sink(error)),
        }
    }
}
