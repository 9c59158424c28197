#!/bin/sh
# Write a dump of the database to stdout, and fail unless it could be restored and compared. Runs in
# the service `backup` of compose.production.yaml, with the superuser's password on stdin.
set -eu
exec 3>&1 >&2 # stdout is for the dump
here=$(dirname "$0")
work=$(mktemp -d /var/tmp/backup.XXXXXX)
cd "$work"

schema() { # what pg_dump prints, without comments and its random key
    pg_dump --schema-only | sed -e '/^--/d' -e '/^\\restrict /d' -e '/^\\unrestrict /d'
}

# The source: dump, schema and row counts of one snapshot, while the service goes on writing. A
# superuser reads the tables of every role, and rows that policies hide from their owner; it must not
# call what the owner has written. These win over the owner's ALTER DATABASE: a schema that is put
# first, a role to whom policies apply, an encoding in which another character becomes a backslash.
# In another time zone, or with other strings, pg_dump would print another schema than in the proof.
export PGOPTIONS="--search-path=pg_catalog --role=none --standard-conforming-strings=on"
export PGCLIENTENCODING=UTF8 PGTZ=UTC
export PGHOST=db PGUSER=postgres PGDATABASE=groundwork PGCONNECT_TIMEOUT=30
(
    PGPASSWORD=$(cat)
    export PGPASSWORD
    psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 >rows.source <<SQL
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name LIKE '%_timeout' AND context = 'user' \g /dev/null
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT pg_export_snapshot() AS "SNAPSHOT" \gset
\setenv SNAPSHOT :SNAPSHOT
\! pg_dump --format=custom --snapshot="\$SNAPSHOT" --file=unproven && mv unproven dump
\i $here/row-counts.sql
SQL
    test -e dump
    schema >schema.source
    # Roles that the operator has made may have grants; in the scratch server their names are enough.
    psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 >roles.sql --command="
        SELECT format('CREATE ROLE %I;', rolname) FROM pg_roles
        WHERE rolname <> 'postgres' AND NOT starts_with(rolname, 'pg_')"
)
cat dump >&3
exec 3>&-

# The proof: a scratch server that only this container reaches. It runs the functions of constraints
# and indexes, which the service's role has written, as superuser: so the password is gone by now, and
# the dump has left.
export PGHOST="$work"
# shellcheck disable=SC2086 # several options
initdb --pgdata=scratch --auth=trust --no-sync ${POSTGRES_INITDB_ARGS-} >initdb.log
pg_ctl --pgdata=scratch --log=scratch.log --silent --wait start \
    --options="-c listen_addresses='' -c unix_socket_directories='$work' -c fsync=off"
psql --no-psqlrc --quiet --dbname=postgres --set=ON_ERROR_STOP=1 --file=roles.sql \
    --command="CREATE DATABASE groundwork OWNER groundwork"
# Without row security, a materialized view of rows that policies hide from its owner is an error.
pg_restore --exit-on-error --enable-row-security --dbname=groundwork dump
psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 \
    --file="$here/row-counts.sql" >rows.restored
schema >schema.restored
pg_ctl --pgdata=scratch --mode=immediate --silent stop

if ! diff rows.source rows.restored || ! diff schema.source schema.restored; then
    echo "refused: the restored dump differs from the database, see above"
    exit 1
fi
echo "restored and compared: $(grep -c '^COPY ' rows.source) tables, $(wc -c <dump) bytes"
