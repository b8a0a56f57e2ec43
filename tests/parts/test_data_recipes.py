"""The documented dump and restore of a database bring its rows back, with Debian's servers."""

import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.process import run
from tests.parts import debian_root
from topology.config import from_file
from topology.model import SecretVariable
from topology.project import PROJECT

PASSWORD = "of the 'test'"  # the test's own
STACKS = {"forge-db": "forge", "blog-db": "wordpress"}
SERVERS = {
    "forge-db": """
mkdir --parents /run/postgresql && chown postgres /run/postgresql /srv
bin=$(echo /usr/lib/postgresql/*/bin)
su postgres -c "$bin/initdb --auth=trust --username=$POSTGRES_USER --pgdata=/srv/data"
su postgres -c "exec $bin/postgres -D /srv/data -k /run/postgresql -c listen_addresses=" &
until pg_isready; do sleep 0.1; done
createdb --username=$POSTGRES_USER $POSTGRES_DB
query() { psql --username=$POSTGRES_USER --dbname=$POSTGRES_DB --tuples-only --no-align --command="$1"; }
""",
    "blog-db": """
mkdir --parents /run/mysqld && chown mysql /run/mysqld
mariadb-install-db --user=mysql --datadir=/srv/data --skip-test-db
mariadbd --user=mysql --datadir=/srv/data --skip-networking --socket=/run/mysqld/mysqld.sock &
mariadb-admin --wait=60 --connect-timeout=60 ping
mariadb <<end
create database $MARIADB_DATABASE;
create user $MARIADB_USER@'%' identified by "$MARIADB_PASSWORD";
grant all on $MARIADB_DATABASE.* to $MARIADB_USER@'%';
end
query() { mariadb --skip-column-names --batch $MARIADB_DATABASE --execute="$1"; }
""",
}
"""Container -> a script that starts its server as its image does, and defines `query`."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def root() -> Iterator[Path]:
    """Yield a Debian root with both servers."""
    tar = debian_root.archive()
    with tempfile.TemporaryDirectory(prefix="homelab-network-") as folder:
        run(["tar", "--extract", "--file", tar, "--directory", folder], "Debian root")
        Path(folder).chmod(0o755)
        yield Path(folder)


def recipe(name: str) -> list[str]:
    """Return what the documented commands run in a container, in order."""
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    return re.findall(rf"^docker exec (?:-i )?{name} (.+)$", text, re.MULTILINE)


def settings(name: str) -> dict[str, str]:
    """Return a container's variables, each secret with the test's password."""
    (service,) = (
        each
        for each in from_file(PROJECT / "examples" / "stacks" / f"Pulumi.{STACKS[name]}.yaml").containers
        if each.name == name
    )
    return {
        key: PASSWORD if isinstance(value, SecretVariable) else value
        for key, value in service.environment.items()
    }


def ran(root: Path, name: str, *steps: str) -> str:
    """Return what the steps print, with the container's server running; raises CalledProcessError."""
    text = "\n".join(("set -eu", "cd /tmp", "{", SERVERS[name], "} >/dev/null 2>&1", *steps))
    variables = [f"{key}={value}" for key, value in settings(name).items()]
    words = debian_root.inside(
        root, "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *variables, "bash", "-c", text
    )
    with debian_root.namespace("data-recipes") as alone:
        done = subprocess.run([*alone, *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, shlex.join(words[-1:]) + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", STACKS)
def test_a_restore_brings_the_rows_back(root: Path, name: str) -> None:
    """What was changed and deleted after the dump is as it was, and the dump holds the rows."""
    dump, restore = recipe(name)
    printed = ran(
        root,
        name,
        "query 'create table notes (id int primary key, said varchar(99))' >/dev/null",
        """query "insert into notes values (1, 'first'), (2, 'second')" >/dev/null""",
        dump,
        """query "update notes set said = 'changed' where id = 1" >/dev/null""",
        "query 'delete from notes where id = 2' >/dev/null",
        restore,
        "query 'select said from notes order by id'",
    )
    assert printed.splitlines() == ["first", "second"]
