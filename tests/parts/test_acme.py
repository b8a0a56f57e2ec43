"""Traefik gets its certificates from an ACME server: Pebble, in a network of the test's own.

Traefik runs with the files, environment and user of the program's container, on a root of its own whose
/var/tmp is as in its image. Note: no test waits for a renewal by the clock. Traefik checks its certificates
when it starts, and once a day after that.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.images.catalogue import PEBBLE, TRAEFIK
from lab.images.parts import GO
from lab.toolchain import golang
from tests.live.site import eventually
from tests.parts.scene import Scene
from tests.policies.sound import KINDS, run
from tests.site import configuration
from topology.config import load

PORT = 14000
DOMAIN = "home.example"
PASSWORD = "of the name server"  # the test's own
LOGIN = {
    "HTTPREQ_ENDPOINT": "http://127.0.0.1:8055",
    "HTTPREQ_USERNAME": "ingress",
    "HTTPREQ_PASSWORD": PASSWORD,
}
NOBODY = 65534
_NAMES = """
import json, socket, ssl, sys
found, context = {}, ssl.create_default_context(cafile=sys.argv[1])
for name in sys.argv[2:]:
    try:
        with socket.create_connection(("127.0.0.1", 443), 5) as sock:
            with context.wrap_socket(sock, server_hostname=name) as answer:
                found[name] = answer.getpeercert()["serialNumber"]
    except OSError as error:
        found[name] = str(error)
print(json.dumps(found))
"""
_ROOT = """
import json, ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[1])
with urllib.request.urlopen("https://127.0.0.1:15000/roots/0", context=context) as answer:
    print(json.dumps(answer.read().decode()))
"""
_PATHS = """
import http.client, json, sys
found = {}
for path in sys.argv[2:]:
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
    connection.request("GET", path, headers={"Host": sys.argv[1]})
    answer = connection.getresponse()
    found[path] = [answer.status, answer.getheader("Location")]
print(json.dumps(found))
"""


@dataclass(kw_only=True)
class AcmeScene(Scene):
    """A network with a name server that knows every name, an ACME server, and Traefik."""

    hosts: list[str]
    edge: str
    container: Mapping[str, Any]

    def serials(self, *names: str) -> dict[str, str]:
        """Return each name's serial number, or the error if Pebble's root did not sign its certificate."""
        found: dict[str, str] = self.asks(_NAMES, str(self.folder / "root.pem"), *names)
        return found

    def complete(self) -> dict[str, str]:
        """Return the serial numbers once each name has a certificate; empty before that."""
        found = self.serials(*self.hosts)
        return found if all(serial.isalnum() for serial in found.values()) else {}

    @property
    def issued(self) -> int:
        """Return the number of certificates that the ACME server has issued."""
        return self.said("pebble").count("Issued certificate serial")

    @property
    def answered(self) -> int:
        """Return the number of Traefik's ended requests for new or renewed certificates, failed or not."""
        ends = "Server responded with a certificate|Error renewing ACME certificate"
        return len(re.findall(ends, self.said("traefik")))

    def traefik(self) -> None:
        """Start Traefik as its container does, though on every address: there is no edge network."""
        for upload in self.container["uploads"]:
            file = self.folder / "image" / upload["file"].lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(upload["content"].replace(f"{self.edge}:", ":"), encoding="utf-8")
        words = ("chroot", f"--userspec={self.container['user']}", "image", "/usr/local/bin/traefik")
        self.start("traefik", *words, **dict(env.split("=", 1) for env in self.container.get("envs", ())))


@pytest.fixture(scope="module")
def certificates() -> Path:
    """Return Pebble's own certificates: its server's, and the CA that signed it."""
    module = golang.source(GO / "pebble", "github.com/letsencrypt/pebble/v2", lambda _line: None)
    return module / "test/certs"


