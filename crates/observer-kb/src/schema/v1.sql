-- Version 1 of the knowledge base. Times are microseconds since 1970. 0 stands for no model, no
-- version and no signature in tables of figures; in `event` it is NULL.

CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- Dictionaries.
CREATE TABLE epoch (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE source (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE model (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE version (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE signature (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE label_name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE label_value (
  id INTEGER PRIMARY KEY,
  label INTEGER NOT NULL,
  value TEXT NOT NULL,
  UNIQUE (label, value)
);

-- Events in the order of receipt. `ok` is NULL for a phase. `at` is the event time, NULL if it is
-- the time of receipt.
CREATE TABLE event (
  n INTEGER PRIMARY KEY,
  id BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  at INTEGER,
  source INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  ok INTEGER,
  signature INTEGER,
  model INTEGER,
  raw TEXT NOT NULL
);

-- Corrections by the event that they correct, and those whose event has not arrived.
CREATE TABLE correction (
  original INTEGER NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (original, n)
) WITHOUT ROWID;
CREATE INDEX correction_n ON correction (n);
CREATE TABLE unresolved (
  n INTEGER PRIMARY KEY,
  source INTEGER NOT NULL,
  target TEXT NOT NULL
);
CREATE INDEX unresolved_target ON unresolved (source, target);

-- Inverted index: for each block of events, the hashes of their terms. `ids` has 8 bytes for each
-- event. A chunk has sorted hashes (4 bytes each), then the offsets of their events (2 bytes
-- each); `posting` has the offsets of frequent terms.
CREATE TABLE block (
  id INTEGER PRIMARY KEY,
  first INTEGER NOT NULL,
  count INTEGER NOT NULL,
  min_received_at INTEGER NOT NULL,
  max_received_at INTEGER NOT NULL,
  ids BLOB NOT NULL
);
CREATE TABLE chunk (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE posting (key INTEGER PRIMARY KEY, data BLOB NOT NULL);

-- Attempts by problem, in sorted runs. A row replaces that of an older run with the same key. `ok`
-- is NULL if the attempt no longer belongs to the problem.
CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  level INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  state INTEGER NOT NULL,
  cursor INTEGER NOT NULL,
  last_n INTEGER NOT NULL
);
CREATE TABLE attempt (
  run INTEGER NOT NULL,
  signature INTEGER NOT NULL,
  at INTEGER NOT NULL,
  n INTEGER NOT NULL,
  ok INTEGER,
  source INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  model INTEGER NOT NULL,
  version INTEGER NOT NULL,
  class INTEGER NOT NULL,
  cost REAL,
  ms REAL,
  turns INTEGER NOT NULL,
  input INTEGER NOT NULL,
  cached_input INTEGER NOT NULL,
  cache_creation_input INTEGER NOT NULL,
  cache_creation_1h_input INTEGER NOT NULL,
  output INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  failure INTEGER NOT NULL,
  PRIMARY KEY (run, signature, at, n)
) WITHOUT ROWID;

-- Problems. `source` is NULL if several sources made attempts, and `last_n` is the newest event.
-- `models` has figures by source and model, `fold` the state.
CREATE TABLE problem (
  signature INTEGER PRIMARY KEY,
  source INTEGER,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  last_n INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  solved INTEGER NOT NULL,
  changes INTEGER NOT NULL,
  reported REAL NOT NULL,
  priced REAL NOT NULL,
  unpriced INTEGER NOT NULL,
  last_ok INTEGER NOT NULL,
  last_kind INTEGER NOT NULL,
  last_model INTEGER NOT NULL,
  fold BLOB NOT NULL,
  models BLOB NOT NULL
);

-- Sums by time. Level 0 has slots of a day, 1 of an hour, 2 of a quarter of an hour. `value` is a
-- label's value; 0 for all attempts, and −id for values of a label beyond the limit.
CREATE TABLE rollup (
  value INTEGER NOT NULL,
  level INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  source INTEGER NOT NULL,
  model INTEGER NOT NULL,
  class INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  solved INTEGER NOT NULL,
  turns INTEGER NOT NULL,
  ms REAL NOT NULL,
  cost REAL NOT NULL,
  input INTEGER NOT NULL,
  cached_input INTEGER NOT NULL,
  cache_creation_input INTEGER NOT NULL,
  cache_creation_1h_input INTEGER NOT NULL,
  output INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  durations BLOB NOT NULL,
  PRIMARY KEY (value, level, slot, source, model, class)
) WITHOUT ROWID;
