//! A configuration is read or refused: at once, in words, and without giving away what was filled
//! in.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use observer::{Config, ConfigError};

fuzz_target!(|text: &str| -> Corpus {
    // A terminal or a pipe that is named in a configuration is waited for, as it should be.
    if text.contains("file:") && text.contains("/dev/") {
        return Corpus::Reject;
    }
    match Config::parse(text) {
        Ok(config) => {
            config.validate().expect("what was read is valid");
            let metrics = prometheus::Registry::new();
            match observer::registry::with_defaults(&metrics).build_all(&config) {
                Ok(sinks) => {
                    assert!(sinks.len() >= config.sinks.len());
                    assert!(
                        sinks
                            .iter()
                            .all(|sink| !sink.name.is_empty() && !format!("{sink:?}").is_empty())
                    );
                }
                Err(error) => check(text, &error),
            }
        }
        Err(error) => check(text, &error),
    }
    Corpus::Keep
});

/// It says something, and not what stands in the environment. `PATH` is there for everyone, and
/// long enough to be recognised.
fn check(text: &str, error: &ConfigError) {
    let told = error.to_string();
    assert!(!told.is_empty());
    if let ConfigError::Invalid { problems, .. } = error {
        assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.message.is_empty()));
    }
    let secret = std::env::var("PATH").expect("there is a PATH");
    let start = &secret[..secret.len().min(16)];
    assert!(text.contains(start) || !told.contains(start), "{told}");
}