@contextmanager
def acting(
    folder: Path, certificates: Path, *, trusted: bool = True, days: int = 90, **acme: Any
) -> Iterator[AcmeScene]:
    """Run the whole scene; certificates last `days` days."""
    authority = {"ca-file": str(certificates / "pebble.minica.pem")} if trusted else {}
    keys = site(**authority, **acme)
    (container,) = (r.inputs for r in run(keys, LOGIN) if (r.type, r.name) == (KINDS["container"], "traefik"))
    topology = load(keys)
    hosts = [route.host for route in topology.routes]
    scene = AcmeScene(folder=folder, hosts=hosts, edge=str(topology.edge_address), container=container)
    root = folder / "image"
    for place, mode in (("usr/local/bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("var/tmp", 0o1777)):
        (root / place).mkdir(parents=True)
        (root / place).chmod(mode)
    shutil.copy(TRAEFIK.get(print) / "usr/local/bin/traefik", root / "usr/local/bin/traefik")
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    (folder / "pebble.json").write_text(json.dumps({"pebble": pebble(certificates, days)}))
    program = PEBBLE.get(print) / "usr/bin/pebble"
    try:
        scene.open()
        scene.start("names", sys.executable, Path(__file__).with_name("names.py"), DOMAIN, PASSWORD)
        eventually("a name server", lambda: "ready" in scene.said("names"), 10)
        words = (program, "-config", "pebble.json", "-dnsserver", "127.0.0.1:53")
        scene.start("pebble", *words, PEBBLE_VA_NOSLEEP="1")
        eventually("Pebble", lambda: "ACME directory available" in scene.said("pebble"), 10)
        (folder / "root.pem").write_text(scene.asks(_ROOT, str(certificates / "pebble.minica.pem")))
        scene.traefik()
        yield scene
    finally:
        scene.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[AcmeScene]:
    """Yield a scene with a stack file's defaults."""
    with acting(tmp_path_factory.mktemp("acme"), certificates) as scene:
        yield scene


def site(**more: Any) -> dict[str, Any]:
    """Return the dev stack with certificates from Pebble."""
    acme = {"email": "you@home.example", "server": f"https://pebble:{PORT}/dir", "name-servers": ["9.9.9.9"]}
    # Two routes are enough.
    flows = [flow for flow in configuration()["flows"] if not re.match(r"traefik -> (?!site-)", flow)]
    flows += [f"traefik -> internet:{port}" for port in (f"{PORT}/tcp", "443/tcp", "53/udp")]
    plain = [each for each in configuration()["unencrypted"] if each["flow"] in flows]
    changed = {"domain": DOMAIN, "tls": {"acme": {**acme, **more}}, "flows": flows, "unencrypted": plain}
    return {**configuration(), **changed}


def pebble(certificates: Path, days: int) -> dict[str, Any]:
    """Return Pebble's configuration."""
    return {
        "listenAddress": f"127.0.0.1:{PORT}",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": str(certificates / "localhost/cert.pem"),
        "privateKey": str(certificates / "localhost/key.pem"),
        "httpPort": 80,
        "tlsPort": 443,
        "retryAfter": {"authz": 1, "order": 1},
        "profiles": {"default": {"description": "the only one", "validityPeriod": days * 24 * 3600}},
    }


def test_every_route_gets_a_certificate_over_http(scene: AcmeScene) -> None:
    """Each host name has its own certificate, no other name gets a handshake, and port 80 still redirects."""
    serials = eventually("certificates", scene.complete, 60)
    assert len(set(serials.values())) == len(scene.hosts) == scene.issued
    assert "UNRECOGNIZED_NAME" in scene.serials("other.home.example")["other.home.example"].upper()
    challenge = "/.well-known/acme-challenge/x"
    answers = scene.asks(_PATHS, scene.hosts[0], "/", challenge)
    assert answers == {"/": [301, f"https://{scene.hosts[0]}/"], challenge: [404, None]}


def test_a_restart_asks_for_nothing(scene: AcmeScene) -> None:
    """A new container with the same volume serves the same certificates; only Traefik can read their keys."""
    before = eventually("certificates", scene.complete, 60)
    scene.stop("traefik")
    kept = (scene.folder / "image/var/tmp/acme.json").stat()
    assert (kept.st_uid, kept.st_mode & 0o777) == (NOBODY, 0o600)
    scene.traefik()
    assert eventually("the same certificates", scene.complete, 30) == before
    assert scene.issued == len(scene.hosts)


def test_every_route_gets_a_certificate_by_a_dns_provider(tmp_path: Path, certificates: Path) -> None:
    """The provider's login comes only from files; records are added, found by both sides, and removed."""
    with acting(tmp_path, certificates, challenge="httpreq", credentials=[*LOGIN]) as scene:
        assert len({*eventually("certificates", scene.complete, 90).values()}) == len(scene.hosts)
        assert sorted(re.findall(r'"POST /(\w+) .*" (\d+)', scene.said("names"))) == [
            *[("cleanup", "200")] * len(scene.hosts),
            *[("present", "200")] * len(scene.hosts),
        ]
        assert not [text for text in scene.container["envs"] if PASSWORD in text]


def test_what_ends_within_a_month_is_renewed(tmp_path: Path, certificates: Path) -> None:
    """Traefik renews a certificate that ends in less than 30 days, and serves the new one from then on.

    It renews at start. If the ACME server validates before the router exists, the next start tries again.
    """
    with acting(tmp_path, certificates, days=20) as scene:
        before = eventually("certificates", scene.complete, 60)

        def others() -> bool:
            tried = scene.answered + len(scene.hosts)
            scene.stop("traefik")
            scene.traefik()
            eventually("tries", lambda: scene.answered >= tried, 20)
            return bool(found := scene.complete()) and found.items().isdisjoint(before.items())

        eventually("others", others, 60)


def test_a_server_that_nobody_vouches_for_issues_nothing(tmp_path: Path, certificates: Path) -> None:
    """Without the CA of the ACME server, no certificate is issued and no handshake completes."""
    with acting(tmp_path, certificates, trusted=False) as scene:
        refused = "certificate signed by unknown authority"
        eventually("a refusal", lambda: refused in scene.said("traefik"), 60)
        assert not any(serial.isalnum() for serial in scene.serials(*scene.hosts).values())
        assert scene.issued == 0
