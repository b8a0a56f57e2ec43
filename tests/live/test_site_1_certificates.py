"""Access to the services behind the frontend, tried from a shell in each container with its files."""

import json
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509

from tests.live.sabotage import TOPOLOGY
from tests.live.site import Site, command, eventually, updated
from topology.certificates import FOLDER, IssuedCertificate, held
from topology.model import ASKS_FOR_CERTIFICATES

INTERVAL = 15
"""Seconds between two scrapes."""
LONGEST = 3 * INTERVAL
"""Allows for a restarted Prometheus, which scrapes at another offset within the interval."""
JOBS = ("node-exporter", "cadvisor")
ASKING = {c.name: c for c in TOPOLOGY.containers if c.app in ASKS_FOR_CERTIFICATES}
NEAR = [
    (source.name, service.name)
    for service in ASKING.values()
    for source in TOPOLOGY.containers
    if source != service and set(source.zones) & set(service.zones)
]
"""Source and service on a common network, where the source reaches every port of the service."""
CLIENTS = [each for each in held(TOPOLOGY) if each.holder != each.service]
DELETE = "/loki/api/v1/delete?query={job=~%22.%2B%22}&start=0"
LABELS, PUSH = "/loki/api/v1/labels", "/loki/api/v1/push"
PATHS = {"prometheus": "/api/v1/query?query=1", "loki": LABELS, "loki-gateway": LABELS}
_TAIL = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MTIzNDU2Nzg5MDEyMzQ1Ng==",
}
_PUSHED: dict[str, Any] = {
    "method": "POST",
    "path": PUSH,
    "headers": {"Content-Type": "application/json"},
    "body": json.dumps({"streams": [{"stream": {"job": "asked"}, "values": [[f"{time.time_ns()}", "x"]]}]}),
}
_ASK = """
import http.client, json, ssl, sys
address, port, name, method, path, body, headers, authorities, *pair = sys.argv[1:]
context = ssl.create_default_context(cafile=authorities)
if pair:
    context.load_cert_chain(*pair)
class Connection(http.client.HTTPSConnection):
    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = context.wrap_socket(self.sock, server_hostname=name)
try:
    asking = Connection(address, int(port), timeout=10)
    asking.request(method, path, body or None, json.loads(headers))
    print(asking.getresponse().status)
except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
    print("refused", error)
"""


