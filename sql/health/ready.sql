-- Whether sessions are read-only, the server and its version, the applied migrations, and what
-- this session was given when it began.
SELECT
    current_setting('transaction_read_only') = 'on' AS is_read_only,
    concat_ws(
        ' ',
        CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,
        inet_server_addr(),
        inet_server_port(),
        'started at',
        to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US "UTC"')
    ) AS server,
    current_setting('server_version') AS postgres_version,
    array(SELECT m.migration_id::text FROM _yoyo_migration AS m ORDER BY m.migration_id) AS applied,
    concat_ws(
        ' ',
        current_database(),
        current_user,
        current_schemas(false)::text,
        current_setting('default_transaction_read_only'),
        array(
            SELECT given.setconfig::text
            -- Not pg_database and pg_authid: a lock on these holds up new sessions alone.
            FROM pg_stat_get_activity(pg_backend_pid()) AS own
            INNER JOIN pg_db_role_setting AS given
                ON given.setdatabase IN (0, own.datid) AND given.setrole IN (0, own.usesysid)
        )::text
    ) AS session_properties
