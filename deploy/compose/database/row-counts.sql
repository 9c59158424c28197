-- Each table, and its number of rows. Sequences are left out: they belong to no snapshot. A SELECT
-- would run code of the table's owner as superuser, for example a function in an index's predicate;
-- COPY runs none, and refuses a view that has replaced a table meanwhile.
\set QUIET off
SELECT
    format('SELECT %L', n.nspname || '.' || c.relname),
    format('COPY %I.%I TO ''/dev/null''', n.nspname, c.relname)
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE c.relkind = 'r' AND NOT starts_with(n.nspname, 'pg_') AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
\gexec
