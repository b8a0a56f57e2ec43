"""What `test_stacks_run` runs on a machine of its own: stack files of examples/stacks with real programs.

A copy of a stack file differs in what belongs to a site: this machine is Docker-SRV, so it has neither
`docker:host` nor `ssh`, nor an address of its own on the LAN; the certificate and the secrets are the test's,
and images are those that the test packs. A neighbour is the LAN, and the internet with names and a feed.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import tls
from tests.clone import environment
from tests.live.site import command, eventually
from tests.parts import example_images, users_docker
from tests.parts.users_docker import LAN, docker, machine
from topology.config import from_file
from topology.model import Topology
from topology.project import PROJECT

DOMAIN = "home.localhost"
"""In place of the stack files' own: for such a name alone the pack takes the lab's older Traefik."""
HOST = "192.0.2.1"
"""This machine, as the neighbour sees it."""
INTERNET, LAN_CLIENT, NAMES, FEED, VPS = "192.0.2.2", "192.168.1.66", "9.9.9.9", "9.9.9.10", "9.9.9.20"
"""The neighbour's addresses."""
PASSWORD = "of-the-test"  # the test's own
SALT = b"12 bytes now"
HASHED = "$7$101${}${}".format(
    *(
        base64.b64encode(each).decode()
        for each in (SALT, hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), SALT, 101))
    )
)
"""The password as mosquitto_passwd writes it."""
SECRETS: Mapping[str, Mapping[str, str]] = {
    "wordpress": {"blog:db-password": PASSWORD, "blog-db:root-password": f"root-{PASSWORD}"},
    "feeds": {
        "feeds:database-url": f"postgres://feeds:{PASSWORD}@feeds-db/feeds?sslmode=disable",
        "feeds:admin-password": PASSWORD,
        "feeds:db-password": PASSWORD,
    },
    "streams": {"broker:users": f"things:{HASHED}"},
    "forward-auth": {
        "login:client-secret": "none",
        "login:cookies": "x" * 32,
        "login:users": f"alice:{{SHA}}{base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()}",  # noqa: S324  # htpasswd's
    },
    "tunnel": {"tunnel:token": PASSWORD},
    "alerts": {"alertmanager:receiver": "http://news.example:443/hook"},
    "forge": {"forge:db-password": PASSWORD, "forge:secret-key": "of-the-test" * 4},
    "lan-alone": {"files:password": PASSWORD},
}
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>News</title><id>urn:x</id>
<updated>2026-12-01T00:00:00Z</updated><entry><title>It arrived</title><id>urn:x:1</id>
<link href="http://news.example/1"/><updated>2026-12-01T00:00:00Z</updated></entry></feed>"""
_FEED = """
import http.server, sys
posted = [b""]
class Feed(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/atom+xml")
        self.end_headers()
        self.wfile.write(posted[-1] if self.path == "/hook" else sys.argv[2].encode())
    def do_POST(self):
        posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer((sys.argv[1], 443), Feed).serve_forever()
"""
_PAGE = """
import http.client, json, socket, ssl, sys
source, at, host, method, path, headers, body = sys.argv[1:]
context = ssl.create_default_context()
sock = socket.create_connection((at, 443), 5, (source, 0))
connection = http.client.HTTPSConnection(host, timeout=30)
connection.sock = context.wrap_socket(sock, server_hostname=host)
connection.request(method, path, body=body or None, headers={"Host": host, **json.loads(headers)})
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode(errors="replace"), dict(answer.headers)]))
"""
_EXCHANGE = """
import socket, sys
source, port, kind, data = sys.argv[1:]
sock = socket.socket(type=getattr(socket, kind))
sock.settimeout(4)
sock.bind((source, 0))
try:
    sock.connect(("192.0.2.1", int(port)))
    sock.send(bytes.fromhex(data))
    print(sock.recv(512).hex())
except OSError:
    pass
