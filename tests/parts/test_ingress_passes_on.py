"""Traefik asks a service for logins, tells paths apart, and passes TCP and UDP on: real programs.

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

NAMES = ("auth", "photos", "forge", "app", "api", "manual", "few")
"""Services by the last part of their address."""
DOMAIN = "home.example"
HOST = f"photos.{DOMAIN}"
APP = f"app.{DOMAIN}"
PASSWORD = "of the test"  # the test's own
FORGED = {"X-Auth-Request-User": "admin", "X_Auth_Request_User": "admin", "Remote-User": "admin"}
_SERVICES = """
import http.server, json, socketserver, threading
got, go = bytearray(), threading.Event()
class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        while size := int(self.rfile.readline(), 16):
            got.extend(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        self.answer(str(len(got)).encode())
    def do_GET(self):
        told = {"at": self.server.server_address[0], "path": self.path, **self.headers}
        if self.path.endswith("/got"):
            told = len(got)
        if self.path.endswith("/go"):
            go.set()
        if self.path.endswith("/slow"):
            self.send_response(200)
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"first")
            go.wait(20)
            self.wfile.write(b"last")
        else:
            self.answer(json.dumps(told).encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("X-Backend", "its own")
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
    *(http.server.ThreadingHTTPServer((f"127.0.1.{each}", 8080), Pages) for each in (4, 5, 6, 7)),
    socketserver.ThreadingTCPServer(("127.0.1.3", 22), Tcp),
    socketserver.ThreadingUDPServer(("127.0.1.3", 22000), Udp),
]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
"""
_CONNECTED = """
import http.client, json, socket, ssl, sys
address, host = sys.argv[1:3]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
def connected():
    sock = context.wrap_socket(socket.create_connection((address, 443), 5), server_hostname=host)
    sock.settimeout(10)
    connection = http.client.HTTPConnection(host)
    connection.sock = sock
    return connection
def asked(path, method="GET", **more):
    connection = connected()
    connection.request(method, path, **more)
    return connection.getresponse()
"""
_PAGE = f"""{_CONNECTED}
try:
    answer = asked(sys.argv[4], headers=json.loads(sys.argv[3]))
    print(json.dumps([answer.status, answer.read().decode(), dict(answer.headers)]))
except OSError as error:
    print(json.dumps([0, str(error), {{}}]))
"""
_BODIES = f"""{_CONNECTED}
import time
upload = connected()
upload.putrequest("POST", "/upload")
upload.putheader("Transfer-Encoding", "chunked")
upload.endheaders(b"4\\r\\nhalf\\r\\n")
end = time.monotonic() + 10
while not (before := json.loads(asked("/got").read())) and time.monotonic() < end:
    pass
