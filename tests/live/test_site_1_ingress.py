"""The running ingress against internet traffic: protocols, names, sizes, slow requests, path tricks."""

import json
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import urllib3

from lab import tls
from tests.live.site import DOMAIN, PROMETHEUS, Site, eventually

HOST = f"site-1.{DOMAIN}"
SLOW_80, SLOW_443 = 10, 60
"""Seconds that a request may take to arrive on each port."""
SNIFF = """
import socket, sys
mark = sys.argv[1].encode()
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
sniffer.settimeout(20)
print("ready", flush=True)
while True:
    packet = sniffer.recv(65535)
    segment = packet[(packet[0] & 15) * 4:]
    payload = segment[(segment[12] >> 4) * 4:] if packet[0] >> 4 == 4 and packet[9] == 6 else b""
    if payload.startswith(b"GET ") and mark in payload:
        print(payload.decode("latin-1"))
        break
"""
"""Prints the first plain HTTP request that arrives and contains a mark."""


def client(sni: str | None = HOST, **settings: object) -> ssl.SSLSocket:
    """Return a TLS connection to 443 with SNI `sni`; raises SSLError with the server's alert."""
    context = ssl.create_default_context(cafile=str(tls.bundle()))
    context.check_hostname = sni is not None
    for name, value in settings.items():
        setattr(context, name, value)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", 443), 15), server_hostname=sni)


def refusal(**settings: object) -> str:
    """Return the alert that ends a handshake."""
    with pytest.raises(ssl.SSLError) as refused:
        client(**settings).close()  # type: ignore[arg-type]
    return str(refused.value.reason)


def only(cipher: str) -> ssl.SSLContext:
    """Return a client context with one TLS 1.2 cipher, however weak."""
    context = ssl.create_default_context(cafile=str(tls.bundle()))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    return context


def send(request: bytes) -> tuple[int, dict[str, str]]:
    """Return status and headers of the response to a raw request."""
    with client() as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(4096)):
            answer += more
    first, *lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in headers.items()}


