//! The sink: batches as requests, and what their answers come to.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use observer_core::{Batch, BuildError, EventSink, Receipt, Refused, SinkError};
use observer_http_client::run_blocking;

use crate::config::OtlpConfig;
use crate::encode::Encoder;
use crate::exporter::{Answer, Exporter, pack};
use crate::protocol::{Compression, Protocol};
use crate::response::{Accepted, Verdict};
use crate::settings::Settings;
use crate::signal::Signal;
use crate::size_limit::Sizes;

/// To encode and pack what is larger takes milliseconds, which the threads of a runtime have no
/// time for.
const PACKED_IN_PLACE: usize = 16 << 10;

/// Events as one signal of OTLP.
pub struct OtlpSink {
    signal: Signal,
    encoder: Encoder,
    exporter: Exporter,
    sizes: Sizes,
    /// What the far side last said of what it accepted.
    warned: Mutex<String>,
}

/// A batch that is ready to go.
struct Packed {
    body: Bytes,
    /// Log records or spans.
    items: usize,
    /// Before it was packed: what far sides have limits for.
    bytes: usize,
}

impl OtlpSink {
    /// Check the configuration. Files are first read, and the first connection is made, when they
    /// are needed.
    ///
    /// # Errors
    /// What in the configuration can't be.
    pub fn new(config: &OtlpConfig, signal: Signal) -> Result<Self, BuildError> {
        let resource = config.resource.iter().map(|(key, text)| (key.as_str(), text.as_str()));
        Ok(Self {
            signal,
            encoder: Encoder::new(resource),
            exporter: Exporter::new(Settings::of(config, signal)?, signal),
            sizes: Sizes::default(),
            warned: Mutex::default(),
        })
    }

    async fn pack(&self, batch: &Batch) -> Result<Packed, SinkError> {
        let Settings { protocol, compression, .. } = *self.exporter.settings();
        let raw: usize = batch.events().iter().map(|envelope| envelope.event.raw().len()).sum();
        let packed = if raw <= PACKED_IN_PLACE {
            packed(&self.encoder, self.signal, batch, protocol, compression)
        } else {
            let (encoder, signal, batch) = (self.encoder.clone(), self.signal, batch.clone());
            run_blocking(move || packed(&encoder, signal, &batch, protocol, compression)).await?
        };
        packed.map_err(SinkError::transient)
    }

    fn receipt(&self, accepted: Accepted, items: usize) -> Receipt {
        let Accepted { rejected, said } = accepted;
        let shown = &self.exporter.settings().shown;
        let said = shown.excerpt(&said);
        if rejected == 0 {
            if self.is_news(&said) {
                let (origin, signal) = (shown.origin(), self.signal.as_str());
                tracing::warn!(
                    origin,
                    signal,
                    said,
                    "the far side accepted everything, and has something to say"
                );
            }
            return Receipt::accepted();
        }
        let what = match self.signal {
            Signal::Logs => "log records",
            Signal::Traces => "spans",
        };
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let reason = format!("{} rejected {rejected} of {items} {what}{said}", shown.origin());
        Receipt {
            rejected: Vec::new(),
            refused: Some(Refused { count: rejected.min(items as u64), reason }),
        }
    }

    /// What comes with a success is advice, which need not be repeated.
    fn is_news(&self, said: &str) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = !said.is_empty() && *warned != said;
        if is_news {
            said.clone_into(&mut warned);
        }
        is_news
    }
}

#[async_trait]
impl EventSink for OtlpSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let Packed { body, items, bytes } = self.pack(batch).await?;
        if items == 0 {
            return Ok(Receipt::accepted());
        }
        let shown = &self.exporter.settings().shown;
        if self.sizes.is_too_large(bytes) {
            let origin = shown.origin();
            return Err(SinkError::permanent(format!(
                "{bytes} bytes are more than {origin} takes; see `batch`"
            )));
        }
        match self.exporter.export(body).await? {
            Answer::Accepted(accepted) => {
                self.sizes.accepted(bytes);
                Ok(self.receipt(accepted, items))
            }
            Answer::Refused(refusal) => {
                if refusal.verdict == Verdict::TooLarge {
                    self.sizes.refused(bytes);
                }
                Err(refusal.error(shown))
            }
        }
    }

    /// What the far side answered is all there is to know.
    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Sends a request with nothing in it.
    async fn check(&self) -> Result<(), SinkError> {
        self.exporter.renew().await?;
        let Settings { protocol, compression, shown, .. } = self.exporter.settings();
        let nothing = pack(*protocol, *compression, &[]).map_err(SinkError::transient)?;
        match self.exporter.export(nothing.into()).await? {
            Answer::Refused(refusal)
                if matches!(refusal.verdict, Verdict::Transient | Verdict::Blocked) =>
            {
                Err(refusal.error(shown))
            }
            // One that wants more than nothing is there, too.
            Answer::Accepted(_) | Answer::Refused(_) => {
                self.sizes.reset();
                Ok(())
            }
        }
    }

    async fn close(&self) -> Result<(), SinkError> {
        self.exporter.close();
        Ok(())
    }
}

fn packed(
    encoder: &Encoder,
    signal: Signal,
    batch: &Batch,
    protocol: Protocol,
    compression: Compression,
) -> io::Result<Packed> {
    let encoded = encoder.encode(signal, batch);
    let body = pack(protocol, compression, &encoded.bytes)?.into();
    Ok(Packed { body, items: encoded.items, bytes: encoded.bytes.len() })
}

impl fmt::Debug for OtlpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.exporter.settings().shown.origin();
        f.debug_struct("OtlpSink")
            .field("signal", &self.signal)
            .field("origin", &origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_told_once() {
        let sink = OtlpSink::new(&OtlpConfig::new("http://h"), Signal::Logs).unwrap();
        let news = ["", "a", "a", "", "b", "a"].map(|said| sink.is_news(said));
        assert_eq!(news, [false, true, false, false, true, true]);
    }
}