upload.send(b"4\\r\\nhalf\\r\\n0\\r\\n\\r\\n")
after = json.loads(upload.getresponse().read())
slow = asked("/slow")
first = slow.read(5).decode()
asked("/go").read()
print(json.dumps([before, after, first, slow.read().decode()]))
"""
_OFTEN = f"""{_CONNECTED}
print(json.dumps(sorted({{asked(sys.argv[3]).status for _ in range(40)}})))
"""
_MUCH = f"""{_CONNECTED}
print(asked("/api", "POST", body=b"x" * (1024 * 1024 + 1)).status)
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
    """Return the sound site with a login by oauth2-proxy, a forge with streams, and services by path."""
    frontend: dict[str, Any] = {"zones": ["frontend"], "image": "example/any:1.0.0"}
    ends = ["auth:4180/tcp", "photos:2342/tcp", "forge:22/tcp", "forge:22000/udp"]
    ends += ["app:8080/tcp", "api:8080/tcp", "manual:8080/tcp", "few:8080/tcp"]
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
            "services.app": {**frontend, "ports": [8080], "redirects": ["old"]},
            "services.api": {
                **frontend,
                "ports": [8080],
                "host": "app",
                "paths": ["/api"],
                "strip-paths": True,
                "requests": {"body": 1},
                "request-headers": {"X-Script-Name": "/api", "Accept-Language": ""},
                "response-headers": {"X-Robots-Tag": "noindex", "X-Backend": ""},
            },
            "services.manual": {
                **frontend,
                "ports": [8080],
                "host": "app",
                "paths": ["/api/manual", "/.well-known/manual"],
            },
            "services.few": {
                **frontend,
                "ports": [8080],
                "host": "app",
                "paths": ["/few"],
                "requests": {"rate": 1},
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
        status, body, _ = self.asks(_PAGE, self.edge, HOST, json.dumps(headers), "/")
        return status, body

    def at(self, path: str, host: str = APP, **headers: str) -> tuple[int, dict[str, str], dict[str, str]]:
        """Return status, what the service saw, and the answer's headers at a path of the shared host name."""
        status, body, answered = self.asks(_PAGE, self.edge, host, json.dumps(headers), path)
        return status, json.loads(body) if status == 200 else {}, answered  # OK

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
    (root / "etc/hosts").write_text(
        "".join(f"127.0.1.{number} {name}\n" for number, name in enumerate(NAMES, start=1))
    )
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


@pytest.mark.parametrize(
    ("path", "service", "seen"),
    [
        ("/", "app", "/"),
        ("/apiary", "app", "/apiary"),
        ("/API/users", "app", "/API/users"),
        ("/x/api", "app", "/x/api"),
        ("/api", "api", "/"),
        ("/api/", "api", "/"),
        ("/api/users?all=1", "api", "/users?all=1"),
        ("//api//users", "api", "/users"),
        ("/x/../api/users", "api", "/users"),
        ("/api/../apiary", "app", "/apiary"),
        ("/%61pi/users", "api", "/users"),
        ("/api/manuals", "api", "/manuals"),
        ("/api/manual", "manual", "/api/manual"),
        ("/api/manual/1", "manual", "/api/manual/1"),
        ("/.well-known/manual/x", "manual", "/.well-known/manual/x"),
        ("/.well-known/other", "app", "/.well-known/other"),
    ],
)
def test_a_request_goes_by_its_longest_path(scene: IngressScene, path: str, service: str, seen: str) -> None:
    """Whole segments of the path choose the service, which sees the path without what is stripped."""
    status, told, _ = scene.at(path)
    found = {"127.0.1.4": "app", "127.0.1.5": "api", "127.0.1.6": "manual"}[told["at"]]
    assert (status, found, told["path"]) == (200, service, seen)


def test_headers_are_set_and_removed(scene: IngressScene) -> None:
    """The service and the client get the declared headers, and none that the client wrote in their place."""
    forged = {"X-Script-Name": "/evil", "Accept-Language": "de", "X-Forwarded-Prefix": "/evil"}
    _, told, answered = scene.at("/api/users", **forged)
    assert (told["X-Script-Name"], told["X-Forwarded-Prefix"]) == ("/api", "/api")
    assert "Accept-Language" not in told
    assert (answered["X-Robots-Tag"], answered.get("X-Backend")) == ("noindex", None)
    _, told, answered = scene.at("/", **forged)
    assert (told["X-Script-Name"], answered["X-Backend"]) == ("/evil", "its own")


def test_an_old_name_sends_browsers_on(scene: IngressScene) -> None:
    """A redirect keeps path and query, and the service does not see the request."""
    for path in ("/", "/api/users?all=1"):
        status, _, answered = scene.at(path, f"old.{DOMAIN}")
        assert (status, answered["Location"]) == (301, f"https://{APP}{path}")


def test_a_client_that_asks_too_often_waits(scene: IngressScene) -> None:
    """A route's own rate counts beside that of all requests."""
    assert scene.asks(_OFTEN, scene.edge, APP, "/few") == [200, 429]
    assert scene.asks(_OFTEN, scene.edge, APP, "/") == [200]


def test_bodies_pass_as_they_come(scene: IngressScene) -> None:
    """A service has the first half of a body, and a client that of an answer, before the second is sent."""
    assert scene.asks(_BODIES, scene.edge, APP) == [4, 8, "first", "last"]


def test_a_larger_body_is_refused(scene: IngressScene) -> None:
    """The declared size of bodies is the largest."""
    assert scene.asks(_MUCH, scene.edge, APP) == 413  # content too large
