#!/bin/sh
# Restore the dump on stdin and put it in the database's place, or put back the database named.
# The database before is kept under another name. Runs in the service `restore` of
# compose.production.yaml.
set -eu
export PGHOST=db PGUSER=postgres PGDATABASE=postgres PGOPTIONS=--client-min-messages=warning
PGPASSWORD=$(cat /run/secrets/superuser_password)
export PGPASSWORD

sql() { psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 "$@"; }

put_in_place() { # DATABASE: becomes `groundwork`
    kept=groundwork_before_$(date -u +%Y%m%d_%H%M%S)
    trap 'sql --command="ALTER DATABASE groundwork ALLOW_CONNECTIONS true"' EXIT
    sql --command="ALTER DATABASE groundwork ALLOW_CONNECTIONS false" --command="
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname IN ('groundwork', '$1')" >/dev/null
    sql --single-transaction --command="ALTER DATABASE groundwork RENAME TO $kept" \
        --command="ALTER DATABASE $1 RENAME TO groundwork"
    sql --command="ALTER DATABASE $kept ALLOW_CONNECTIONS true"
    echo "done; the database before is kept as $kept"
}

if [ $# -gt 0 ]; then
    put_in_place "$1"
    exit
fi

dump=$(mktemp /var/tmp/restore.XXXXXX)
cat >"$dump"
sql --command="DROP DATABASE IF EXISTS groundwork_restored" \
    --command="CREATE DATABASE groundwork_restored OWNER groundwork" \
    --command="REVOKE ALL ON DATABASE groundwork_restored FROM public"
if ! pg_restore --exit-on-error --no-owner --role=groundwork --dbname=groundwork_restored "$dump"; then
    sql --command="DROP DATABASE groundwork_restored"
    echo "refused: this is no intact dump; the database is as it was"
    exit 1
fi
sql --dbname=groundwork_restored --command="ANALYZE" --file="$(dirname "$0")/row-counts.sql"
put_in_place groundwork_restored
