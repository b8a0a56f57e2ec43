"""A site that a user made by hand, which a stack takes over: ingress by labels, an app, its database, a wiki.

The database is Debian's PostgreSQL, the ingress a real Traefik that reads labels from the engine's socket.
Beside them runs a container that the user keeps out of the stack.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

from lab import images
from lab.images.catalogue import IMAGES
from tests.live.site import command, eventually
from tests.parts import debian_root, users_docker
from tests.parts.users_docker import LAN, docker

TRAEFIK = next(each.tag for each in IMAGES if each.name == "traefik")
POSTGRES = "my/postgres:15"
APP = "my/app:1"
HOST = "app.home.example"
PASSWORD = "canary-4711-pass"  # the test's own
FILES = 200
SUM = "select md5(string_agg(said, ',' order by id)) from notes"

_LEFT_OUT = re.compile(
    r"\./(boot|dev|proc|run|sys|tmp|usr/(include|games|share/(?!postgresql|zoneinfo))"
    r"|usr/lib/(file|gcc|git-core|modules|mysql|php|python3|systemd|udev)/"
    r"|usr/lib/x86_64-linux-gnu/(perl|gconv|systemd|gio|samba|dri)/"
    r"|var/(cache|log|lib/(?!postgresql$))|usr/s?bin/(aria|mariadb|mysql|my|php|perl|ssh)"
    r"|.*(libLLVM|libz3|libx265|libSvtAv1|libaom|librsvg|libMagick|libdav1d|librav1e|wordpress))"
)
_DB = """\
#!/bin/bash
set -e
bin=$(echo /usr/lib/postgresql/*/bin)
if [ ! -e "$PGDATA/PG_VERSION" ]; then
  "$bin/initdb" --pgdata="$PGDATA" --username=app --auth-local=trust --auth-host=scram-sha-256 \\
    --locale=C --encoding=UTF8 --pwfile=<(echo "$POSTGRES_PASSWORD") >/dev/null
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
fi
exec "$bin/postgres" -D "$PGDATA" -k /tmp -c "listen_addresses=*"
"""
_PAGE = """\
#!/usr/bin/python3
import glob, http.server, os, subprocess
PSQL = glob.glob("/usr/lib/postgresql/*/bin/psql")[0]
SQL = "select md5(string_agg(said, ',' order by id)) from notes"

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text, status = "here\\n", 200
        if self.path == "/notes":
            words = [PSQL, "--no-align", "--tuples-only", "--dbname=app", "--command", SQL]
            done = subprocess.run(words, capture_output=True, text=True, timeout=5)
            text, status = done.stdout, 200 if done.returncode == 0 else 502
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", 8000), Page).serve_forever()
"""
CLIENT = """
import http.client, socket, ssl, sys, time
path, wanted, *ways = sys.argv[1:]

def answered(host, port):
    try:
        line = http.client.HTTPConnection(host, timeout=2)
        line.sock = socket.create_connection(("192.0.2.1", int(port)), timeout=2)
        if port == "443":
            trusting = ssl._create_unverified_context()
            line.sock = trusting.wrap_socket(line.sock, server_hostname=host)
        line.request("GET", path)
        answer = line.getresponse()
        return answer.status == 200 and wanted in answer.read().decode()
    except (OSError, http.client.HTTPException):
        return False

while True:
    found = any(answered(*way.split(":")) for way in ways)
    print(time.monotonic(), int(found), flush=True)
    time.sleep(0.1)
"""
"""Asks a page all the time, by each of its names and ports, and prints when, and whether it answered."""


def _debian_image(tag: str, *changes: str) -> None:
    """Import an image of Debian's PostgreSQL and Python, with the programs `serve-db` and `serve-app`."""
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        with tarfile.open(debian_root.archive()) as root, tarfile.open(file.name, "w") as tar:
            gone = set()
            for entry in root:
                kept = entry.isfile() or entry.isdir() or entry.issym() or entry.islnk()
                if not kept or _LEFT_OUT.match(entry.name) or (entry.islnk() and entry.linkname in gone):
                    gone.add(entry.name)
                else:
                    tar.addfile(entry, root.extractfile(entry) if entry.isfile() else None)
            for name, text in (("serve-db", _DB), ("serve-app", _PAGE)):
                program = tarfile.TarInfo(f"./usr/local/bin/{name}")
                program.size, program.mode = len(text), 0o755
                tar.addfile(program, io.BytesIO(text.encode()))
            for path, owner, mode in (("tmp", 0, 0o1777), ("run", 0, 0o755), ("srv/files", 1000, 0o755)):
                folder = tarfile.TarInfo(f"./{path}")
                folder.type, folder.uid, folder.gid, folder.mode = tarfile.DIRTYPE, owner, owner, mode
                tar.addfile(folder)
        words = ("docker", "import", *(f"--change={each}" for each in changes), file.name, tag)
        subprocess.run(words, check=True, capture_output=True, timeout=600)  # some 200 MB


def make() -> None:
    """Make images, networks, volumes and containers, and fill the database and the app's files."""
    users_docker.page_image()
    images._make(next(each for each in IMAGES if each.tag == TRAEFIK), {}, print)
    _debian_image(POSTGRES, 'CMD ["serve-db"]')
    docker("tag", POSTGRES, APP)
    owner = docker("run", "--rm", "--network=none", POSTGRES, "sh", "-c", "id -u postgres; id -g postgres")
    user, group = owner.split()
    docker("network", "create", "home")
    docker("network", "create", "--label=com.docker.compose.project=home", "home_db")
    docker("network", "create", "--subnet", "198.51.100.0/24", "my-net")
    label = "traefik.http.routers.app"
    for words in (
        (
            *("--name=traefik", "--network=home", "--publish=80:80", "--publish=443:443"),
            *("--restart=unless-stopped", "--volume=/var/run/docker.sock:/var/run/docker.sock:ro", TRAEFIK),
            *("--providers.docker=true", "--providers.docker.exposedbydefault=false"),
            *("--entrypoints.web.address=:80", "--entrypoints.websecure.address=:443"),
        ),
        (
            *("--name=db", "--network=home", "--publish=5432:5432", "--expose=5432"),
            *("--restart=always", "--stop-signal=SIGINT"),
            *(f"--user={user}:{group}", "--env=PGDATA=/var/lib/postgresql/data"),
            *(f"--env=POSTGRES_PASSWORD={PASSWORD}", "--volume=home_db-data:/var/lib/postgresql", POSTGRES),
        ),
        (
            *("--name=app", "--network=home", "--user=1000:1000", "--restart=on-failure:7"),
            *("--env=PGHOST=db", "--env=PGPORT=5432", "--env=PGUSER=app", f"--env=PGPASSWORD={PASSWORD}"),
            *("--volume=home_files:/srv/files", "--label=traefik.enable=true"),
            "--label=traefik.docker.network=home",
            *(f"--label={label}.rule=Host(`{HOST}`)", f"--label={label}.entrypoints=websecure"),
            *(f"--label={label}.tls=true", "--label=traefik.http.services.app.loadbalancer.server.port=8000"),
            *(APP, "serve-app"),
        ),
        (
            *("--name=wiki", "--network=home", "--publish=8081:8099", "my/page:1"),
            *("/page", "page", "--name", "Wiki", "--listen", ":8099"),
        ),
    ):
        docker("run", "--detach", *words)
    for name in ("db", "app"):
        docker("network", "connect", "home_db", name)
    users_docker.serve("mine", users_docker.PORT)
    eventually("the database", lambda: answers("select 1", "postgres"))
    query("create database app", "postgres")
    query("create table notes (id int primary key, said text)")
    query("insert into notes select n, md5(n::text) from generate_series(1, 5000) n")
    write = f"for n in $(seq {FILES}); do head -c 5000 /dev/urandom >/srv/files/$n; done"
    docker("exec", "app", "bash", "-c", write)


def _query(sql: str, database: str) -> tuple[str, ...]:
    program = 'exec /usr/lib/postgresql/*/bin/psql -h /tmp -U app -At "$@"'
    return ("exec", "db", "bash", "-c", program, "psql", "-d", database, "-c", sql)


def query(sql: str, database: str = "app") -> str:
    """Return what the database answers, asked in its container."""
    return docker(*_query(sql, database)).strip()


def answers(sql: str, database: str = "app") -> bool:
    """Whether the database answers."""
    return command("docker", *_query(sql, database)).returncode == 0


def is_open(port: int) -> bool:
    """Whether the LAN reaches a TCP port of the host."""
    program = f"import socket; socket.create_connection(('192.0.2.1', {port}), timeout=2)"
    return command("ip", "netns", "exec", LAN, sys.executable, "-c", program).returncode == 0


def data() -> dict[str, str]:
    """Return checksums of all data: the database's rows and identity, the app's files, the volumes."""
    files = "cd /srv/files && find . -type f -exec sha256sum {} + | sort -k2 | sha256sum"
    volumes = json.loads(docker("volume", "inspect", "home_db-data", "home_files"))
    return {
        "rows": query(SUM),
        "cluster": query("select system_identifier from pg_control_system()"),
        "files": docker("exec", "app", "bash", "-c", files).strip(),
        **{each["Name"]: f"{each['CreatedAt']} {each['Mountpoint']}" for each in volumes},
    }


@contextmanager
def asked(folder: Path) -> Iterator[Callable[[], dict[str, list[float]]]]:
    """Ask each service from the LAN all the time; yields a function that returns each one's outages.

    It waits until all answer again. An outage lasts from the last answer before it to the first one after it,
    in seconds.
    """
    pages = {
        "traefik and app": ("/", "here", f"{HOST}:443"),
        "db": ("/notes", query(SUM), f"{HOST}:443"),
        "wiki": ("/", "stand-in for Wiki", "wiki:8081", "wiki.home.example:443"),
        "mine": ("/", "stand-in for Mine", f"mine:{users_docker.PORT}"),
    }
    logs = {name: folder / f"{number}.log" for number, name in enumerate(pages)}

    def all_answer() -> bool:
        return all(log.read_text().endswith(" 1\n") for log in logs.values())

    def outages() -> dict[str, list[float]]:
        eventually("every page", all_answer, 60)
        return {name: _outages(log.read_text()) for name, log in logs.items()}

    clients = []
    try:
        for name, words in pages.items():
            inside = ("ip", "netns", "exec", LAN, sys.executable, "-c", CLIENT, *words)
            with logs[name].open("w") as log:
                clients.append(Popen(inside, stdout=log))
        eventually("every page", all_answer, 60)
        yield outages
    finally:
        for each in clients:
            each.kill()
            each.wait()


def _outages(log: str) -> list[float]:
    """Return the seconds between two answers with a failure between, of each such pair."""
    found, last, failed = [], 0.0, False
    for line in log.splitlines():
        at, answered = line.split()
        if answered == "1":
            found += [float(at) - last] if failed and last else []
            last, failed = float(at), False
        else:
            failed = True
    return found
