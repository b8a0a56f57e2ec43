"""Names of the outside: what the probe asks a container's name server, and what it makes of the answers."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from socketserver import BaseRequestHandler, UDPServer

import pytest

from rendered.apps import runtime
from tests.egress import with_egress
from tests.policies.sound import with_acme
from tests.site import configuration
from tests.unit.test_verify import AGENT, endpoints_of
from topology.config import load
from topology.model import Topology
from verify import names
from verify.driver import Answers
from verify.expect import Endpoint
from verify.verdicts import ProbeFinding, Verdict

pytestmark = pytest.mark.usefixtures("authority")


def loki(site: Topology, **more: object) -> list[Endpoint]:
    """Return the endpoint of Loki's container, which runs."""
    (found,) = (each for each in endpoints_of(site) if each.name == "loki")
    return [replace(found, runs=True, **more)]  # type: ignore[arg-type]  # fields of the endpoint


def judged(site: Topology, own: str, outside: str, **more: object) -> ProbeFinding:
    """Return the finding about Loki's container for two answers."""
    answers = {"loki": Answers(by_id={"name:own": own, "name:outside": outside})}
    (found,) = names.judge(site, loki(site, **more), answers)
    return found


def test_only_containers_that_go_out_have_name_servers() -> None:
    """A container in an egress zone and an ingress with ACME ask public ones, all others their loopback."""
    site = load(with_egress(with_acme(configuration())))
    made = {each.name: [*map(str, runtime(site, each).name_servers)] for each in site.containers}
    assert {name for name, servers in made.items() if servers == ["9.9.9.9"]} == {
        "traefik",
        "paperless",
        "crawler",
    }
    assert {tuple(servers) for servers in made.values()} == {("9.9.9.9",), ("127.0.0.1",)}
    assert [*names.asks(site, endpoints_of(site))] == []


def test_a_container_is_asked_about_itself_and_the_outside(site: Topology) -> None:
    """Both questions go to the engine's name server in the container's own network."""
    asked = [(source, ask.kind, str(ask.address), ask.host) for source, ask in names.asks(site, loki(site))]
    assert asked == [("loki", "name", "127.0.0.11", name) for name in ("loki", "example.org")]


@pytest.mark.parametrize("outside", ["server failure", "silent"])
def test_no_answer_about_the_outside_agrees(site: Topology, outside: str) -> None:
    """It counts because the name server answered about the container itself."""
    found = judged(site, "open", outside, name_servers=("127.0.0.1",))
    assert (found.verdict, found.got) == (Verdict.AGREES, f"DENIED ({outside})")
    assert "own name" in found.control


def test_a_name_server_that_is_silent_proves_nothing(site: Topology) -> None:
    """Without an answer about the container itself the finding is inconclusive."""
    assert judged(site, "silent", "silent").verdict is Verdict.INCONCLUSIVE
    (found,) = names.judge(site, loki(site, fault="gone"), {})
    assert (found.verdict, found.cause) == (Verdict.INCONCLUSIVE, "gone")


def test_a_name_of_the_outside_disagrees(site: Topology) -> None:
    """An answer about the outside is found, and so are other name servers before anyone answers."""
    found = judged(site, "open", "open")
    assert (found.verdict, found.got) == (Verdict.DISAGREES, "ALLOWED")
    assert "other name servers" in found.cause
    for servers, said in (((), "its host's"), (("9.9.9.9",), "9.9.9.9")):
        found = judged(site, "open", "silent", name_servers=servers)
        assert (found.verdict, said in found.cause) == (Verdict.DISAGREES, True)


class _Names(BaseRequestHandler):
    def handle(self) -> None:
        query, sock = self.request
        code = {b"\x04here": 0, b"\x04gone": 3}.get(query[12:17], 2)
        sock.sendto(b"xx" + bytes(10), self.client_address)  # another question's
        sock.sendto(query[:2] + bytes((0x81, 0x80 | code)) + query[4:], self.client_address)


def test_the_agent_tells_an_answer_from_a_failure() -> None:
    """That a name does not exist is an answer; a server failure is none: an engine asked no other server."""
    with UDPServer(("127.0.0.1", 0), _Names) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ports = {**dict.fromkeys(("here", "gone", "fails"), server.server_address[1]), "shut": 1}
        ask = {"kind": "name", "address": "127.0.0.1", "within": 0}
        asks = [{**ask, "id": name, "port": port, "host": f"{name}.org"} for name, port in ports.items()]
        said = json.dumps({"ask": asks, "authorities": ""})
        done = subprocess.run(
            [sys.executable, "-I", AGENT], input=f"{{}}\n{said}\n", capture_output=True, text=True, check=True
        )
        server.shutdown()
    assert json.loads(done.stdout.splitlines()[1])["answers"] == {
        "here": "open", "gone": "open", "fails": "server failure", "shut": "refused",
    }  # fmt: skip