@pytest.fixture(scope="module")
def files(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return copies of each container's certificate folder, by container and service."""
    folder = tmp_path_factory.mktemp("held")
    for name in {each.holder for each in held(TOPOLOGY)}:
        site.docker("cp", f"{name}:{FOLDER}", str(folder / name))
    return folder


def ask(site: Site, source: str, service: str, *pair: Path, authorities: Path, **how: Any) -> str:
    """Return a service's answer to a shell in a container: a status, or the kind of refusal."""
    inspected = json.loads(site.docker("inspect", source, service))
    networks = [set(each["NetworkSettings"]["Networks"]) for each in inspected]
    ours = inspected[1]["NetworkSettings"]["Networks"]
    address = ours[min(networks[0] & networks[1])]["IPAddress"]
    pid, port = inspected[0]["State"]["Pid"], ASKING[service].ports[0].number
    where = (
        address,
        str(port),
        service,
        how.get("method", "GET"),
        how.get("path", PATHS.get(service, "/metrics")),
        how.get("body", ""),
        json.dumps(how.get("headers", {})),
    )
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-I", "-c", _ASK)
    done = command(*inside, *where, str(authorities), *map(str, pair))
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


def paths(files: Path, each: IssuedCertificate) -> dict[str, Path]:
    """Return the paths of the copies of a certificate's files."""
    folder = files / each.holder / each.service
    return {name: folder / f"{name}.pem" for name in ("certificate", "key", "authorities")}


def test_a_certificate_is_refused_or_asked_for(site: Site, files: Path) -> None:
    """A neighbour on a service's network gets nothing without a certificate, over TLS or not."""
    answers = {}
    for source, service in NEAR:
        own = paths(files, IssuedCertificate(service, service))
        answers[source, service] = ask(site, source, service, authorities=own["authorities"])
    assert {pair: answer for pair, answer in answers.items() if not answer.startswith("refused")} == {}
    assert len(answers) > len(ASKING)


@pytest.mark.parametrize("each", CLIENTS, ids=lambda each: each.name)
def test_a_declared_client_is_answered(site: Site, files: Path, each: IssuedCertificate) -> None:
    """Each declared source is answered with the certificate of its flow, so the refusals are not silence."""
    ours = paths(files, each)
    pair = (ours["certificate"], ours["key"])
    how, status = (_PUSHED, "204") if each.holder == "promtail" else ({}, "200")
    assert ask(site, each.holder, each.service, *pair, authorities=ours["authorities"], **how) == status


@pytest.mark.parametrize(
    ("client", "status", "asked"),
    [
        ("grafana", "403", ("POST", PUSH)),
        ("grafana", "403", ("POST", "/ingester/shutdown")),
        ("grafana", "403", ("POST", "/flush")),
        ("grafana", "403", ("POST", DELETE)),
        ("grafana", "403", ("GET", "/loki/api/v1/delete")),
        ("grafana", "403", ("GET", "/config")),
        ("grafana", "403", ("GET", "/metrics")),
        ("grafana", "403", ("DELETE", LABELS)),
        ("grafana", "403", ("POST", "/loki/api/v1/labels/../push")),
        ("grafana", "403", ("POST", "/loki/api/v1/push%2F..%2Flabels")),
        ("grafana", "403", ("GET", "/loki/api/v1//labels")),
        ("grafana", "200", ("POST", "/loki/api/v1/query_range?query={job=~%22.%2B%22}")),
        ("grafana", "200", ("GET", "/loki/api/v1/label/container/values")),
        ("grafana", "101", ("GET", "/loki/api/v1/tail?query={job=~%22.%2B%22}")),
        ("promtail", "403", ("GET", LABELS)),
        ("promtail", "403", ("GET", "/loki/api/v1/query_range?query={job=~%22.%2B%22}")),
        ("promtail", "403", ("GET", "/loki/api/v1/tail?query={job=~%22.%2B%22}")),
        ("promtail", "403", ("POST", DELETE)),
        ("promtail", "403", ("POST", "/ingester/shutdown")),
        ("promtail", "403", ("GET", PUSH)),
    ],
)
def test_the_gateway_knows_readers_from_writers(
    site: Site, files: Path, client: str, status: str, asked: tuple[str, str]
) -> None:
    """Grafana's certificate only reads logs, Promtail's only sends them, and neither allows anything else."""
    ours = paths(files, IssuedCertificate(client, "loki-gateway"))
    how: dict[str, Any] = dict(zip(("method", "path"), asked, strict=True))
    how["headers"] = _TAIL if "/tail" in asked[1] else {}
    pair = (ours["certificate"], ours["key"])
    assert ask(site, client, "loki-gateway", *pair, authorities=ours["authorities"], **how) == status


@pytest.mark.parametrize("client", ["grafana", "promtail"])
def test_nobody_gets_past_the_gateway(site: Site, files: Path, client: str) -> None:
    """Loki itself refuses a shell beside it that has stolen the certificates of the gateway's clients."""
    stolen, own = (
        paths(files, IssuedCertificate(client, "loki-gateway")),
        paths(files, IssuedCertificate("loki", "loki")),
    )
    pair = (stolen["certificate"], stolen["key"])
    assert ask(site, "promtail", "loki", *pair, authorities=own["authorities"]).startswith("refused")


def test_loki_deletes_for_nobody(site: Site, files: Path) -> None:
    """Not even the gateway's certificate, valid for all of Loki's paths, deletes a line."""
    ours = paths(files, IssuedCertificate("loki-gateway", "loki"))
    how: dict[str, Any] = {"method": "POST", "path": DELETE, "authorities": ours["authorities"]}
    assert ask(site, "loki-gateway", "loki", ours["certificate"], ours["key"], **how) == "403"


def test_the_certificate_of_another_service_opens_nothing(site: Site, files: Path) -> None:
    """A container's certificates open the services that it has a flow to, and no neighbour."""
    answers = {}
    for source, service in NEAR:
        for each in held(TOPOLOGY):
            if each.holder == source and each.service != service:
                ours, own = paths(files, each), paths(files, IssuedCertificate(service, service))
                pair = (ours["certificate"], ours["key"])
                answers[source, each.service, service] = ask(
                    site, source, service, *pair, authorities=own["authorities"]
                )
    assert {where: answer for where, answer in answers.items() if not answer.startswith("refused")} == {}
    assert ("promtail", "loki-gateway", "prometheus") in answers
    assert ("promtail", "loki-gateway", "loki") in answers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/admin/tsdb/snapshot"),
        ("POST", "/api/v1/admin/tsdb/delete_series?match[]=up"),
        ("POST", "/-/reload"),
        ("PUT", "/-/quit"),
        ("POST", "/api/v1/write"),
    ],
)
def test_grafana_does_not_administer(site: Site, files: Path, method: str, path: str) -> None:
    """With Grafana's certificate a shell queries Prometheus and changes nothing in it."""
    ours = paths(files, IssuedCertificate("grafana", "prometheus"))
    how = {"method": method, "path": path, "authorities": ours["authorities"]}
    pair = (ours["certificate"], ours["key"])
    assert int(ask(site, "grafana", "prometheus", *pair, **how)) >= 400  # type: ignore[arg-type]
    assert ask(site, "grafana", "prometheus", *pair, authorities=ours["authorities"]) == "200"