"""
_CERTIFICATE = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
sock = socket.create_connection(("192.0.2.1", 22000), 5, (sys.argv[1], 0))
print(context.wrap_socket(sock).getpeercert(binary_form=True).hex())
"""


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run the engine, and a neighbour that is the LAN and the internet."""
    folder = tmp_path_factory.mktemp("engine")
    users_docker.neighbour()
    for each in (LAN_CLIENT, NAMES, FEED, VPS):
        command("ip", "-n", LAN, "address", "add", f"{each}/32", "dev", "eth0")
    command("ip", "-n", LAN, "route", "add", "default", "via", HOST)
    command("ip", "route", "add", f"{LAN_CLIENT}/32", "dev", "lan0")
    corefile = folder / "Corefile"
    hosts = f"{FEED} news.example\n    {VPS} vps.{DOMAIN}"
    corefile.write_text(f".:53 {{\n  hosts {{\n    {hosts}\n  }}\n}}\n")
    server = folder / "frps.toml"
    server.write_text(f'bindAddr = "{VPS}"\nproxyBindAddr = "{VPS}"\nauth.token = "{PASSWORD}"\n')
    tunnels = example_images.FRP.get(print) / "usr/bin/frps"
    names = example_images.COREDNS.get(print) / "coredns"
    there = ("ip", "netns", "exec", LAN)
    with contextlib.ExitStack() as undo:
        for words in (
            (str(names), "-conf", str(corefile)),
            (sys.executable, "-c", _FEED, FEED, ATOM),
            (str(tunnels), "-c", str(server)),
        ):
            process = subprocess.Popen([*there, *words])
            undo.callback(process.wait)
            undo.callback(process.kill)
        with users_docker.running("29-nftables", folder):
            command("ip", "route", "add", "default", "via", INTERNET)
            yield


@dataclass(frozen=True)
class Running:
    """A stack that is up."""

    bundle: Path
    verified: str

    def page(
        self,
        name: str,
        path: str = "/",
        body: str = "",
        *,
        method: str = "",
        source: str = INTERNET,
        at: str = HOST,
        **headers: str,
    ) -> tuple[int, str, dict[str, str]]:
        """Return status, text and headers of a page; status 0 without a connection.

        The ingress, or what leads to it, is asked at an address; the certificate is checked.
        """
        verb = method or ("POST" if body else "GET")
        words = (source, at, f"{name}.{DOMAIN}", verb, path, json.dumps(headers), body)
        script = ("env", f"SSL_CERT_FILE={self.bundle}", sys.executable, "-c", _PAGE)
        done = command("ip", "netns", "exec", LAN, *script, *words)
        if done.returncode:
            return 0, done.stdout, {}
        status, text, answered = json.loads(done.stdout)
        return status, text, answered


def exchanged(source: str, port: int, kind: str, data: bytes) -> bytes:
    """Return the first answer to data that the neighbour sends from an address; empty without one."""
    words = (sys.executable, "-c", _EXCHANGE, source, str(port), f"SOCK_{kind}", data.hex())
    return bytes.fromhex(command("ip", "netns", "exec", LAN, *words).stdout.strip())


def written(stack: str, tree: Path) -> Topology:
    """Write the copy of a stack file into a tree, and return what it says."""
    text = (PROJECT / f"examples/stacks/Pulumi.{stack}.yaml").read_text()
    config = yaml.safe_load(text.replace("home.example", DOMAIN))["config"]
    kept = {key: value for key, value in config.items() if key.startswith("homelab-network:")}
    assert {key for key in config.keys() - kept if key not in {"docker:host", "ssh:privateKey"}} == {
        *SECRETS[stack]
    }
    certificate, private = tls.leaf(stack, [DOMAIN, f"*.{DOMAIN}"])
    kept |= {
        "homelab-network:tls": {"certificate": str(certificate), "key": str(private)},
        "homelab-network:protect": False,
    }
    for key in ("ssh", "address"):
        del kept["homelab-network:hosts"]["docker-srv"][key]
    names = example_images.tags()
    for service in kept["homelab-network:services"].values():
        service["image"] = names[service["image"]]
    file = tree / f"Pulumi.{stack}.yaml"
    file.write_text(yaml.safe_dump({"config": kept}, sort_keys=False))
    return from_file(file)


@pytest.fixture
def running(request: pytest.FixtureRequest, tree: Path) -> Iterator[Running]:
    """Bring a stack up, verify it, and take it down; the machine is as before."""
    stack = str(request.param)
    topology = written(stack, tree)
    example_images.load(*(each.image for each in topology.containers))
    (tree / ".venv").symlink_to(sys.prefix)
    surroundings = {
        **environment(tree),
        "MAKEFLAGS": "READY=",
        "MAKELEVEL": "0",
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "SSL_CERT_FILE": str(tls.bundle()),
    }

    def ran(script: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tree, env=surroundings | more, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
        )  # fmt: skip

    (Path(os.environ["HOMELAB_STATE"]) / ".pulumi").mkdir(exist_ok=True)
    setting = [f'eval "$(make -s env STACK={stack})"', f"pulumi stack init {stack}"]
    setting += [
        f'printf %s "$SECRET{number}" | pulumi config set --stack {stack} --secret {key}'
        for number, key in enumerate(SECRETS[stack])
    ]
    values = {f"SECRET{number}": value for number, value in enumerate(SECRETS[stack].values())}
    done = ran("\n".join(setting), **values)
    assert done.returncode == 0, done.stdout
    before = machine()
    del before["files"]  # the probe's metrics stay
    try:
        done = ran(f"make up STACK={stack} YES=1")
        print(done.stdout)
        assert done.returncode == 0, done.stdout[-6000:]
        eventually("all services", lambda: missing(topology) == [], 120)
        verified = ran(f"make verify STACK={stack}")
        print(verified.stdout)
        assert verified.returncode == 0, verified.stdout[-6000:]
        yield Running(tls.bundle(), verified.stdout)
        again = ran(f"make drift STACK={stack}")
        assert again.returncode == 0, again.stdout
    except BaseException:
        print(logs())
        raise
    finally:
        down = ran(f"make down STACK={stack} YES=1")
    assert down.returncode == 0, down.stdout[-4000:]
    after = machine()
    for what, lines in before.items():
        assert after[what] == lines, what


def missing(topology: Topology) -> list[str]:
    """Return the ports on which no program listens yet."""
    found = []
    for each in topology.containers:
        way = f"/proc/{docker('inspect', '--format', '{{.State.Pid}}', each.name).strip()}/ns/net"
        heard = command("nsenter", f"--net={way}", "ss", "-Hlntu").stdout
        found += [f"{each.name}:{port}" for port in each.ports if f":{port.number} " not in heard]
    return found


def logs() -> str:
    """Return the last lines of each container's log."""
    names = docker("ps", "--all", "--format", "{{.Names}}").split()
    return "".join(f"\n--- {name}\n{command('docker', 'logs', '--tail=15', name).stdout}" for name in names)


