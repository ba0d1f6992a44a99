//! Target `config`: a configuration file is accepted or rejected promptly, with a message, and
//! without the values of environment variables.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use observer::{Config, ConfigError};

fuzz_target!(|text: &str| -> Corpus {
    // Reading a terminal or a pipe blocks, as intended, so the fuzzer must not name one.
    if text.contains("file:") && text.contains("/dev/") {
        return Corpus::Reject;
    }
    match Config::parse(text) {
        Ok(config) => {
            config.validate().expect("an accepted configuration is valid");
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

/// Asserts that an error has a message without values of environment variables. `PATH` is always
/// set, and long enough to be recognised.
fn check(text: &str, error: &ConfigError) {
    let message = error.to_string();
    assert!(!message.is_empty());
    if let ConfigError::Invalid { problems, .. } = error {
        assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.message.is_empty()));
    }
    let secret = std::env::var("PATH").expect("PATH is set");
    let start = &secret[..secret.len().min(16)];
    assert!(text.contains(start) || !message.contains(start), "{message}");
}
