#!/bin/sh
# Fills an empty /var/www/html, as the published image does, and takes the variables that the stack file sets.
set -eu
cd /var/www/html
[ -e index.php ] || cp --recursive --dereference --no-preserve=mode /usr/share/wordpress/. .
cp /etc/lab/wp-config.php .
php-fpm8.2 --fpm-config /etc/lab/php-fpm.conf --nodaemonize &
exec nginx -c /etc/lab/nginx.conf
