"""The survey of recorded engines, served on a real socket: planted exposures, secrets, odd hosts."""

import copy
import http.server
import io
import json
import os
import socketserver
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from commands import survey as command
from survey import docker, machine, words
from survey.docker_api import DockerApi
from survey.errors import SurveyError
from survey.findings import Findings
from survey.machine import RunningMachine
from survey.site import RunningSite
from topology.model import Port
from topology.project import PROJECT

RECORDINGS = ("docker-1.41.json", "docker-1.55.json")
CANARY = "canary-4711"
"""A secret in the recordings: in environments, commands and labels."""
Answers = dict[str, Any]
PLANTED = {
    ("critical", "published", "redis", "6379/tcp"),
    ("critical", "published", "portainer", "9000/tcp"),
    ("critical", "published", "portainer", "9443/tcp"),
    ("critical", "owns-the-host", "portainer", "9000/tcp"),
    ("critical", "owns-the-host", "traefik", "80/tcp"),
    ("critical", "host-network", "node-exporter", "9100/tcp"),
    ("high", "host-network", "adguard", "53/udp, 3053/tcp"),
    ("high", "published", "grafana", "3000/tcp"),
    ("high", "published", "gluetun", "8081/tcp"),
    ("high", "published", "ollama", "11434/tcp"),
    ("high", "on-the-lan", "jellyfin", "8096/tcp"),
    ("high", "owns-the-host", "node-exporter", "9100/tcp"),
    ("high", "owns-the-host", "ollama", "11434/tcp"),
    ("high", "owns-the-host", "backup", "*"),
    ("high", "owns-the-host", "watchtower", "*"),
    ("high", "database-of-a-network", "db", "5432/tcp"),
    ("high", "database-of-a-network", "redis", "6379/tcp"),
    ("high", "host-port", "home", "9090/tcp"),
    ("medium", "database-of-a-network", "mongo", "27017/tcp"),
    ("medium", "routed-without-login", "grafana", "3000/tcp"),
    ("medium", "routed-without-login", "whoami", "80/tcp"),
    ("medium", "default-bridge", "bridge", "*"),
    ("low", "internal-reaches-host", "home", "22/tcp, 9090/tcp, 9100/tcp"),
}
"""Severity, rule, destination and port of each exposure that the recorded site has, on every engine."""


def recorded(name: str) -> Answers:
    """Return the answers of a recorded engine by path."""
    found: Answers = json.loads((Path(__file__).parent / "survey" / name).read_text())
    return found


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A local socket's server, a thread for each connection."""

    daemon_threads = True


@contextmanager
def served(answers: Mapping[str, Any], folder: Path | None) -> Iterator[tuple[str, list[str]]]:
    """Serve answers as an engine does, by TCP without a folder; yields the endpoint and the requests."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.client_address = ("", 0)
            super().handle_one_request()

        def do_GET(self) -> None:
            asked.append(self.requestline)
            answer = answers.get(self.path, {"message": "no such object"})
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server: socketserver.BaseServer
    if folder:
        endpoint, server = f"unix://{folder / 'docker.sock'}", Server(str(folder / "docker.sock"), Handler)
    else:
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        endpoint = f"tcp://127.0.0.1:{server.server_address[1]}"
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield endpoint, asked
        server.shutdown()


HERE = RunningMachine(
    addresses={IPv4Interface("192.0.2.1/24"): "lan0", IPv4Interface("172.17.0.1/16"): "docker0"},
    listeners=(
        (IPv4Address(0), Port(number=22)),
        (IPv4Address("127.0.0.1"), Port(number=3306)),
        (IPv4Address(0), Port(number=9090)),
        (IPv4Address(0), Port(number=6379)),
        (IPv4Address(0), Port(number=9100)),
    ),
)
"""A machine whose own programs serve SSH and Cockpit; the engine's proxy serves Redis, a container 9100."""


def surveyed(answers: Mapping[str, Any], folder: Path, here: RunningMachine | None = HERE) -> RunningSite:
    """Return the survey of an engine that gives these answers."""
    with served({**answers, "/info": {**answers["/info"], "Name": "home"}}, folder) as (endpoint, _):
        return RunningSite(docker.read(DockerApi(endpoint)), here)


@pytest.fixture(scope="module", params=RECORDINGS)
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunningSite:
    """The recorded site, on the host `home`."""
    return surveyed(recorded(request.param), tmp_path_factory.mktemp("engine"))


