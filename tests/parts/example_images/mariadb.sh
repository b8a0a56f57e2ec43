#!/bin/sh
# Takes the variables of the published image that the stack file sets, and its paths.
set -eu
socket=/run/mysqld/mysqld.sock
serve() { exec mariadbd --no-defaults --datadir=/var/lib/mysql --socket=$socket --pid-file=/run/mysqld/mysqld.pid "$@"; }
if [ ! -d /var/lib/mysql/mysql ]; then
  mariadb-install-db --no-defaults --datadir=/var/lib/mysql --skip-test-db --auth-root-authentication-method=normal >/dev/null
  serve --skip-networking &
  mariadb-admin --no-defaults --user=root --socket=$socket --wait=60 --connect-timeout=60 ping
  mariadb --no-defaults --user=root --socket=$socket <<END
create database $MARIADB_DATABASE;
create user $MARIADB_USER@'%' identified by '$MARIADB_PASSWORD';
grant all on $MARIADB_DATABASE.* to $MARIADB_USER@'%';
alter user root@localhost identified by '$MARIADB_ROOT_PASSWORD';
END
  kill $!
  wait $!
fi
serve --bind-address=0.0.0.0
