"""Monitoring: probes from the flows, host commands, metrics of a run, systemd's units."""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from commands import verify as command
from rendered import host_rules, verify_timer
from rendered.apps import runtime, watch
from rendered.apps.watch import ProbeKind, WatchProbe
from tests.policies.sound import run
from tests.site import changed
from tests.unit.test_components import dev  # noqa: F401  # a fixture
from topology.config import load
from topology.model import Container, Port, Topology
from verify import report
from verify.verdicts import ProbeFinding, Verdict

PROJECT = Path(__file__).resolve().parents[2]


def of(probes: tuple[WatchProbe, ...], kind: ProbeKind) -> list[tuple[str, str, str]]:
    """Return service, target and host of the probes of a kind."""
    return [(probe.service, probe.target, probe.host) for probe in probes if probe.kind is kind]


def test_every_route_is_asked_by_its_name(site: Topology) -> None:
    """Each declared route has a probe of Docker-SRV's port 443 with the service's host name."""
    assert of(watch.probes(site), ProbeKind.ROUTE) == [
        (route.service, "https://172.30.4.1/", route.host) for route in site.routes
    ]


def test_every_port_behind_the_ingress_must_not_answer(site: Topology) -> None:
    """Each port of each container but the ingress has a probe that must fail, beside one control probe."""
    ports = {
        (c.name, f"172.30.4.1:{p.number}", "") for c in site.containers if c.app != "traefik" for p in c.ports
    }
    assert set(of(watch.probes(site), ProbeKind.CLOSED)) == ports
    assert len(ports) == 8
    assert of(watch.probes(site), ProbeKind.CONTROL) == [("traefik", "172.30.4.1:443", "")]


def test_what_docker_srvs_own_programs_answer_is_not_asked() -> None:
    """Port 22 of a forge, and a port that Docker-SRV declares as its own, say nothing about the container."""
    forge = {"zones": ["backend"], "image": "forge:1", "ports": [22, 3000, 9443]}
    host = {"hosts.docker-srv.closed": True, "hosts.docker-srv.ports": [9443]}
    own = {"flows[+]": "management -> docker-srv:9443/tcp"}
    site = load(changed({"services.forge": forge, **host, **own}))
    closed = [target for name, target, _ in of(watch.probes(site), ProbeKind.CLOSED) if name == "forge"]
    assert closed == ["172.30.4.1:3000"]


def test_the_ingresss_own_answers_are_asked(site: Topology) -> None:
    """Port 80 is probed with a route's name, 443 with an unknown name."""
    first = site.routes[0].host
    assert of(watch.probes(site), ProbeKind.REDIRECT) == [("traefik", "http://172.30.4.1/", first)]
    unknown = ("traefik", "https://172.30.4.1/", "nobody.homelab.localhost")
    assert of(watch.probes(site), ProbeKind.UNKNOWN_HOST) == [unknown]


def test_docker_srv_is_asked_where_it_publishes(site: Topology) -> None:
    """Where Docker-SRV has an address, it is the target, because ports are not published on the gateway."""
    docker = site.docker.model_copy(update={"address": IPv4Address("10.10.1.5")})
    targets = {probe.target for probe in watch.probes(site.model_copy(update={"docker_hosts": (docker,)}))}
    assert all("10.10.1.5" in target for target in targets)


def test_a_site_without_a_probe_zone_watches_nothing() -> None:
    """Without the probe zone and its exporter there are no probes, no rules about them, no host command."""
    gone = {
        "zones.probe": "<gone>",
        "services.blackbox-exporter": "<gone>",
        "services.prometheus.zones": ["query", "backend"],
        "flows[14]": "<gone>",
    }
    site = load(changed(gone))
    assert watch.probes(site) == ()
    assert [group["name"] for group in watch.rules(site)["groups"]] == ["verify"]  # type: ignore[attr-defined]
    assert "probe" not in host_rules.rules(site)


def test_a_port_that_is_published_by_declaration_may_answer(site: Topology) -> None:
    """A container port with the number of a published port is not probed: the ingress answers there."""
    service = site.services["loki"].model_copy(update={"ports": (Port(number=443), Port(number=3100))})
    other = site.model_copy(update={"services": {**site.services, "loki": service}})
    closed = [target for name, target, _ in of(watch.probes(other), ProbeKind.CLOSED) if name == "loki"]
    assert closed == ["172.30.4.1:3100"]