def test_every_planted_exposure_is_found_and_none_invented(home: RunningSite) -> None:
    """The findings are exactly what was planted; before 28 the port on loopback comes on top."""
    found = {(str(f.severity), f.rule, f.destination, f.port) for f in Findings(home).sorted()}
    old = home.docker.engine.numbers < (28, 0)
    assert found == PLANTED | ({("medium", "loopback-published", "pgadmin", "80/tcp")} if old else set())


def test_worst_comes_first(home: RunningSite) -> None:
    """Findings are sorted by severity, and each has a path and a change."""
    findings = Findings(home).sorted()
    assert [f.severity for f in findings] == sorted((f.severity for f in findings), reverse=True)
    assert [f for f in findings if not (f.path and f.change and f.sources)] == []


def test_the_change_is_the_line_to_write(home: RunningSite) -> None:
    """A compose service's change names its file, its service and the line, with the address closed."""
    (found,) = (f for f in Findings(home).sorted() if (f.rule, f.destination) == ("published", "redis"))
    assert found.change == (
        'in /srv/home/compose.yaml, service redis, write "127.0.0.1:6379:6379" below `ports` in place of '
        '"6379:6379", or remove it'
    )
    assert (found.sources, found.path) == (("lan",), "home:6379/tcp -> redis")


@pytest.mark.parametrize("recording", RECORDINGS)
def test_it_only_asks(recording: str, tmp_path: Path) -> None:
    """Every request is a GET."""
    with served(recorded(recording), tmp_path) as (endpoint, asked):
        docker.read(DockerApi(endpoint))
    assert len(asked) > 20
    assert {line.partition(" ")[0] for line in asked} == {"GET"}


def test_no_secret_leaves_the_decoder(home: RunningSite, capsys: pytest.CaptureFixture[str]) -> None:
    """The values of environments, commands and login labels are in no typed value and in no output."""
    findings = Findings(home).sorted()
    print(*words.lines(home, findings), json.dumps(words.data(home, findings)), repr(home), repr(home.facts))
    said = capsys.readouterr().out
    assert "redis" in said
    assert CANARY not in said
    assert all(CANARY in json.dumps(recorded(name)) for name in RECORDINGS)


def test_environments_are_dropped_while_decoding(tmp_path: Path) -> None:
    """No environment is in what the client returns, so no code behind it can print one."""
    answers = recorded(RECORDINGS[1])
    path = next(path for path, each in answers.items() if "/json" in path and _named(each, "db"))
    with served(answers, tmp_path) as (endpoint, _):
        config = DockerApi(endpoint).get(path)["Config"]
    assert ("Env" in answers[path]["Config"], "Env" in config) == (True, False)


