-- Views for people who open the file. They are created anew by each version of the program.
DROP VIEW IF EXISTS events;
CREATE VIEW events AS
SELECT
  lower(substr(hex(e.id), 1, 8) || '-' || substr(hex(e.id), 9, 4) || '-' || substr(hex(e.id), 13, 4)
    || '-' || substr(hex(e.id), 17, 4) || '-' || substr(hex(e.id), 21)) AS id,
  strftime('%Y-%m-%dT%H:%M:%fZ', e.received_at / 1e6, 'unixepoch') AS received_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(e.at, e.received_at) / 1e6, 'unixepoch') AS at,
  source.name AS source,
  kind.name AS event_kind,
  e.ok,
  signature.name AS sig_hash,
  model.name AS staffer_id,
  e.raw AS event,
  e.n
FROM event e
JOIN source ON source.id = e.source
JOIN kind ON kind.id = e.kind
LEFT JOIN signature ON signature.id = e.signature
LEFT JOIN model ON model.id = e.model;

DROP VIEW IF EXISTS attempts;
CREATE VIEW attempts AS
SELECT
  signature.name AS sig_hash,
  strftime('%Y-%m-%dT%H:%M:%fZ', a.at / 1e6, 'unixepoch') AS at,
  source.name AS source,
  kind.name AS event_kind,
  a.ok,
  model.name AS model,
  version.name AS version,
  a.cost AS reported_cost_usd,
  a.ms AS duration_ms,
  a.turns,
  a.input,
  a.cached_input,
  a.output,
  a.reasoning,
  a.text AS error,
  a.n
FROM attempt a
JOIN signature ON signature.id = a.signature
JOIN source ON source.id = a.source
JOIN kind ON kind.id = a.kind
LEFT JOIN model ON model.id = a.model
LEFT JOIN version ON version.id = a.version
WHERE a.ok IS NOT NULL
  AND a.run IN (SELECT id FROM run WHERE state < 2)
  AND a.n >= coalesce((SELECT value FROM meta WHERE key = 'floor'), 0)
  AND NOT EXISTS (
    SELECT 1 FROM correction c CROSS JOIN run ra CROSS JOIN run rb CROSS JOIN attempt b
    WHERE c.original = a.n AND ra.id = a.run AND rb.state < 2 AND b.run = rb.id
      AND b.signature = a.signature AND b.at = a.at AND b.n = a.n
      AND (rb.level < ra.level OR rb.level = ra.level AND rb.id > ra.id)
  );

DROP VIEW IF EXISTS problems;
CREATE VIEW problems AS
SELECT
  signature.name AS sig_hash,
  strftime('%Y-%m-%dT%H:%M:%fZ', p.first_at / 1e6, 'unixepoch') AS first_seen,
  strftime('%Y-%m-%dT%H:%M:%fZ', p.last_at / 1e6, 'unixepoch') AS last_seen,
  p.attempts,
  p.solved,
  p.reported AS reported_cost_usd,
  p.priced AS priced_cost_usd,
  p.unpriced,
  kind.name AS last_kind,
  model.name AS last_model
FROM problem p
JOIN signature ON signature.id = p.signature
JOIN kind ON kind.id = p.last_kind
LEFT JOIN model ON model.id = p.last_model
WHERE p.last_n >= coalesce((SELECT value FROM meta WHERE key = 'floor'), 0);

DROP VIEW IF EXISTS usage_by_day;
CREATE VIEW usage_by_day AS
SELECT
  date(r.slot / 1e6, 'unixepoch') AS day,
  coalesce(source.name, 'other') AS source,
  CASE r.model WHEN -1 THEN 'other' ELSE model.name END AS model,
  sum(r.attempts) AS attempts,
  sum(r.solved) AS solved,
  sum(r.turns) AS turns,
  sum(r.ms) AS duration_ms,
  sum(r.cost) AS reported_cost_usd,
  sum(r.input) AS input,
  sum(r.cached_input) AS cached_input,
  sum(r.output) AS output,
  sum(r.reasoning) AS reasoning
FROM rollup r
LEFT JOIN source ON source.id = r.source
LEFT JOIN model ON model.id = r.model
WHERE r.value = 0 AND r.level = 0
GROUP BY r.slot, r.source, r.model;