def test_another_name_is_refused_by_the_client(site: Site, files: Path) -> None:
    """A client rejects a service that answers with another service's certificate."""
    ours = paths(files, IssuedCertificate("grafana", "loki-gateway"))
    pair = (ours["certificate"], ours["key"])
    wrong = paths(files, IssuedCertificate("grafana", "prometheus"))["authorities"]
    assert "certificate verify failed" in ask(site, "grafana", "loki-gateway", *pair, authorities=wrong)


def samples(site: Site, job: str, minutes: int) -> list[tuple[float, str]]:
    """Return the times of a job's scrapes, each with its success."""
    path = "/api/v1/query?query=" + quote(f"up{{job='{job}'}}[{minutes}m]")
    answer = eventually(
        "Prometheus", lambda: (a := site.get("prometheus", path, user="admin")).status == 200 and a
    )
    (series,) = answer.json()["data"]["result"]
    return [(float(at), value) for at, value in series["values"]]


def longest(site: Site, since: float) -> dict[str, float]:
    """Return each job's longest time between two successful scrapes, from the last one before `since`."""
    found = {}
    for job in JOBS:
        good = [at for at, value in samples(site, job, 20) if value == "1" and at >= since - INTERVAL]
        found[job] = max(b - a for a, b in pairwise(good))
    return found


def shown(site: Site, each: IssuedCertificate) -> x509.Certificate:
    """Return the certificate that a container holds now."""
    return x509.load_pem_x509_certificate(site.docker("exec", each.holder, "cat", each.certificate).encode())


def scraped(site: Site, after: float) -> bool:
    """Whether every job was scraped after a time."""
    return all(any(at > after and value == "1" for at, value in samples(site, job, 5)) for job in JOBS)


def log_line_arrives(site: Site) -> None:
    """Check that Grafana finds a line in Loki that Traefik writes."""
    mark = uuid.uuid4().hex
    site.get("nobody", f"/{mark}")
    path = "/api/datasources/proxy/uid/loki/loki/api/v1/query_range?query=" + quote(
        f'{{container="traefik"}} |= "{mark}"'
    )

    def found() -> Any:
        answer = site.get("grafana", path, user="admin")
        return answer.status == 200 and answer.json()["data"]["result"]

    eventually("the line in Loki", found)


def nears_its_end(site: Site, each: IssuedCertificate, file: Path) -> None:
    """Change the state so that a certificate has nine days left; `file` is for the state's text."""
    state = json.loads(site.pulumi("stack", "export").stdout)
    (leaf,) = (
        r
        for r in state["deployment"]["resources"]
        if r["type"].endswith(":LocallySignedCert") and r["urn"].endswith(f"::{each.name}.a")
    )
    soon = datetime.now(tz=UTC) + timedelta(days=9)
    leaf["outputs"]["validityEndTime"] = soon.isoformat(timespec="seconds")
    file.write_text(json.dumps(state))
    assert site.pulumi("stack", "import", "--file", str(file)).returncode == 0


@pytest.fixture
def back(site: Site, tmp_path: Path) -> Iterator[None]:
    """Restore the stack from its file after the test."""
    yield
    updated(site, tmp_path)


@pytest.mark.usefixtures("back")
def test_a_generation_of_authorities_follows_another(site: Site, tmp_path: Path) -> None:
    """A new CA is trusted, then signs, then stands alone: three updates, no scrape gap over the limit.

    The first update also renews a certificate in its last ten days, and only that one.
    """
    leaf, other = (
        IssuedCertificate("prometheus", "node-exporter"),
        IssuedCertificate("prometheus", "blackbox-exporter"),
    )
    leaves, others, since = [shown(site, leaf)], [shown(site, other)], time.time()
    nears_its_end(site, leaf, tmp_path / "state.json")
    for given in ("[a, b], signer: a", "[a, b], signer: b", "[b], signer: b"):
        key = f"  homelab-network:certificates: {{authorities: {given}}}\n  homelab-network:unencrypted:\n"
        updated(site, tmp_path, ("  homelab-network:unencrypted:\n", key))
        leaves.append(shown(site, leaf))
        others.append(shown(site, other))
        eventually("a scrape after it", partial(scraped, site, time.time()))
        log_line_arrives(site)
    assert (leaves[0] != leaves[1], others[0] == others[1]) == (True, True)
    issuers = [each.issuer.rfc4514_string() for each in leaves[1:]]
    assert issuers == [f"CN=authority node-exporter.{name}" for name in "abb"]
    assert max(longest(site, since).values()) <= LONGEST
