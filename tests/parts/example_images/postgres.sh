#!/bin/sh
# Takes the variables of the published image that the stack file sets, and its paths.
set -eu
export PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data
if [ ! -s $PGDATA/PG_VERSION ]; then
  (umask 077; echo "$POSTGRES_PASSWORD" >/tmp/password)
  initdb --auth=scram-sha-256 --username="$POSTGRES_USER" --pwfile=/tmp/password >/dev/null
  rm /tmp/password
  echo "host all all all scram-sha-256" >>$PGDATA/pg_hba.conf
  sed -i 's/^local  *all  *all .*/local all all trust/' $PGDATA/pg_hba.conf
  pg_ctl --wait --options='-c listen_addresses=' start
  createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl --wait stop
fi
exec postgres -c listen_addresses='*'
