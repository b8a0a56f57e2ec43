"""WordPress with nginx, PHP-FPM and MariaDB, all from Debian's packages, which get Debian's security updates.

Note: the database has no password: PHP logs in over MariaDB's socket as its own user, and MariaDB does not
listen on the network. WordPress's installer runs on the guest, because its web page would make the first
visitor administrator. nginx gets its site after the guest has a key, without which nginx would not start.
"""

from rendered.setup import CERTIFICATE, KEY, Setup, certified, made_up
from topology.model import Guest, Topology

PASSWORD = "/root/wordpress-admin-password"  # noqa: S105  # the file's path
_INSTALLER = "/usr/local/share/wordpress-install.php"
_AVAILABLE = "/etc/nginx/sites-available/wordpress"
_SITE = r"""server {
    listen %(port)d ssl default_server;
    ssl_certificate %(certificate)s;
    ssl_certificate_key %(key)s;
    ssl_protocols TLSv1.2 TLSv1.3;
    server_tokens off;
    root /usr/share/wordpress;
    index index.php;

    location / {
        try_files $uri $uri/ /index.php?$args;
    }
    location ~ \.php$ {
        include snippets/fastcgi-php.conf;
        fastcgi_param HTTPS on; # as the ingress serves it
        fastcgi_pass unix:/run/php/php-fpm.sock;
    }
    # What is uploaded is served, and never run.
    location ^~ /wp-content/ {
        root /var/lib/wordpress;
        location ~ \.php$ {
            deny all;
        }
    }
    location = /xmlrpc.php {
        deny all;
    }
    location = /wp-admin/install.php {
        deny all;
    }
    location ~ /\. {
        deny all;
    }
}
"""
_CONFIGURATION = """<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'www-data');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:/run/mysqld/mysqld.sock');
define('WP_HOME', '%(page)s');
define('WP_SITEURL', '%(page)s');
define('WP_HTTP_BLOCK_EXTERNAL', true); // or each page of the administration waits for servers out of reach
"""
_INSTALL = """<?php
// Makes the tables and the administrator, whose password is on standard input.
$_SERVER['HTTP_HOST'] = 'localhost';
define('WP_INSTALLING', true);
require '/usr/share/wordpress/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
if (!is_blog_installed()) {
    wp_install('%(name)s', 'admin', 'admin@%(host)s', true, '', trim(fgets(STDIN)));
}
"""
_DATABASE = (
    "CREATE DATABASE IF NOT EXISTS wordpress; "
    "CREATE USER IF NOT EXISTS 'www-data'@localhost IDENTIFIED VIA unix_socket; "
    "GRANT ALL ON wordpress.* TO 'www-data'@localhost"
)


def wordpress(topology: Topology, guest: Guest) -> Setup:
    """Return the setup of the site, its database, and an administrator `admin` with a generated password."""
    assert guest.web  # noqa: S101  # topology.checks ensures it
    values = {
        "name": guest.name,
        "host": guest.host,
        "page": topology.page(guest).removesuffix("/"),
        "port": guest.web.number,
        "certificate": CERTIFICATE,
        "key": KEY,
    }
    return Setup(
        # The order matters: nginx and php-fpm satisfy the later packages; otherwise apt adds Apache.
        packages=("mariadb-server", "nginx", "openssl", "php-fpm", "php-mysql", "php", "wordpress"),
        files={
            "/etc/mysql/mariadb.conf.d/90-socket.cnf": "[mariadbd]\nskip-networking\n",
            "/etc/nginx/sites-enabled/default": "# in place of Debian's\n",
            _AVAILABLE: _SITE % values,
            "/etc/wordpress/config-default.php": _CONFIGURATION % values,
            _INSTALLER: _INSTALL % values,
        },
        script=(
            f'mariadb --execute "{_DATABASE}"',
            made_up(PASSWORD),
            f"runuser -u www-data -- php {_INSTALLER} < {PASSWORD}",
            certified(topology.physical(guest.name)),
            f"ln --symbolic --force {_AVAILABLE} /etc/nginx/sites-enabled/wordpress",
            "systemctl reload-or-restart nginx.service",
        ),
    )