def test_the_command_prints_both_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints lines, or JSON with findings, flows and what was not seen."""
    with served(recorded(RECORDINGS[1]), tmp_path) as (endpoint, _):
        assert command.main(["--docker", endpoint]) == 0
        text = capsys.readouterr().out
        assert command.main(["--docker", endpoint, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert "not seen:\n" in text
    assert set(data) == {"schema", "docker", "proxmox", "findings", "flows", "notSeen"}
    assert {"source", "destination", "port", "how", "path"} == set(data["flows"][0])
    assert any("its addresses" in each for each in data["notSeen"])


@pytest.mark.parametrize("form", [(), ("JSON=1",)])
def test_make_surveys_the_engine_of_the_environment(form: tuple[str, ...], tmp_path: Path) -> None:
    """`make survey` asks the engine that DOCKER_HOST names, and prints lines or JSON."""
    with served(recorded(RECORDINGS[0]), tmp_path) as (endpoint, _):
        done = subprocess.run(
            ["make", "survey", *form, "READY=", f"VENV={sys.prefix}"],
            cwd=PROJECT,
            env={**os.environ, "DOCKER_HOST": endpoint},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("redis:6379/tcp" in done.stdout, done.stdout.startswith("{")) == (not form, bool(form))


def test_200_containers_take_less_than_5_seconds(tmp_path: Path) -> None:
    """A host with 200 containers is surveyed in under 5 s."""
    answers = recorded(RECORDINGS[1])
    listed = [row for row in answers["/containers/json?all=1"] if row["State"] == "running"]
    many = {**answers, "/containers/json?all=1": []}
    for number in range(200):
        row = copy.deepcopy(listed[number % len(listed)])
        inspected = copy.deepcopy(answers[f"/containers/{row['Id']}/json"])
        row["Id"] = inspected["Id"] = f"{number:064x}"
        inspected["Name"] = f"/box-{number}"
        many["/containers/json?all=1"].append(row)
        many[f"/containers/{row['Id']}/json"] = inspected
    began = time.process_time()
    site = surveyed(many, tmp_path)
    assert len(Findings(site).sorted()) > 100
    print(*words.lines(site, Findings(site).sorted()))
    assert time.process_time() - began < 5


# ------------------------------------------------------------------------------------------- odd hosts


def changed(
    folder: Path, recording: str = RECORDINGS[1], here: RunningMachine | None = HERE, **changes: Any
) -> RunningSite:
    """Return the survey of a recorded engine with one container changed: `name` and what to set in it."""
    answers = recorded(recording)
    for name, change in changes.items():
        row = next(each for path, each in answers.items() if "/json" in path and _named(each, name))
        for at, value in change.items():
            *parents, last = at.split(".")
            inner = row
            for parent in parents:
                inner = inner[parent]
            inner[last] = value
    return surveyed(answers, folder, here)


def _named(row: Any, name: str) -> bool:
    return isinstance(row, dict) and row.get("Name") == f"/{name.replace('_', '-')}"


def rules(site: RunningSite, name: str) -> set[str]:
    """Return the rules of the findings on one container."""
    return {finding.rule for finding in Findings(site).sorted() if finding.destination == name}


def test_a_privileged_container_owns_the_host(tmp_path: Path) -> None:
    """A privileged container that is reached from outside is a critical finding."""
    site = changed(tmp_path, grafana={"HostConfig.Privileged": True})
    (found,) = (f for f in Findings(site).sorted() if (f.destination, f.rule) == ("grafana", "owns-the-host"))
    assert (str(found.severity), "privileged" in found.why) == ("critical", True)


def test_a_disconnected_container_reaches_nothing(tmp_path: Path) -> None:
    """A container that was taken off its last network is not on the default bridge."""
    site = changed(tmp_path, db={"NetworkSettings.Networks": {}})
    assert not any("db" in (flow.source, flow.destination) for flow in site.reachability.flows())


def test_a_container_may_have_the_name_of_its_host(tmp_path: Path) -> None:
    """A container called as its host, or `lan`, is told apart from it."""
    site = changed(tmp_path, db={"Name": "/home"}, redis={"Name": "/lan"})
    assert {"home", "home (container)", "lan", "lan (container)"} <= set(site.reachability.names)
    assert "published" in rules(site, "lan (container)")


def test_a_container_that_goes_meanwhile_is_left_out(tmp_path: Path) -> None:
    """A container that is removed between the list and its inspection is no error."""
    answers = recorded(RECORDINGS[1])
    (path,) = (path for path, each in answers.items() if "/json" in path and _named(each, "db"))
    del answers[path]
    assert "db" not in surveyed(answers, tmp_path).names


@pytest.mark.parametrize("answer", [[], {"Name": 1}, b"<html>"])
def test_another_program_on_the_socket_is_one_line(answer: Any, tmp_path: Path) -> None:
    """A program that answers, and is no Docker engine, is one line and no traceback."""
    paths = ("/version", "/info", "/containers/json?all=1", "/networks")
    with (
        served(dict.fromkeys(paths, answer), tmp_path) as (endpoint, _),
        pytest.raises(SurveyError, match=r"^unix://.*; set DOCKER_HOST to [^\n]+\.$"),
    ):
        docker.read(DockerApi(endpoint))


def test_a_lost_network_stack_counts_as_the_hosts(tmp_path: Path) -> None:
    """A container in the stack of one that is gone counts as one on the host's own network."""
    site = changed(tmp_path, qbittorrent={"HostConfig.NetworkMode": "container:" + "0" * 64})
    assert ("lan", "qbittorrent") in {(f.source, f.destination) for f in site.reachability.flows()}


def test_two_networks_may_have_one_name(tmp_path: Path) -> None:
    """Members of two networks with one name are not neighbours."""
    answers = recorded(RECORDINGS[1])
    (pair,) = (row for row in answers["/networks"] if row["Name"] == "pair")
    answers["/networks"].append({**pair, "Id": "f" * 64})
    (row,) = (each for path, each in answers.items() if "/json" in path and _named(each, "lone-app"))
    row["NetworkSettings"]["Networks"]["pair"]["NetworkID"] = "f" * 64
    flows = {(f.source, f.destination) for f in surveyed(answers, tmp_path).reachability.flows()}
    assert ("lone-app", "lone-db") not in flows


