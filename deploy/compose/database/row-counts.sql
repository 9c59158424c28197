-- One line per table with its number of rows. Sequences are left out: they belong to no snapshot.
-- A table that is replaced by a view meanwhile is an error: a superuser would run its functions.
SET restrict_nonsystem_relation_kind = 'view, foreign-table';
SELECT format('SELECT %L, count(*) FROM %I.%I', n.nspname || '.' || c.relname, n.nspname, c.relname)
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
\gexec
