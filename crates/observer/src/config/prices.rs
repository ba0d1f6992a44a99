//! Section `[prices]`: prices of models, for sums of costs.

use std::path::PathBuf;

use observer_prices::{Entry, PriceError, Table};
use serde::Deserialize;

use super::{Config, ConfigError, Problem, parse::key_path::KeyPath};

/// Sources of prices, of which later ones take precedence.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PricesConfig {
    /// TOML tables and LiteLLM's price map, by their extensions.
    pub files: Vec<PathBuf>,
    /// Prices in the configuration itself, which take precedence over the files.
    pub models: Vec<Entry>,
}

impl Config {
    /// Reads the price files.
    ///
    /// # Errors
    /// A file can't be read, or an entry is invalid; the error names its key.
    pub fn load_prices(&self) -> Result<Table, ConfigError> {
        let PricesConfig { files, models } = &self.prices;
        Table::read(files, models).map_err(|error| self.invalid(vec![self.prices.problem(&error)]))
    }
}

impl PricesConfig {
    fn problem(&self, error: &PriceError) -> Problem {
        let section = KeyPath::of(["prices"]);
        if let PriceError::InvalidOwn { index, problem } = error {
            let entry = section.key("models").index(*index);
            let path = if problem.key.is_empty() { entry } else { entry.key(&problem.key) };
            return Problem::new(path, &problem.message);
        }
        let index = self.files.iter().position(|file| error.path() == Some(file.as_path()));
        let files = section.key("files");
        let path = index.map_or(files.clone(), |index| files.index(index));
        Problem::new(path, observer_core::report(error))
    }

    /// Returns the problems that are independent of the content of the files.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let files = KeyPath::of(["prices", "files"]);
        let empty = self.files.iter().enumerate().filter(|(_, file)| file.as_os_str().is_empty());
        empty.map(move |(index, _)| Problem::new(files.index(index), "must not be empty"))
    }
}

#[cfg(test)]
mod tests {
    use observer_core::{Pricing, RateQuery, ServiceTier, Timestamp};

    use super::*;

    fn input(table: &Table, model: &str) -> Option<f64> {
        let query = RateQuery {
            model,
            at: Timestamp::UNIX_EPOCH,
            context: 0,
            service_tier: ServiceTier::Standard,
            local: false,
        };
        table.rates(&query).map(|rates| (rates.input * 1e6).round())
    }

    #[test]
    fn prices_are_read_from_files_and_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("prices.toml");
        let model = |name: &str, input: u8| {
            format!("name = {name:?}\nfrom = 1970-01-01\ninput = {input}\noutput = 0\n")
        };
        std::fs::write(
            &file,
            format!("[[models]]\n{}[[models]]\n{}", model("a", 1), model("b", 1)),
        )
        .unwrap();
        let text = format!("[prices]\nfiles = [{file:?}]\n[[prices.models]]\n{}", model("b", 2));
        let config = Config::parse(&text).unwrap();
        let table = config.load_prices().unwrap();
        assert_eq!((input(&table, "a"), input(&table, "b")), (Some(1.0), Some(2.0)));
        assert_eq!(input(&Config::default().load_prices().unwrap(), "a"), None);
    }

    #[track_caller]
    fn rejected(text: &str, expected: &str) {
        let loaded = Config::parse(text).and_then(|config| config.load_prices());
        let error = observer_core::report(&loaded.unwrap_err());
        assert_eq!(error, format!("configuration: {expected}"), "{text}");
    }

    #[test]
    fn problem_is_reported_with_its_key() {
        rejected("[prices]\nfile = 'p'", "prices.file: unknown key; did you mean `files`?");
        rejected("[prices]\nfiles = ['']", "prices.files[0]: must not be empty");
        rejected(
            "[prices]\nfiles = ['prices.csv', 'nowhere.json']",
            "prices.files[0]: the price file prices.csv has an unknown format; its name must end \
             in .toml, or in .json for LiteLLM's price map",
        );
        rejected(
            "[prices]\nfiles = ['nowhere.json']",
            "prices.files[0]: the price file nowhere.json can't be read: No such file or directory \
             (os error 2)",
        );
        rejected(
            "[[prices.models]]\nname = 'm'\ninput = 1\noutput = -1",
            "prices.models[0].output: must be a number of at least 0, not -1",
        );
        rejected(
            "[[prices.models]]\nname = 'm'\ninput = 1\noutptu = 1",
            "prices.models[0].outptu: unknown key; did you mean `output`?",
        );
        rejected(
            "[[prices.models]]\nname = 'm'\nalias_of = 'n'",
            "prices.models[0].alias_of: no entry with a price is named \"n\"",
        );
        let twice = "[[prices.models]]\nname = 'm'\ninput = 1\noutput = 1\n".repeat(2);
        rejected(&twice, "prices.models[1]: is for the same name and date as models[0] (\"m\")");
    }
}
