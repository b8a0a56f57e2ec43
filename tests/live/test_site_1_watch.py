"""Monitoring on the running dev stack: quiet while it is sound, and the matching alert for each fault."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lab import paths
from lab.daemon import Process
from rendered import host_rules
from rendered.apps import watch
from rendered.apps.watch import ProbeKind
from tests.live.site import PROJECT, Site, command, eventually, make
from topology.config import from_file

TOPOLOGY = from_file(PROJECT / "Pulumi.dev.yaml")
PROBES = watch.probes(TOPOLOGY)
EXPORTER = TOPOLOGY.services["node-exporter"]
WITHIN = 60
"""Seconds in which an alert fires: two probes of 5 s, their evaluation, a container's start."""


def query(site: Site, expression: str) -> list[dict[str, Any]]:
    """Return the result vector of a query through Prometheus UI; empty while it does not answer."""
    answer = site.get("prometheus", f"/api/v1/query?query={quote(expression)}", user="admin")
    return list(answer.json()["data"]["result"]) if answer.status == 200 else []


def firing(site: Site) -> set[tuple[str, str]]:
    """Return the firing alerts about Docker-SRV, each with its subject."""
    return {(name, about) for name, about in alerts(site) if not name.startswith("Verify")}


def alerts(site: Site) -> set[tuple[str, str]]:
    """Return every alert that fires now; ALERTS shows one that a restart ended for five more minutes."""
    answer = site.get("prometheus", "/api/v1/alerts", user="admin")
    found = answer.json()["data"]["alerts"] if answer.status == 200 else []
    return {
        (one["labels"]["alertname"], one["labels"].get("service", ""))
        for one in found
        if one["state"] == "firing"
    }


def answers(site: Site) -> dict[str, str]:
    """Return the last answer to each probe, by the probe's name."""
    found = query(site, 'probe_success{job="probe"}')
    return {f"{one['metric']['kind']} {one['metric']['service']}": one["value"][1] for one in found}


def sound(site: Site) -> bool:
    """Whether every probe gives the expected answer and no alert fires."""
    wanted = {f"{p.kind} {p.service}": "0" if p.kind is ProbeKind.CLOSED else "1" for p in PROBES}
    return answers(site) == wanted and firing(site) == set()


def test_every_target_is_up(site: Site) -> None:
    """Node Exporter and cAdvisor are scraped, and so is the exporter for each probe."""

    def up() -> bool:
        found = query(site, "count by (job) (up == 1)")
        jobs = {one["metric"]["job"]: int(one["value"][1]) for one in found}
        return jobs == {"node-exporter": 1, "cadvisor": 1, watch.JOB: len(PROBES)}

    eventually("all targets up", up)


def test_a_sound_stack_is_quiet(site: Site) -> None:
    """Routes, redirect and 404 are as declared, no backend port answers, the control does; no alert fires."""
    eventually("every probe as declared", lambda: sound(site))
    rules = site.get("prometheus", "/api/v1/rules", user="admin").json()["data"]["groups"]
    assert {rule["name"] for group in rules for rule in group["rules"]} == {
        rule["alert"]
        for group in watch.rules(TOPOLOGY)["groups"]  # type: ignore[attr-defined]
        for rule in group["rules"]
    }
    assert [rule for group in rules for rule in group["rules"] if rule["health"] != "ok"] == []


@contextmanager
def published(site: Site) -> Iterator[None]:
    """Run a second Node Exporter with its port published by hand."""
    image = str(EXPORTER.image)
    site.docker("run", "--detach", "--name", "rogue", "--network", "edge", "--publish", "9100:9100", image)
    try:
        yield
    finally:
        site.docker("rm", "--force", "rogue")


@contextmanager
def stopped(site: Site, container: str) -> Iterator[None]:
    """Stop a container inside the block."""
    site.docker("stop", container)
    try:
        yield
    finally:
        site.docker("start", container)


@contextmanager
def unplugged(_site: Site) -> Iterator[None]:
    """Unplug Site-1's card inside the block."""
    assert command("ip", "link", "set", "tap101i0", "down").returncode == 0
    try:
        yield
    finally:
        command("ip", "link", "set", "tap101i0", "up")


@contextmanager
def three(site: Site) -> Iterator[None]:
    """Publish a backend port, stop a container behind a route, and cut off a guest behind another."""
    with ExitStack() as broken:
        for sabotage in (published(site), stopped(site, "grafana"), unplugged(site)):
            broken.enter_context(sabotage)
        yield


@contextmanager
def hidden(_site: Site) -> Iterator[None]:
    """Drop what leaves the probe zone's bridge: the probe sees no published port any more."""
    rule = ("DOCKER-USER", "--in-interface", "br-probe", "!", "--out-interface", "br-probe", "--jump", "DROP")
    subprocess.run(("iptables", "--wait", "--insert", *rule), check=True)
    try:
        yield
    finally:
        subprocess.run(("iptables", "--wait", "--delete", *rule), check=True)


def user_rules() -> list[str]:
    """Return the rules about the probe zone in DOCKER-USER."""
    listed = command("iptables", "--wait", "-S", "DOCKER-USER").stdout.splitlines()
    return [line for line in listed if "br-probe" in line]