def judged(running: Running) -> int:
    """Return the number of cells, all of which are as declared."""
    found = re.search(r"(\d+) cells in .*: (\d+) as declared(?:, (\d+) not judged)?", running.verified)
    assert found, running.verified
    assert (found[1], found[3]) == (found[2], None), running.verified
    return int(found[1])


@pytest.mark.parametrize("running", ["wordpress"], indirect=True)
def test_wordpress_with_mariadb(running: Running) -> None:
    """WordPress sets itself up in its database, and its page has what was written there."""
    assert judged(running) > 50
    form = "weblog_title=From+the+database&user_name=admin&admin_password=of-the-test-1&pw_weak=1"
    form += "&admin_password2=of-the-test-1&admin_email=you%40home.example&blog_public=0"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text, _ = running.page("blog", "/wp-admin/install.php?step=2", form, **kind)
    assert (status, "Success!" in text) == (200, True), text
    docker("restart", "blog")
    title = eventually("the page", lambda: "<title>From the database" in running.page("blog")[1])
    assert title


@pytest.mark.parametrize("running", ["feeds"], indirect=True)
def test_a_reader_of_feeds_with_postgresql(running: Running) -> None:
    """Miniflux gets a feed of the internet by name, and keeps it in its database."""
    assert judged(running) > 50
    login = basic(PASSWORD)
    kind = {"Content-Type": "application/json"}
    wanted = json.dumps({"feed_url": "http://news.example:443/", "category_id": 1})
    status, text, _ = running.page("feeds", "/v1/feeds", wanted, **login, **kind)
    assert status == 201, text
    docker("restart", "feeds")
    entries: Any = eventually("the entry", lambda: _entries(running, login))
    assert [each["title"] for each in entries] == ["It arrived"]