def test_alerts_wait_for_two_probes() -> None:
    """One key sets the interval of probes and of rules, and how long an alert waits."""
    site = load(changed({"hosts.docker-srv.probe-every": "1m", "hosts.docker-srv.verify-every": "1h"}))
    groups: Any = watch.rules(site)["groups"]
    assert {group["interval"] for group in groups} == {"60s"}
    assert {rule["for"] for group in groups for rule in group["rules"]} == {"120s"}
    (age,) = (r["expr"] for g in groups for r in g["rules"] if r["alert"] == "VerifyTooOld")
    assert "> 7200 or" in age
    prometheus = site.services["prometheus"]
    assert isinstance(prometheus, Container)
    assert "scrape_interval: 60s" in str(runtime(site, prometheus).files["/etc/prometheus/prometheus.yml"])


def test_the_dashboard_is_provisioned(dev: Any) -> None:  # noqa: F811
    """Grafana's provider reads the dashboard's folder, and each query uses a known metric."""
    uploads = {u["file"]: u["content"] for u in dev.of(":Container")["grafana"]["uploads"]["value"]}
    assert "path: /etc/grafana/dashboards" in uploads["/etc/grafana/provisioning/dashboards/site.yaml"]
    board = json.loads(uploads["/etc/grafana/dashboards/isolation.json"])
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    known = ("probe_success", "verify_last_run_", "ALERTS")
    assert (board["uid"], len(queries)) == ("isolation", 9)
    assert all(any(name in query for name in known) for query in queries)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


# ------------------------------------------------------------------------------------- host commands


def shell(text: str, folder: Path, **programs: str) -> list[str]:
    """Run a command with replaced programs; return their calls."""
    log = folder / "calls"
    log.write_text("")
    for name, body in programs.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{log}\n{body}\n')
        program.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", text], env={"PATH": path}, check=True, capture_output=True)
    return log.read_text().splitlines()


THROUGH = [
    "-i br-probe -m conntrack --ctstate DNAT -j ACCEPT",
    "-o br-probe -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
]
TABLE = "nft list table ip docker-bridges"


def test_docker_is_asked_once_for_each_rule(site: Topology, tmp_path: Path) -> None:
    """An existing rule is not added again, and removing a missing rule succeeds."""
    there = shell(host_rules.open_probes(site), tmp_path, nft="exit 1", iptables="exit 0")
    assert there == [TABLE, *(f"iptables --wait -C DOCKER-USER {rule}" for rule in THROUGH)]
    absent = shell(host_rules.open_probes(site), tmp_path, nft="exit 1", iptables='[ "$2" = -I ]')
    assert absent == [TABLE, *(f"iptables --wait -{a} DOCKER-USER {r}" for r in THROUGH for a in "CI")]
    gone = shell(host_rules.close_probes(site), tmp_path, nft="exit 1", iptables="exit 1")
    assert gone == [TABLE, *(f"iptables --wait -D DOCKER-USER {rule}" for rule in THROUGH)]


def test_the_nftables_backend_needs_no_rule(site: Topology, tmp_path: Path) -> None:
    """Where Docker uses its own nftables table, iptables is not called."""
    for write in (host_rules.open_probes, host_rules.check_probes, host_rules.close_probes):
        assert shell(write(site), tmp_path, nft="exit 0", iptables="exit 1") == [TABLE]


def test_a_rule_that_can_not_be_put_there_fails(site: Topology, tmp_path: Path) -> None:
    """Without DOCKER-USER the command fails, because the probes would not work."""
    with pytest.raises(subprocess.CalledProcessError):
        shell(host_rules.open_probes(site), tmp_path, nft="exit 1", iptables="exit 1")


@pytest.mark.parametrize("missing", range(3))
def test_every_rule_is_looked_for(site: Topology, tmp_path: Path, missing: int) -> None:
    """The check succeeds only if both rules exist."""
    first, second = (f'[ "$*" = "--wait -C DOCKER-USER {rule}" ]' for rule in THROUGH)
    answer = [f"{first} || {second}", second, first][missing]
    if missing:
        with pytest.raises(subprocess.CalledProcessError):
            shell(host_rules.check_probes(site), tmp_path, nft="exit 1", iptables=answer)
    else:
        shell(host_rules.check_probes(site), tmp_path, nft="exit 1", iptables=answer)


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for unit files instead of this machine's."""
    folder = tmp_path / "units"
    folder.mkdir()
    monkeypatch.setattr(verify_timer, "UNITS", str(folder))
    return folder


TIMED = load(changed({"hosts.docker-srv.verify-every": "1h"}))


