-- Version 3: attempts have the id of their event and the error line of a failure, so that the
-- history of a problem needs no events. Both are NULL in older rows.
ALTER TABLE attempt ADD COLUMN id BLOB;
ALTER TABLE attempt ADD COLUMN text TEXT;
