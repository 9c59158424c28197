#!/bin/sh
# Restore the dump on stdin and put it in the database's place, or put back the database named.
# The database before is kept under another name. Runs in the service `restore` of
# compose.production.yaml.
set -eu
export PGHOST=db PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=30
# As in backup.sh, a superuser must not call what the database's owner has written.
export PGOPTIONS="--client-min-messages=warning --search-path=pg_catalog --role=none"
export PGCLIENTENCODING=UTF8
PGPASSWORD=$(cat /run/secrets/superuser_password)
export PGPASSWORD

sql() { psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 "$@"; }

put_in_place() { # DATABASE: becomes `groundwork`
    kept=groundwork_before_$(date -u +%Y%m%d_%H%M%S)
    # All or nothing, also if this container or the server is killed. A rename waits 5 s for the
    # sessions to end, and new ones wait for it; one that began just before needs another try.
    sql <<SQL
DO \$\$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database WHERE datname = '$1') THEN
        RAISE EXCEPTION 'there is no database $1; nothing was changed';
    END IF;
    FOR try IN 1..3 LOOP
        PERFORM pg_stat_clear_snapshot();
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('groundwork', '$1');
        BEGIN
            ALTER DATABASE groundwork RENAME TO $kept;
            ALTER DATABASE $1 RENAME TO groundwork;
            RETURN;
        EXCEPTION WHEN object_in_use THEN
            IF try = 3 THEN
                RAISE EXCEPTION 'the database stays as it was: %', SQLERRM;
            END IF;
        END;
    END LOOP;
END \$\$
SQL
    echo "done; the database before is kept as $kept"
}

if [ $# -gt 0 ]; then
    put_in_place "$1"
    exit
fi

dump=$(mktemp /var/tmp/restore.XXXXXX)
cat >"$dump"

restore_objects() { # into groundwork_restored; the objects belong to the service's role
    pg_restore --list "$dump" >"$dump.list" || return
    # Only a superuser may create the extensions that are not trusted, and comment on them. They come
    # after the schemas, which they may be in.
    sql >"$dump.untrusted" --command="SELECT DISTINCT name FROM pg_available_extension_versions
        WHERE superuser AND NOT trusted" || return
    awk 'NR == FNR { untrusted[$1] = 1; next }
        $4 == "EXTENSION" && $6 in untrusted || $4 $6 == "COMMENTEXTENSION" && $7 in untrusted' \
        "$dump.untrusted" "$dump.list" >"$dump.superuser"
    grep -E '^[0-9]+; [0-9]+ [0-9]+ SCHEMA ' "$dump.list" >"$dump.schemas" || :
    # Only a superuser may create these, too, when the tables and functions are there. A grant may be
    # another role's, or on an object of the system; it runs no function of the dump.
    grep -E '^[0-9]+; [0-9]+ [0-9]+ ((DEFAULT )?ACL|(COMMENT - )?(PUBLICATION|SUBSCRIPTION)) ' "$dump.list" >"$dump.last" || :
    # An event trigger would let the service's role, which owns its function here, act as superuser.
    grep -E '^[0-9]+; [0-9]+ [0-9]+ (COMMENT - )?EVENT TRIGGER ' "$dump.list" >"$dump.omitted" || :
    sed 's/^/left out: /' "$dump.omitted"
    grep -vxF -f "$dump.schemas" -f "$dump.superuser" -f "$dump.last" -f "$dump.omitted" \
        "$dump.list" >"$dump.role" || :
    pg_restore --exit-on-error --no-owner --role=groundwork --dbname=groundwork_restored \
        --use-list="$dump.schemas" "$dump" || return
    pg_restore --exit-on-error --dbname=groundwork_restored --use-list="$dump.superuser" "$dump" || return
    # The role comes in now: before, it could have planted what an extension's script calls.
    sql --command="ALTER DATABASE groundwork_restored OWNER TO groundwork" \
        --command="ALTER DATABASE groundwork_restored CONNECTION LIMIT -1" || return
    # A new server lacks the roles that the dump grants something to; they get no login. A line of a
    # function or comment may look like a grant, too: so no error counts, and there is no $ in a name.
    pg_restore --schema-only --file="$dump.sql" "$dump" || return
    name='([a-z_][a-z0-9_]*|"[^"$]+")'
    sed -nE "s/^(ALTER DEFAULT PRIVILEGES .*)?GRANT .* TO $name( WITH GRANT OPTION)?;\$/\
SELECT \$r\$CREATE ROLE \2\$r\$ WHERE to_regrole(\$r\$\2\$r\$) IS NULL \\\\gexec/p" "$dump.sql" | sql --set=ON_ERROR_STOP=0 || return
    # As the role: the functions of its constraints and indexes run here, and could undo a SET ROLE.
    # Policies may hide rows from its materialized views, as they do in the present database.
    PGUSER=groundwork PGPASSWORD=$(cat /run/secrets/database_password) \
        pg_restore --exit-on-error --enable-row-security --no-owner --dbname=groundwork_restored \
        --use-list="$dump.role" "$dump" || return
    pg_restore --exit-on-error --no-owner --dbname=groundwork_restored --use-list="$dump.last" "$dump"
}

sql --command="DROP DATABASE IF EXISTS groundwork_restored WITH (FORCE)" \
    --command="CREATE DATABASE groundwork_restored TEMPLATE template0 CONNECTION LIMIT 0" \
    --command="REVOKE ALL ON DATABASE groundwork_restored FROM public" \
    --command="GRANT CREATE ON DATABASE groundwork_restored TO groundwork"
if ! restore_objects; then
    sql --command="DROP DATABASE groundwork_restored WITH (FORCE)"
    echo "refused: the dump cannot be restored, see above; the database is as it was"
    exit 1
fi
sql --dbname=groundwork_restored --command="ANALYZE" --file="$(dirname "$0")/row-counts.sql"
# What is in no dump: who may connect, and what ALTER DATABASE and ALTER ROLE ... IN DATABASE have set.
# The latter are copied in the catalog, as a list such as search_path is quoted there already.
sql <<SQL
SELECT format('GRANT %s ON DATABASE groundwork_restored TO %s', privilege_type,
    coalesce(nullif(grantee, 0)::regrole::text, 'public'))
FROM pg_database, aclexplode(datacl) WHERE datname = 'groundwork' \gexec
INSERT INTO pg_db_role_setting (setdatabase, setrole, setconfig)
SELECT restored.oid, setrole, setconfig
FROM pg_db_role_setting
JOIN pg_database AS present ON present.oid = setdatabase,
    pg_database AS restored
WHERE present.datname = 'groundwork' AND restored.datname = 'groundwork_restored';
SQL
put_in_place groundwork_restored