def test_the_timer_is_installed_and_removed_twice(units: Path, tmp_path: Path) -> None:
    """Installing again changes no file, removing leaves none, and removing again succeeds."""
    for _ in range(2):
        calls = shell(verify_timer.script(TIMED, "home"), tmp_path, systemctl="exit 0")
        assert [file.name for file in sorted(units.iterdir())] == [
            "homelab-network-verify.service",
            "homelab-network-verify.timer",
        ]
        assert (units / "homelab-network-verify.service").read_text() == verify_timer.service(TIMED, "home")
        assert calls[0] == "systemctl daemon-reload"
        assert calls[-1] == "systemctl restart homelab-network-verify.timer"
    for body in ("exit 0", '[ "$1" = daemon-reload ]'):
        shell(verify_timer.remove(TIMED), tmp_path, systemctl=body)
        assert list(units.iterdir()) == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd to ask")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` accepts both units."""
    project = tmp_path / "project"
    (project / ".venv/bin").mkdir(parents=True)
    shutil.copy("/bin/true", project / ".venv/bin/python")
    docker = TIMED.docker.model_copy(update={"project": str(project)})
    site = TIMED.model_copy(update={"docker_hosts": (docker,)})
    for end, text in (("service", verify_timer.service(site, "home")), ("timer", verify_timer.timer(site))):
        (tmp_path / f"homelab-network-verify.{end}").write_text(text)
    files = [str(file) for file in tmp_path.glob("homelab-network-verify.*")]
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, [w for w in done.stderr.splitlines() if "homelab-network" in w]) == (0, [])


def test_the_timer_is_there_only_where_it_is_asked_for() -> None:
    """The dev stack registers no timer; a stack with `verify-every` registers the rendered one."""
    names = {each.name for each in run(changed({}))}
    assert "verify-timer" not in names
    (made,) = (r for r in run(changed({"hosts.docker-srv.verify-every": "1h"})) if r.name == "verify-timer")
    assert made.inputs["stdin"] == verify_timer.script(TIMED, "dev")
    assert (made.inputs["create"], made.inputs["delete"]) == (
        verify_timer.INSTALL,
        verify_timer.remove(TIMED),
    )


# ------------------------------------------------------------------------------- metrics of the last run


def finding(verdict: Verdict) -> ProbeFinding:
    """Return a cell with a verdict."""
    return ProbeFinding(
        source="a", destination="b", what="a -> b:1/tcp", where="", expected="DENIED", got="DENIED",
        verdict=verdict, cause="",
    )  # fmt: skip


RUN = report.ProbeReport(
    stack="dev",
    seconds=12.345,
    findings=[finding(Verdict.AGREES), finding(Verdict.AGREES), finding(Verdict.FREE)],
)


def test_metrics_say_what_the_run_said() -> None:
    """The metrics are time, duration and success of the run, and the number of cells of every verdict."""
    lines = report.as_metrics(RUN, 1_700_000_000.4).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'verify_last_run_timestamp_seconds{stack="dev"} 1700000000',
        'verify_last_run_duration_seconds{stack="dev"} 12.35',
        'verify_last_run_good{stack="dev"} 1',
        *(
            f'verify_last_run_cells{{stack="dev",verdict="{verdict}"}} {number}'
            for verdict, number in RUN.counts.items()
        ),
    ]
    assert Counter(line.split()[1] for line in lines if line.startswith("#")) == {"HELP": 4, "TYPE": 4}


def test_metrics_are_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics file is replaced in one step, readable by Node Exporter, with no other .prom file."""
    seen: list[list[str]] = []
    replace: Callable[..., Path] = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(sorted(file.name for file in tmp_path.iterdir()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    monkeypatch.setattr(command, "_probed", lambda *_: RUN)
    file = tmp_path / "verify.prom"
    assert command.main(["--metrics", str(file)]) == 0
    assert seen == [["verify.prom.new"]]
    assert [file.name for file in tmp_path.iterdir()] == ["verify.prom"]
    assert file.stat().st_mode & 0o777 == 0o644
    assert "verify_last_run_good" in file.read_text()


def test_metrics_go_where_node_exporter_reads_them(
    site: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default the metrics go to the folder that Node Exporter mounts, which is created."""
    docker = site.docker.model_copy(update={"metrics": str(tmp_path / "metrics")})
    there = site.model_copy(update={"docker_hosts": (docker,)})
    exporter = there.services["node-exporter"]
    assert isinstance(exporter, Container)
    assert runtime(there, exporter).host_paths["/host/metrics"] == docker.metrics
    monkeypatch.setattr(command, "from_file", lambda _file: there)
    monkeypatch.setattr(command, "_probed", lambda *_: RUN)
    assert command.main(["--metrics"]) == 0
    assert (tmp_path / "metrics/verify.prom").exists()


def test_a_run_that_can_not_begin_leaves_the_metrics_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input ends with 2 and writes nothing, so that the alert about an old run still fires."""
    assert command.main(["--stack", "nosuch", "--metrics", str(tmp_path / "verify.prom")]) == 2
    assert "nosuch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
