-- Does this database take writes, and which migrations has it?
SELECT
    current_setting('transaction_read_only') = 'on' AS is_read_only,
    current_setting('server_version') AS postgres_version,
    array(SELECT m.migration_id::text FROM _yoyo_migration AS m) AS applied
