//! Prices of models, read from files.
//!
//! A [`Table`] is read from TOML files and from LiteLLM's price map, and finds the rates of a model
//! by the name that a producer gives it. [`Prices`] is the handle that sinks hold; its table can be
//! replaced at run time.
//!
//! ```
//! use observer_core::{Pricing, RateQuery, ServiceTier, Timestamp};
//! use observer_prices::{Entry, Prices, Table};
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("prices.toml");
//! std::fs::write(&file, r#"
//!     [[models]]
//!     name = "claude-sonnet-4-5"
//!     input = 3                # US dollars per million tokens
//!     cache_read = 0.3
//!     output = 15
//! "#)?;
//! let prices = Prices::new(Table::read(&[file], &[])?);
//! let rates = prices.rates(&RateQuery {
//!     model: "openrouter/anthropic/claude-sonnet-4.5",
//!     at: Timestamp::UNIX_EPOCH,
//!     context: 0,
//!     service_tier: ServiceTier::Standard,
//!     local: false,
//! });
//! assert_eq!(rates.map(|rates| rates.output), Some(15e-6));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Formats
//!
//! A file whose name ends in `.toml` is an array of tables `models`, each of them an [`Entry`]. A
//! file whose name ends in `.json` is [LiteLLM's price map],
//! `model_prices_and_context_window.json`.
//!
//! # Which price applies
//!
//! A name is compared in its spelling: lower case, with a hyphen instead of `@` and instead of the
//! point in a version. The forms of a name are tried in order, first the name itself, then those
//! derived from it. For one form
//!
//! 1. a later source takes precedence over an earlier one,
//! 2. within a source an exact name takes precedence over a pattern, and of patterns the one with
//!    more literal characters,
//! 3. of entries for the same name the one with the latest date applies, unless it is in future.
//!
//! Names are derived only for models that no other provider than their vendor sells under the same
//! name and at other prices: Claude, GPT, Gemini and Grok. Everything else needs an entry for the
//! very name that the producer sends, since a wrong price is worse than none.
//!
//! | module | content |
//! |---|---|
//! | `handle` | [`Prices`], the table that can be replaced |
//! | `table` | [`Table`], lookup by name and date |
//! | `memo` | bounded memory of resolved names |
//! | `name` | spelling, derived forms and patterns of names |
//! | `entry`, `litellm` | the two formats |
//! | `price_list` | rates of one entry, by context and service tier |
//! | `error` | errors that name file, entry and key |
//!
//! [LiteLLM's price map]: https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json

mod entry;
mod error;
mod handle;
mod litellm;
mod memo;
mod name;
mod price_list;
mod table;

pub use entry::Entry;
pub use error::{EntryProblem, PriceError};
pub use handle::Prices;
pub use table::Table;
