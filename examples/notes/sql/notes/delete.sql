-- Deletes the note $1 and returns its id.
DELETE FROM note WHERE id = $1 RETURNING id