Sabotage = Callable[[Site], AbstractContextManager[None]]
SABOTAGES: dict[str, tuple[Sabotage, set[tuple[str, str]]]] = {
    "a port is published, a container stopped, a guest cut off": (
        three,
        {("BackendPortAnswers", "node-exporter"), ("RouteFails", "grafana"), ("RouteFails", "site-1")},
    ),
    "the exporter stops": (lambda site: stopped(site, "blackbox-exporter"), {("ProbeSilent", "")}),
    "the probe is blind": (
        hidden,
        {("ControlFails", "traefik"), ("IngressAnswersWrongly", "traefik")}
        | {("RouteFails", route.service) for route in TOPOLOGY.routes},
    ),
}


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_an_alert_fires_and_ends(site: Site, sabotage: str) -> None:
    """A fault fires the matching alert and no other in time, and the alert ends after the repair."""
    make_it, expected = SABOTAGES[sabotage]
    eventually("quiet before", lambda: sound(site))
    with make_it(site):
        eventually(sabotage, lambda: firing(site) == expected, seconds=WITHIN)
    eventually("quiet again", lambda: sound(site), seconds=WITHIN)


def test_a_restart_of_core_is_quiet(site: Site) -> None:
    """A restart of Prometheus Core ends in quiet: no alert fires because data is young."""
    site.docker("restart", "prometheus")
    eventually("quiet after the restart", lambda: sound(site), seconds=WITHIN)


def test_core_gains_no_way_by_watching(site: Site) -> None:
    """Prometheus Core reaches the published port, but no listener on the host or elsewhere."""

    def inside(name: str) -> str:
        return f"/proc/{site.docker('inspect', '--format', '{{.State.Pid}}', name).strip()}/ns/net"

    def address(name: str, network: str) -> str:
        form = f"{{{{(index .NetworkSettings.Networks {json.dumps(network)}).IPAddress}}}}"
        return site.docker("inspect", "--format", form, name).strip()

    def connects(where: str, address: str, port: int) -> bool:
        script = f"import socket; socket.create_connection(({address!r}, {port}), 2)"
        return command("nsenter", f"--net={where}", "python3", "-c", script).returncode == 0

    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104  # a service of the host
        assert connects(inside("prometheus"), "172.30.4.1", 443)
        for own, there, port in (
            ("/proc/self/ns/net", "172.30.4.1", listener.getsockname()[1]),
            (inside("traefik"), address("traefik", "edge"), 443),
            (inside("grafana"), address("grafana", "frontend"), 3000),
        ):
            assert connects(own, there, port), f"{there}:{port} does not listen"
            assert not connects(inside("prometheus"), there, port), f"{there}:{port}"


def test_verify_leaves_its_metrics(site: Site, tmp_path: Path) -> None:
    """Prometheus returns the live probe's results; the monitoring containers' are as expected."""
    file = tmp_path / "verify.json"
    words = ("-m", "commands", "verify", "--metrics", "--json", str(file))
    command(f"{PROJECT}/.venv/bin/python", *words, environment=site.environment)
    found = json.loads(file.read_text())

    def told() -> dict[str, int]:
        series = query(site, "verify_last_run_cells")
        return {one["metric"]["verdict"]: int(one["value"][1]) for one in series}

    watchers = {"prometheus", "blackbox-exporter", "stranger@probe"}
    seen = [c for c in found["cells"] if c["source"] in watchers and c["destination"] == "docker-srv"]
    assert {(c["what"].rpartition(":")[2], c["got"].split()[0], c["verdict"]) for c in seen} == {
        ("80/tcp", "ALLOWED", "agrees"),
        ("443/tcp", "ALLOWED", "agrees"),
        ("*/tcp", "DENIED", "agrees"),
    }
    eventually("the run's counts", lambda: told() == found["counts"])
    wrong = {"VerifyDisagrees"} if found["counts"]["disagrees"] else set()
    wrong |= {"VerifyInconclusive"} if found["counts"]["inconclusive"] else set()

    eventually("the alerts of the run", lambda: {name for name, _ in alerts(site)} == wrong)


def test_grafana_shows_the_dashboard(site: Site) -> None:
    """The dashboard is provisioned; only admin sees it, and its data source exists."""
    assert site.get("grafana", "/api/search").status == 401
    (found,) = site.get("grafana", "/api/search", user="admin").json()
    board = site.get("grafana", f"/api/dashboards/uid/{found['uid']}", user="admin").json()
    assert (found["title"], board["meta"]["provisioned"]) == ("Isolation", True)
    assert board["dashboard"] == json.loads((PROJECT / "rendered/apps/isolation.json").read_text())
    assert site.get("grafana", "/api/dashboards/uid/nosuch", user="admin").status == 404


def test_a_restart_of_docker_leaves_the_view(site: Site) -> None:
    """After the engine ended and `make up` started it, each rule exists once, and all is quiet."""
    before = user_rules()
    assert len(before) == 2
    file = paths.RUN / "docker.pid"
    engine = Process.of(int(file.read_text()))
    assert engine
    engine.end(grace=30)
    assert make("up").returncode == 0
    assert Process.of(int(file.read_text())) not in {None, engine}
    assert user_rules() == before
    eventually("quiet after the restart", lambda: sound(site), seconds=WITHIN)


def test_what_is_taken_away_comes_back_by_one_command(site: Site) -> None:
    """The command that docs/watch.md gives for a reboot restores each rule once."""
    subprocess.run(host_rules.close_probes(TOPOLOGY), shell=True, check=True)  # noqa: S602  # our own text
    assert user_rules() == []
    done = site.pulumi("up", "--yes", "--replace", "**::probe-rules", "--policy-pack", "policies/serve")
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(user_rules()) == 2