def _entries(running: Running, login: Mapping[str, str]) -> Any:
    status, text, _ = running.page("feeds", "/v1/entries", **login)
    return json.loads(text)["entries"] if status == 200 else None


def basic(password: str) -> dict[str, str]:
    """Return the header of a basic login as `you`."""
    return {"Authorization": f"Basic {base64.b64encode(f'you:{password}'.encode()).decode()}"}


def mqtt(password: str) -> bytes:
    """Return MQTT's first packet, with a user's name and password."""
    fields = b"".join(len(each).to_bytes(2) + each for each in (b"me", b"things", password.encode()))
    rest = b"\x00\x04MQTT\x04\xc2\x00\x3c" + fields
    return bytes((0x10, len(rest))) + rest


@pytest.mark.parametrize("running", ["streams"], indirect=True)
def test_tcp_and_udp_by_the_ingress(running: Running) -> None:
    """A broker and a name server answer the LAN alone, a synchronisation the internet, each by its port."""
    assert judged(running) > 50
    question = b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\x04home\x09localhost\0\0\1\0\1"
    address = socket.inet_aton("192.168.1.20")
    accepted, refused = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
    assert exchanged(LAN_CLIENT, 1883, "STREAM", mqtt(PASSWORD)) == accepted
    assert exchanged(LAN_CLIENT, 1883, "STREAM", mqtt("another")) == refused
    assert exchanged(LAN_CLIENT, 53, "DGRAM", question).endswith(address)
    assert exchanged(LAN_CLIENT, 53, "STREAM", len(question).to_bytes(2) + question).endswith(address)
    for port, kind, data in ((1883, "STREAM", mqtt(PASSWORD)), (53, "DGRAM", question)):
        assert exchanged(INTERNET, port, kind, data) == b""
    asked = ("ip", "netns", "exec", LAN, sys.executable, "-c", _CERTIFICATE, INTERNET)
    assert b"syncthing" in bytes.fromhex(command(*asked).stdout)
    assert "Syncthing" in running.page("sync", source=LAN_CLIENT)[1]
    assert running.page("sync")[0] == 0


@pytest.mark.parametrize("running", ["forward-auth"], indirect=True)
def test_a_login_by_another_service(running: Running) -> None:
    """oauth2-proxy lets alice through to the pages, under her name, and no client without a login."""
    assert judged(running) > 50
    assert running.page("app")[0] == 403
    assert running.page("app", **{"X-Auth-Request-User": "alice"})[0] == 403
    assert running.page("app", "/api/metrics")[0] == 403
    form = f"username=alice&password={PASSWORD}"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text, answered = running.page("login", "/oauth2/sign_in", form, **kind)
    assert status == 302, text
    cookie = {"Cookie": answered["Set-Cookie"].partition(";")[0]}
    assert "Welcome to nginx" in running.page("app", **cookie)[1]
    assert "node_exporter_build_info" in running.page("app", "/api/metrics", **cookie)[1]


