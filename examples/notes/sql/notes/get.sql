-- Returns the note $1.
SELECT id, title, body, created_at, updated_at FROM note WHERE id = $1
