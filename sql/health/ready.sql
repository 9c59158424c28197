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
            FROM pg_db_role_setting AS given
            LEFT JOIN pg_database ON given.setdatabase = pg_database.oid
            LEFT JOIN pg_roles ON given.setrole = pg_roles.oid
            WHERE
                coalesce(pg_database.datname, current_database()) = current_database()
                AND coalesce(pg_roles.rolname, session_user) = session_user
        )::text
    ) AS session_properties