@pytest.mark.parametrize("running", ["tunnel"], indirect=True)
def test_public_by_a_tunnel_alone(running: Running) -> None:
    """The page is at the tunnel's server, with the site's own certificate, and not at Docker-SRV."""
    assert judged(running) > 50
    there = eventually("the page", lambda: running.page("pages", at=VPS)[1])
    assert "Welcome to nginx" in there
    assert running.page("pages")[0] == 0


@pytest.mark.parametrize("running", ["lan-alone"], indirect=True)
def test_files_for_the_lan_alone(running: Running) -> None:
    """The LAN writes a file with the password, which rclone keeps, and the internet has no connection."""
    assert judged(running) > 50
    for source, password, status in (
        (LAN_CLIENT, "another", 401),
        (LAN_CLIENT, PASSWORD, 201),
        (INTERNET, PASSWORD, 0),
    ):
        written_by = running.page("files", "/a", source, method="PUT", source=source, **basic(password))
        assert (source, written_by[0]) == (source, status), written_by[1]
    docker("restart", "files")
    asked = {"source": LAN_CLIENT, **basic(PASSWORD)}
    kept = eventually("the file", lambda: running.page("files", "/a", **asked)[:2] == (200, LAN_CLIENT))
    assert kept


@pytest.mark.parametrize("running", ["forge"], indirect=True)
def test_a_forge_with_postgresql(running: Running, tmp_path: Path) -> None:
    """Gitea keeps a repository, whose page everyone sees, and which the LAN alone clones by SSH."""
    assert judged(running) > 50
    new = (
        "--username=you",
        f"--password={PASSWORD}",
        "--email=you@home.example",
        "--must-change-password=false",
    )
    docker("exec", "forge", "gitea", "admin", "user", "create", *new)
    key = tmp_path / "key"
    assert command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)).returncode == 0
    public = key.with_suffix(".pub").read_text()
    for path, wanted in (
        ("keys", {"title": "mine", "key": public}),
        ("repos", {"name": "notes", "auto_init": True}),
    ):
        kind = {"Content-Type": "application/json"}
        status, text, _ = running.page(
            "git", f"/api/v1/user/{path}", json.dumps(wanted), **basic(PASSWORD), **kind
        )
        assert status == 201, text
    docker("restart", "forge-db", "forge")
    assert eventually("the page", lambda: "README.md" in running.page("git", "/you/notes")[1], 60)

    def cloned(source: str) -> subprocess.CompletedProcess[str]:
        unknown = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=4"
        ssh = f"ssh -b {source} -i {key} {unknown}"
        words = ("clone", f"ssh://git@{HOST}:2222/you/notes", str(tmp_path / source))
        return command("ip", "netns", "exec", LAN, "env", f"GIT_SSH_COMMAND={ssh}", "git", *words)

    allowed, denied = cloned(LAN_CLIENT).stdout, cloned(INTERNET).stdout
    assert (tmp_path / LAN_CLIENT / "README.md").exists(), allowed
    assert "port 2222: Connection " in denied, denied


@pytest.mark.parametrize("running", ["alerts"], indirect=True)
def test_an_alert_goes_out(running: Running) -> None:
    """The receiver hears that the pages don't answer, and of nothing before."""
    assert judged(running) > 50
    assert "Welcome to nginx" in running.page("pages")[1]
    assert hooked() == []
    docker("stop", "pages")
    found = eventually("the alert", hooked, 180)
    assert found == [("RouteFails", f"https://pages.{DOMAIN}/ does not serve pages")]
    docker("start", "pages")


def hooked() -> list[tuple[str, str]]:
    """Return the alerts that the receiver heard of last, by name and summary."""
    script = f"import urllib.request as r; print(r.urlopen('http://{FEED}:443/hook').read().decode())"
    asked = command("ip", "netns", "exec", LAN, sys.executable, "-c", script).stdout.strip()
    alerts = json.loads(asked)["alerts"] if asked else []
    return [(each["labels"]["alertname"], each["annotations"]["summary"]) for each in alerts]
