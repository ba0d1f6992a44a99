-- Version 2: the aliases that stored attempts follow, with the signatures of their problems.
CREATE TABLE alias (name TEXT PRIMARY KEY, problem TEXT NOT NULL) WITHOUT ROWID;
