-- The row that identifies this installation.
SELECT
    id,
    created_at,
    updated_at
FROM installation