def test_an_isolated_network_hides_its_host_from_28_on(tmp_path: Path) -> None:
    """The gateway mode `isolated` closes the host on a new engine, and is ignored by an old one."""
    for recording, reached in zip(RECORDINGS, (True, False), strict=True):
        answers = recorded(recording)
        (store,) = (row for row in answers["/networks"] if row["Name"] == "store")
        store["Options"] = {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}
        flows = {(f.source, f.destination) for f in surveyed(answers, tmp_path).reachability.flows()}
        assert (("api", "home") in flows, ("adguard", "api") in flows) == (reached, reached)
        (tmp_path / "docker.sock").unlink()


def test_members_kept_apart_stay_apart_without_the_userland_proxy(tmp_path: Path) -> None:
    """Where a network keeps its members apart, a published port leads past it by the userland proxy alone."""
    for told, reached in (([["EnableUserlandProxy", "true"]], True), ([], False)):
        answers = recorded(RECORDINGS[1])
        answers["/info"]["FirewallBackend"] = {"Driver": "iptables", "Info": told}
        (app,) = (row for row in answers["/networks"] if row["Name"] == "app")
        app["Options"] = {"com.docker.network.bridge.enable_icc": "false"}
        flows = {(f.source, f.destination) for f in surveyed(answers, tmp_path).reachability.flows()}
        assert (("pgadmin", "ollama") in flows, ("redis", "ollama") in flows) == (reached, True)
        (tmp_path / "docker.sock").unlink()


def test_an_unprotected_network_opens_every_port(tmp_path: Path) -> None:
    """Members of a `nat-unprotected` network are reached from outside on every port."""
    answers = recorded(RECORDINGS[1])
    (pair,) = (row for row in answers["/networks"] if row["Name"] == "pair")
    pair["Options"] = {"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"}
    assert "unprotected-network" in rules(surveyed(answers, tmp_path), "lone-app")


def test_a_swarms_ingress_port_is_published(tmp_path: Path) -> None:
    """A port that a Swarm service publishes by the routing mesh counts for its local containers."""
    answers = recorded(RECORDINGS[1])
    answers["/info"]["Swarm"] = {"LocalNodeState": "active", "ControlAvailable": True}
    port = {"Protocol": "tcp", "TargetPort": 5432, "PublishedPort": 15432, "PublishMode": "ingress"}
    answers["/services"] = [{"ID": "s1", "Endpoint": {"Ports": [port]}}]
    (row,) = (each for path, each in answers.items() if "/json" in path and _named(each, "db"))
    row["Config"]["Labels"]["com.docker.swarm.service.id"] = "s1"
    site = surveyed(answers, tmp_path)
    assert "published" in rules(site, "db")
    assert any("swarm" in each for each in site.unseen)


@pytest.mark.parametrize(
    ("path", "change", "words_of_it"),
    [
        ("/networks", {"EnableIPv6": True}, "IPv6 of network"),
        ("/networks", {"Driver": "weave"}, "its driver weave is not known"),
        ("/version", {"Components": [{"Name": "Podman Engine"}]}, "Podman's firewall"),
        ("/info", {"SecurityOptions": ["name=rootless"]}, "rootless engine"),
    ],
)
def test_what_is_not_judged_is_told(
    path: str, change: dict[str, Any], words_of_it: str, tmp_path: Path
) -> None:
    """What the survey does not follow is in the list of what was not seen."""
    answers = recorded(RECORDINGS[1])
    target = (
        next(row for row in answers[path] if row["Name"] == "app") if path == "/networks" else answers[path]
    )
    target.update(change)
    assert any(words_of_it in each for each in surveyed(answers, tmp_path).unseen)


def test_containers_that_do_not_run_are_told(home: RunningSite) -> None:
    """Containers that are not running reach nothing and are counted."""
    assert "old-stack" not in home.names
    assert any(each.startswith("containers that are not running (1)") for each in home.unseen)


def test_the_rules_of_others_are_counted_not_judged(tmp_path: Path) -> None:
    """Rules that Docker did not make are counted by chain; an open FORWARD is told on an old engine."""
    text = "*filter\n:FORWARD ACCEPT [0:0]\n:DOCKER - [0:0]\n-A INPUT -s 192.0.2.0/24 -j DROP\n"
    text += "-A FORWARD -o docker0 -j DOCKER\n-A DOCKER-USER -j RETURN\n-A DOCKER-USER -j DROP\nCOMMIT\n"
    here = RunningMachine(addresses=HERE.addresses, rules=text)
    told = " ".join(surveyed(recorded(RECORDINGS[0]), tmp_path, here).unseen)
    assert ("1 rules in INPUT" in told, "1 rules in DOCKER-USER" in told) == (True, True)
    assert ("FORWARD that" in told, "forwards by default" in told) == (False, True)


