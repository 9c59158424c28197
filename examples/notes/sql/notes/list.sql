-- Lists the newest notes with an id below $1: one more than a page of $2.
SELECT id, title, body, created_at, updated_at FROM note WHERE id < $1 ORDER BY id DESC LIMIT $2 + 1
