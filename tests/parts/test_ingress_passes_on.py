"""Traefik asks a service for logins, and passes TCP and UDP on: real programs in a network of their own.

Traefik runs with the files and user of the program's container. The services behind it are this test's.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab.images.catalogue import OAUTH2_PROXY, TRAEFIK
from tests.live.site import eventually
from tests.parts.scene import Scene
from tests.policies.sound import KINDS, run
from tests.site import changed
from topology.config import load

DOMAIN = "home.example"
HOST = f"photos.{DOMAIN}"
PASSWORD = "of the test"  # the test's own
FORGED = {"X-Auth-Request-User": "admin", "X_Auth_Request_User": "admin", "Remote-User": "admin"}
_SERVICES = """
import http.server, json, socketserver, threading
class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(dict(self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"tcp " + self.request.recv(100))
class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(b"udp " + self.request[0], self.client_address)
servers = [
    http.server.ThreadingHTTPServer(("127.0.1.2", 2342), Pages),
    socketserver.ThreadingTCPServer(("127.0.1.3", 22), Tcp),
    socketserver.ThreadingUDPServer(("127.0.1.3", 22000), Udp),
]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
"""
_PAGE = """
import http.client, json, socket, ssl, sys
address, host, headers = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    sock = context.wrap_socket(socket.create_connection((address, 443), 5), server_hostname=host)
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.sock = sock
    connection.request("GET", "/", headers=headers)
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode()]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""
_STREAMS = """
import json, socket, sys
with socket.create_connection((sys.argv[1], 2222), 5) as tcp:
    tcp.sendall(b"hello")
    first = tcp.recv(100).decode()
with socket.socket(type=socket.SOCK_DGRAM) as udp:
    udp.settimeout(5)
    udp.sendto(b"hello", (sys.argv[1], 22000))
    second = udp.recv(100).decode()
print(json.dumps([first, second]))
"""


def site() -> dict[str, Any]:
    """Return the sound site with a login by oauth2-proxy before photos, and a forge with two streams."""
    frontend: dict[str, Any] = {"zones": ["frontend"], "image": "example/any:1.0.0"}
    ends = ("auth:4180/tcp", "photos:2342/tcp", "forge:22/tcp", "forge:22000/udp")
    return changed(
        {
            "domain": DOMAIN,
            "services.auth": {**frontend, "ports": [4180], "forward-auth": "/"},
            "services.photos": {**frontend, "ports": [2342], "login": "auth"},
            "services.forge": {
                **frontend,
                "ports": [22, "22000/udp"],
                "streams": ["2222:22", "22000:22000/udp"],
            },
            "services.traefik.ports": [80, 443, 2222, "22000/udp"],
            "flows": [
                "internet -> traefik:80/tcp",
                "internet -> traefik:443/tcp",
                "internet -> traefik:2222/tcp",
                "internet -> traefik:22000/udp",
                *(f"traefik -> {end}" for end in ends),
                *(flow for flow in changed({})["flows"] if "traefik" not in flow),
            ],
            "unencrypted": [each for each in changed({})["unencrypted"] if "traefik" not in each["flow"]],
        }
    )


@dataclass(kw_only=True)
class IngressScene(Scene):
    """A network with Traefik, its login and the services behind it."""

    edge: str

    def page(self, **headers: str) -> tuple[int, str]:
        """Return status and body of the page behind the login; 0 where there is no connection."""
        status, body = self.asks(_PAGE, self.edge, HOST, json.dumps(headers))
        return status, body

    def login(self) -> None:
        """Start oauth2-proxy, with one user by name and password in place of an identity provider's."""
        digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()  # noqa: S324  # htpasswd's
        (self.folder / "users").write_text(f"alice:{{SHA}}{digest}\n")
        self.start(
            "auth",
            OAUTH2_PROXY.get(print) / "usr/bin/oauth2-proxy",
            *("--http-address=127.0.1.1:4180", "--reverse-proxy=true", "--upstream=static://202"),
            *(
                "--set-xauthrequest=true",
                "--htpasswd-file=users",
                "--email-domain=*",
                f"--cookie-secret={'x' * 32}",
            ),
            *(
                "--client-id=none",
                "--client-secret=none",
                f"--redirect-url=https://auth.{DOMAIN}/oauth2/callback",
            ),
        )


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngressScene]:
    """Yield the scene, once Traefik serves the page of a client who has logged in."""
    folder, keys = tmp_path_factory.mktemp("ingress"), site()
    (container,) = (r.inputs for r in run(keys) if (r.type, r.name) == (KINDS["container"], "traefik"))
    scene = IngressScene(folder=folder, edge=str(load(keys).edge_address))
    root = folder / "image"
    (root / "usr/local/bin").mkdir(parents=True)
    shutil.copy(TRAEFIK.get(print) / "usr/local/bin/traefik", root / "usr/local/bin/traefik")
    for upload in container["uploads"]:
        file = root / upload["file"].lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(upload["content"], encoding="utf-8")
    (root / "etc/hosts").write_text("127.0.1.1 auth\n127.0.1.2 photos\n127.0.1.3 forge\n")
    tls = root / "etc/traefik/tls"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:*.{DOMAIN}"]
    pair = ["-keyout", str(tls / "key.pem"), "-out", str(tls / "certificate.pem")]
    subprocess.run([*words, *names, *pair], check=True, capture_output=True, timeout=60)
    (tls / "key.pem").chmod(0o644)
    try:
        scene.open(scene.edge)
        scene.start("services", sys.executable, "-c", _SERVICES)
        eventually("the services", lambda: "ready" in scene.said("services"), 10)
        scene.login()
        user = str(container["user"])
        scene.start("traefik", "chroot", f"--userspec={user}", "image", "/usr/local/bin/traefik")
        eventually("the page", lambda: scene.page(**alice())[0] == 200, 30)
        yield scene
    finally:
        scene.close()


def alice() -> dict[str, str]:
    """Return the header of a client who has logged in."""
    return {"Authorization": "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()}


def test_a_stranger_gets_the_login(scene: IngressScene) -> None:
    """Without a login, or with names of users that the client wrote, the service is not asked."""
    for headers in ({}, FORGED):
        status, body = scene.page(**headers)
        assert (status, "Sign in" in body) == (403, True)


def test_the_login_alone_names_the_user(scene: IngressScene) -> None:
    """The service gets the user's name from the login, and no name that the client wrote in any spelling."""
    status, body = scene.page(**alice(), **FORGED)
    seen = {name.lower().replace("_", "-"): value for name, value in json.loads(body).items()}
    assert (status, seen["x-auth-request-user"]) == (200, "alice")
    assert "admin" not in body


def test_no_login_means_no_page(scene: IngressScene) -> None:
    """While the login does not run, the ingress answers with an error of its own."""
    scene.stop("auth")
    try:
        assert scene.page(**alice())[0] >= 500
    finally:
        scene.login()
        eventually("the page", lambda: scene.page(**alice())[0] == 200, 30)


def test_streams_carry_what_they_get(scene: IngressScene) -> None:
    """TCP and UDP reach the service as they are."""
    assert scene.asks(_STREAMS, scene.edge) == ["tcp hello", "udp hello"]
