//! Sinks that a configuration describes: one for each signal.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{BatchSettings, BuildError, SinkConfig, SinkContext, SinkPart};

use crate::config::OtlpConfig;
use crate::signal::Signal;
use crate::sink::OtlpSink;

impl SinkConfig for OtlpConfig {
    const TYPE: &'static str = "otlp";

    /// Builds one sink for each signal, so that a failing one does not delay the other.
    fn build(self, _context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        if self.signals.is_empty() {
            return Err(BuildError::new("signals", "is empty; name logs, traces or both"));
        }
        let batch = BatchSettings {
            max_events: NonZeroUsize::new(1000),
            max_bytes: Some(1 << 20),
            linger: Some(Duration::from_secs(1)),
        };
        let part = |signal: &Signal| {
            let sink = Arc::new(OtlpSink::new(&self, *signal)?);
            let name = Some(Cow::Borrowed(signal.as_str()));
            Ok(SinkPart { name, batch, ..SinkPart::whole(sink) })
        };
        self.signals.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn each_signal_has_its_own_sink() {
        let context = SinkContext::new("collector", PathBuf::new());
        let parts = OtlpConfig::new("http://h").build(&context).unwrap();
        assert_eq!(
            parts.iter().map(|part| part.name.as_deref()).collect::<Vec<_>>(),
            [Some("logs"), Some("traces")]
        );
        let none = OtlpConfig::new("http://h").signals([]).build(&context).unwrap_err();
        assert_eq!(none.to_string(), "`signals` is empty; name logs, traces or both");
    }
}
