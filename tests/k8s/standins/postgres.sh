#!/bin/bash
# What the beginning of the image `postgres` does with the same variables and files, with Debian's PostgreSQL.
set -euo pipefail
bin=$(ls -d /usr/lib/postgresql/*/bin)
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  "$bin/initdb" --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile <(printf '%s' "$POSTGRES_PASSWORD") \
    --auth-local trust --auth-host scram-sha-256 --encoding UTF8
  printf 'host all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
  "$bin/pg_ctl" --pgdata "$PGDATA" --wait --options "-c listen_addresses=''" start
  createdb --username "$POSTGRES_USER" --maintenance-db postgres "$POSTGRES_DB"
  for file in /docker-entrypoint-initdb.d/*.sql; do
    psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 --file "$file"
  done
  "$bin/pg_ctl" --pgdata "$PGDATA" --wait --mode fast stop
fi
exec "$bin/postgres" -D "$PGDATA" -c listen_addresses='*'
