-- Changes those fields of the note $1 that the JSON object $2 has.
UPDATE note AS n
SET (title, body) = (SELECT p.title, p.body FROM jsonb_populate_record(n, $2) AS p) -- noqa: RF03
WHERE n.id = $1 RETURNING n.id, n.title, n.body, n.created_at, n.updated_at
