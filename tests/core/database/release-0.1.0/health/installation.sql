-- Which installation is this?
SELECT
    id,
    created_at,
    updated_at
FROM installation