def get(path: str, *headers: str, host: str = HOST) -> tuple[int, dict[str, str]]:
    """Return the response to GET; path and headers are sent unchanged."""
    return send("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode("latin-1"))


def arrives(mark: str, path: str, *headers: str) -> str:
    """Return the request as Jellyfin, whose flow is unencrypted, receives it, captured in the guest."""
    words = ["ip", "netns", "exec", "vm-201", sys.executable, "-c", SNIFF, mark]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdout
        assert sniffer.stdout.readline() == "ready\n"
        get(path, *headers, host=f"jellyfin.{DOMAIN}")
        return sniffer.communicate(timeout=30)[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_protocols_are_spoken(site: Site, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 complete a handshake."""
    assert site
    with client(minimum_version=version, maximum_version=version) as connection:
        assert connection.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_protocols_are_refused(site: Site, version: str) -> None:
    """TLS 1.0 and 1.1 end with the server's own alert."""
    assert site
    context = only("ALL")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with pytest.raises(ssl.SSLError) as refused:
        context.wrap_socket(socket.create_connection(("127.0.0.1", 443), 15), server_hostname=HOST)
    assert refused.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"])
def test_current_ciphers_are_spoken(site: Site, cipher: str) -> None:
    """Each listed cipher that fits the certificate's key completes a handshake."""
    assert site
    context = only(f"ECDHE-ECDSA-{cipher}")
    with (
        socket.create_connection(("127.0.0.1", 443), 15) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        assert connection.cipher()


@pytest.mark.parametrize(
    "cipher", ["AES128-SHA", "AES256-SHA", "AES128-SHA256", "AES256-SHA384", "AES128-CCM"]
)
def test_weak_ciphers_are_refused(site: Site, cipher: str) -> None:
    """CBC ciphers and any other cipher not on the list end with the server's own alert."""
    assert site
    with pytest.raises(ssl.SSLError) as refused:
        only(f"ECDHE-ECDSA-{cipher}").wrap_socket(
            socket.create_connection(("127.0.0.1", 443), 15), server_hostname=HOST
        )
    assert refused.value.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"


@pytest.mark.parametrize("name", ["evil.example", "localhost", None])
def test_an_unknown_name_gets_no_handshake(site: Site, name: str | None) -> None:
    """A host name outside the certificate, or no host name, is refused in the handshake."""
    assert site
    assert refusal(sni=name) == "TLSV1_UNRECOGNIZED_NAME"


@pytest.mark.parametrize("host", ["site-1", "grafana", "jellyfin", "vaultwarden"])
def test_answers_carry_the_guarding_headers(site: Site, host: str) -> None:
    """Answers have HSTS, headers against sniffing, framing and referrers, and none that names the server."""
    headers = {name.lower(): value for name, value in site.get(host).headers.items()}
    assert {name: headers.get(name) for name in (*GUARDS, "server", "x-powered-by")} == {
        **GUARDS,
        "server": None,
        "x-powered-by": None,
    }


GUARDS = {
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "strict-origin-when-cross-origin",
}


def test_a_name_of_another_host_in_the_handshake_is_not_found(site: Site) -> None:
    """A known name in the handshake gives no access to a host name without a route."""
    assert site
    assert send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")[0] == 404


def test_oversized_headers_are_refused(site: Site) -> None:
    """More than 32 KiB of headers end in 431; half as much passes."""
    assert site
    big = [f"X-Big-{number}: {'a' * 5000}" for number in range(8)]
    assert [get("/", *big[:count])[0] for count in (3, 8)] == [200, 431]


@pytest.mark.parametrize("host", ["grafana", "prometheus"])
def test_oversized_bodies_are_refused(site: Site, host: str) -> None:
    """Over 4 MiB of body to the site's own pages end in 413, however sent; a small body passes."""
    assert site
    login = urllib3.make_headers(basic_auth=f"admin:{PROMETHEUS}")["authorization"]
    head = f"POST /api/v1/query HTTP/1.1\r\nHost: {host}.{DOMAIN}\r\nAuthorization: {login}\r\n".encode()
    # Slightly too much: the server reads the rest, so its response arrives.
    size = 4 * 1024 * 1024 + 1000
    told = b"Content-Length: %d\r\n\r\n"
    assert send(head + told % size)[0] == 413
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"a" * size)
    assert send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)[0] == 413
    assert send(head + told % 1000 + b"a" * 1000)[0] != 413


def outlasts(port: int, start: bytes, seconds: float) -> float:
    """Return the seconds until the server closes a connection with an endless request, at most `seconds`."""
    connection = client() if port == 443 else socket.create_connection(("127.0.0.1", port), 15)
    began = time.monotonic()
    with connection:
        connection.sendall(start)
        connection.settimeout(1)
        while (took := time.monotonic() - began) < seconds:
            try:
                if not connection.recv(4096):
                    return took
                continue
            except TimeoutError:
                pass
            except OSError:
                return took
            try:
                connection.sendall(b"x")
            except OSError:
                return took
    return seconds


SlowRequests = dict[int, list[Future[float]]]


@pytest.fixture(scope="module", autouse=True)
def slow_requests(site: Site) -> Iterator[SlowRequests]:
    """Yield the seconds until slow requests were cut off, by limit; they run beside the other tests."""
    assert site
    header, body = (
        f"{start}\r\nHost: {HOST}\r\n{more}".encode()
        for start, more in (
            ("GET / HTTP/1.1", "X: "),
            ("POST / HTTP/1.1", "Content-Length: 999\r\n\r\n"),
        )
    )
    with ThreadPoolExecutor(6) as pool:
        yield {
            SLOW_80: [pool.submit(outlasts, 80, header, 30) for _ in range(2)],
            SLOW_443: [pool.submit(outlasts, 443, start, 90) for start in (header, body, header, body)],
        }


@pytest.mark.parametrize(
    ("written", "arrived"),
    [
        ("/a/../b", "/b"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/a/%2e%2e/b", "/b"),
        ("/%2e%2e/%2E%2E/b", "/b"),
        ("//b", "/b"),
        ("/a//b/./c", "/a/b/c"),
    ],
)
def test_paths_arrive_in_one_way_of_writing(site: Site, written: str, arrived: str) -> None:
    """Dots, encoded dots and double slashes are removed before a service sees the path."""
    assert site
    mark = uuid.uuid4().hex
    assert arrives(mark, f"{written}?{mark}").split()[1] == f"{arrived}?{mark}"


@pytest.mark.parametrize("trick", ["%2f", "%2F..%2F", "%5c", "%00", "%252e%252e", "%3b"])
def test_paths_that_are_read_twice_are_refused(site: Site, trick: str) -> None:
    """An encoded slash, backslash, NUL, percent or semicolon in a path ends in 400."""
    assert site
    assert get(f"/a{trick}b")[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/Admin",
        "/%61dmin",
        "/%41DMIN/",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/%2e/admin",
        "/x/%2e%2e/admin",
        "/admin/users/overview",
        "/admin?x=/",
        "/admin;x",
        "/admin%20",
        "http://{host}/admin",
    ],
)
def test_vaultwardens_admin_page_is_not_there(site: Site, path: str) -> None:
    """The ingress has no route to the page in any spelling; similar paths have one."""
    assert site
    host = f"vaultwarden.{DOMAIN}"
    answers = [
        send(f"GET {each} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[0]
        for each in (path.format(host=host), "/x/admin", "/")
    ]
    assert answers == [404, 200, 200]


def test_headers_that_pass_for_others_do_not_arrive(site: Site) -> None:
    """Headers that PHP reads as others or as settings are removed; the forwarded ones are Traefik's."""
    assert site
    mark = uuid.uuid4().hex
    forged = ["X_Forwarded_For", "X_Real_Ip", "X.Real.Ip", "My_Own", "Proxy", "X-Forwarded-For", "X-Real-Ip"]
    request = arrives(mark, f"/?{mark}", "X-Kept: kept", *(f"{name}: 203.0.113.9" for name in forged))
    names = {line.partition(":")[0].lower() for line in request.splitlines()[1:]}
    assert "203.0.113.9" not in request
    assert names & {name.lower() for name in forged} == {"x-forwarded-for", "x-real-ip"}
    assert "x-kept" in names


def test_prometheus_asks_for_a_login(site: Site) -> None:
    """Prometheus UI is served only with the password, and does not receive the password itself."""
    wrong = urllib3.make_headers(basic_auth="admin:wrong")["authorization"]
    host = f"Host: prometheus.{DOMAIN}"
    assert site.get("prometheus").status == 401
    assert send(f"GET / HTTP/1.1\r\n{host}\r\nAuthorization: {wrong}\r\n\r\n".encode())[0] == 401
    assert site.get("prometheus", "/api/v1/query?query=1", user="admin").status == 200


def test_the_access_log_is_json_without_secrets(site: Site) -> None:
    """Each access is one line of JSON, without the values of headers, the query or the login."""
    mark, secret = uuid.uuid4().hex, uuid.uuid4().hex
    login = urllib3.make_headers(basic_auth=f"{secret}:{secret}")["authorization"]
    get(
        f"/{mark}?token={secret}",
        f"Cookie: session={secret}",
        f"Authorization: {login}",
        f"Referer: /{secret}",
    )
    prometheus = f"GET /{mark} HTTP/1.1\r\nHost: prometheus.{DOMAIN}\r\nAuthorization: {login}\r\n\r\n"
    assert send(prometheus.encode())[0] == 401

    def lines() -> list[str]:
        return [line for line in site.docker("logs", "traefik").splitlines() if mark in line]

    found = eventually("two lines in the log", lambda: len(each := lines()) == 2 and each)
    assert {json.loads(line)["RequestPath"] for line in found} == {f"/{mark}"}
    assert secret not in site.docker("logs", "traefik")


def test_one_client_does_not_take_it_all(site: Site) -> None:
    """A client with far more than 100 requests a second gets 429, and is served again soon after."""

    def many(_: int) -> Counter[int]:
        context = ssl.create_default_context(cafile=str(tls.bundle()))
        with urllib3.HTTPSConnectionPool(
            "127.0.0.1", 443, ssl_context=context, server_hostname=HOST, assert_hostname=HOST, retries=False
        ) as pool:
            return Counter(pool.request("GET", "/", headers={"Host": HOST}).status for _ in range(150))

    with ThreadPoolExecutor(8) as pool:
        answers = sum(pool.map(many, range(8)), Counter[int]())
    assert answers[429] > 0
    assert set(answers) == {200, 429}
    eventually("served again", lambda: site.get("site-1").status == 200, seconds=10)


@pytest.mark.timeout(150)  # the slowest request is cut off after a minute
def test_slow_requests_end(site: Site, slow_requests: SlowRequests) -> None:
    """Slow headers and bodies are cut off in time, and other requests are served meanwhile."""
    assert site.get("site-1").status == 200
    for limit, requests in slow_requests.items():
        assert all(limit - 1 <= each.result() <= limit + 15 for each in requests), limit
