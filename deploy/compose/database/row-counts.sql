-- One line per table with its number of rows, then one per sequence with its last value.
SELECT format('SELECT %L, count(*) FROM %I.%I', n.nspname || '.' || c.relname, n.nspname, c.relname)
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
\gexec
SELECT schemaname || '.' || sequencename, last_value FROM pg_sequences
ORDER BY schemaname, sequencename;