def test_a_public_address_lets_the_internet_in(tmp_path: Path) -> None:
    """On a host with a public address the internet is a source; behind a router it is told as not seen."""
    public = RunningMachine(addresses={IPv4Interface("8.8.4.4/24"): "eth0", **HERE.addresses})
    site = surveyed(recorded(RECORDINGS[1]), tmp_path, public)
    assert {"internet", "lan-eth0", "lan-lan0"} <= set(site.outsides)
    (tmp_path / "docker.sock").unlink()
    private = surveyed(recorded(RECORDINGS[1]), tmp_path)
    assert private.outsides == ("lan",)
    assert ("grafana", "internet") in {(f.source, f.destination) for f in private.reachability.flows()}
    assert any(each.startswith("the router") for each in private.unseen)


def test_listeners_are_read_as_the_kernel_writes_them() -> None:
    """IPv4 listeners, IPv6 ones for all addresses and mapped ones are found; connections are not."""
    head = "  sl  local_address rem_address   st\n"
    tcp = "   0: 0100007F:0CEA 00000000:0000 0A\n   1: 00000000:0016 00000000:0000 0A\n"
    tcp += "   2: 010200C0:0016 020200C0:D431 01\n"
    six = f"   0: {'0' * 32}:0050 {'0' * 32}:0000 0A\n   1: {'0' * 24}01000000:0051 {'0' * 32}:0000 0A\n"
    udp = "   0: 00000000:0035 00000000:0000 07\n   1: 010200C0:A000 020200C0:0035 01\n"
    files = {"tcp": tcp, "tcp6": six, "udp": udp}
    found = [each for name, lines in files.items() for each in machine.listeners(name, head + lines)]
    assert [f"{address}:{port}" for address, port in found] == [
        "127.0.0.1:3306/tcp",
        "0.0.0.0:22/tcp",
        "0.0.0.0:80/tcp",
        "0.0.0.0:53/udp",
    ]


@pytest.mark.parametrize("endpoint", ["unix:///nonexistent/docker.sock", "unix://{folder}/dead.sock"])
def test_an_engine_that_does_not_answer_is_one_line(
    endpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine that does not answer is one line with its endpoint and a remedy, and status 2."""
    (tmp_path / "dead.sock").touch()
    assert command.main(["--docker", endpoint.format(folder=tmp_path)]) == 2
    said = capsys.readouterr().err
    assert (said.count("\n"), said.startswith("unix://"), "; set DOCKER_HOST" in said) == (1, True, True)


def test_an_engine_on_tcp_is_the_worst(tmp_path: Path) -> None:
    """A listener on 2375 is a critical finding on the host."""
    here = RunningMachine(addresses=HERE.addresses, listeners=((IPv4Address(0), Port(number=2375)),))
    found = Findings(surveyed(recorded(RECORDINGS[1]), tmp_path, here)).sorted()[0]
    assert (str(found.severity), found.rule, found.destination) == ("critical", "engine-on-tcp", "home")


def test_traefiks_files_are_read_out_of_its_container(tmp_path: Path) -> None:
    """A router of a dynamic file is a way in, and one with a login in a file is no finding."""
    text = """
http:
  routers:
    open: {rule: "Host(`a`)", service: db}
    shut: {rule: "Host(`b`)", service: api, middlewares: [staff]}
  services:
    db: {loadBalancer: {servers: [{url: "http://db:5432"}]}}
    api: {loadBalancer: {servers: [{url: "http://blog:80"}]}}
  middlewares:
    staff: {basicAuth: {usersFile: /users}}
"""
    answers = recorded(RECORDINGS[1])
    (row,) = (each for path, each in answers.items() if "/json" in path and _named(each, "traefik"))
    row["Args"].append("--providers.file.directory=/rules")
    answers["/containers/traefik/archive?path=/rules"] = _tar("rules/a.yml", text)
    found = Findings(surveyed(answers, tmp_path)).sorted()
    routed = {f.destination for f in found if f.rule == "routed-without-login"}
    assert ("db" in routed, "blog" in routed) == (True, False)


def _tar(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
