-- Creates a note with the title $1 and the body $2.
INSERT INTO note (title, body) VALUES ($1, $2) RETURNING id, title, body, created_at, updated_at
