"""The pre-flight's readers on real sockets, processes, disks and repositories, and the command as a whole."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest
import yaml

from commands.preflight import import_file, main, needs
from lab import tls
from lab.__main__ import main as lab_main
from lab.proxmox.api import ARCHIVE
from preflight import checks, daemon, docker, engine, links, machine, proxmox, proxmox_firewall, wanted
from preflight.docker import Listener, Machine, PlannedSite, There
from preflight.docker_api import DockerApi
from preflight.finding import Check
from preflight.state import PulumiState
from tests.clone import git
from tests.policies.sound import run as program
from tests.policies.sound import with_acme
from tests.policies.test_nodes import keys as cluster
from tests.site import configuration, put
from tests.unit import test_survey
from tests.unit.test_lab_proxmox import Ask, add_container, add_machine, served
from tests.unit.test_preflight_messages import (
    DATA,
    MESSAGES,
    NODE,
    NOW,
    STACK,
    VLANS,
    Answers,
    container,
    exported,
    guest,
    kind,
    network,
    recorded,
    site,
    topology,
    vlan,
    with_container,
)
from topology.config import load
from topology.model import MARK, Port
from topology.project import PROJECT
from verify.driver import ProbeError

ENGINES = sorted(file.stem for file in DATA.glob("*.json"))
NAMED = {
    wanted.CONTAINER,
    wanted.NETWORK,
    wanted.VOLUME,
    wanted.GUEST,
    wanted.SYSTEM_CONTAINER,
    wanted.GROUP,
    wanted.ALIAS,
    wanted.BRIDGE,
}


@pytest.fixture(scope="module", name="made")
def _made() -> PulumiState:
    """Return the state after an update of the dev site; ids are `<name>-id`."""
    return PulumiState.of(exported())


# ---------------------------------------------------------------- the table and the messages


def test_every_check_has_a_message_that_is_tested() -> None:
    """Every check has a test of its exact message here or in test_preflight_messages."""
    here = {Check.SPACE, Check.STACK_UNKNOWN, Check.RUN_IN_PROGRESS}
    assert {each["check"] for each in MESSAGES.values()} | here == set(Check)


def test_the_documents_table_has_every_check() -> None:
    """docs/preflight.md explains every check and no other."""
    text = (PROJECT / "docs/preflight.md").read_text(encoding="utf-8")
    below = text.partition("## What is looked for")[2].partition("\n## ")[0]
    firsts = [line.split("|")[1] for line in below.splitlines() if line.startswith("| `")]
    assert [name for first in firsts for name in re.findall(r"`([a-z-]+)`", first)] == list(Check)


def test_the_plugins_api_is_that_of_the_client_it_is_built_with() -> None:
    """The Docker plugin's API version is that of the client it is built with: 1.51 for client 28.5.2."""
    pins = (PROJECT / "lab/toolchain/go/docker/go.mod").read_text()
    assert re.findall(r"github.com/docker/docker (\S+)", pins) == ["v28.5.2+incompatible"]
    assert engine.PLUGIN_API == "1.51"


# ---------------------------------------------------------------- the engine

DESCRIBED = {
    name: told["line"] for name in ENGINES if (told := json.loads((DATA / f"{name}.json").read_text()))
}


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_shown_in_one_line(name: str) -> None:
    """The engine's line shows version, firewall, storage, data root, API, security options and warnings."""
    assert engine.describe(recorded(name)) == DESCRIBED[name]


def test_the_line_of_a_newer_engine_says_that_it_is_untested() -> None:
    """An engine newer than 29 is reported as untested, not refused."""
    newer = dataclasses.replace(recorded("engine-29.5.0"), version="30.1.0")
    assert engine.describe(newer).startswith("Docker 30.1.0 (newer than 29: untested) on docker-srv")
    assert list(engine.refusals(newer, topology())) == []


def test_the_process_tells_of_the_userland_proxy_where_the_engine_does_not() -> None:
    """For engines before 29.5, which don't report the userland proxy, it is read from the command line."""
    told = daemon.Daemon(userland_proxy=False)
    assert "userland proxy off" in engine.describe(recorded("engine-20.10.24"), told)
    assert "userland proxy on" in engine.describe(recorded("engine-29.5.0"), told)


@pytest.mark.parametrize("name", ["engine-20.10.24", "engine-29.5.0"])
def test_a_usual_engine_is_not_refused(name: str) -> None:
    """A usual engine passes: iptables or nftables, graph driver or containerd's store, default settings."""
    assert list(engine.refusals(recorded(name), topology(), daemon.Daemon())) == []


@pytest.mark.parametrize(
    ("name", "told", "rules"),
    [
        ("engine-20.10.24", None, [":DOCKER-USER - [0:0]\n", ""]),
        ("engine-20.10.24", None, []),
        ("engine-20.10.24", daemon.Daemon(iptables=False), [""]),
        ("engine-29.5.0", None, [""]),
        ("podman-5.4.2", None, [""]),
    ],
)
def test_an_engine_without_chains_of_iptables_is_not_missed(
    name: str, told: daemon.Daemon | None, rules: list[str]
) -> None:
    """No finding where the chain is there, nothing can be read, or the engine has none for another reason."""
    assert list(engine.other_iptables(recorded(name), told, rules)) == []


def test_every_fault_of_an_engine_is_told_at_once() -> None:
    """Every unsafe setting of an engine is a finding of one run."""
    told = daemon.Daemon(iptables=False, direct_routing=True, no_raw_rules=True, network_options=("a",))
    found = [each.check for each in engine.refusals(recorded("engine-27.5.1"), topology(), told)]
    assert found == [
        Check.ENGINE_GATEWAY_MODE,
        Check.ENGINE_IPTABLES,
        Check.ENGINE_DIRECT_ROUTING,
        Check.ENGINE_NETWORK_OPTIONS,
        Check.ENGINE_RAW_RULES,
    ]


def test_configured_pools_of_ipv4_are_read() -> None:
    """The IPv4 address pools of an engine's configuration are read; IPv6 pools are left out."""
    pools = [{"Base": "10.10.0.0/16", "Size": 24}, {"Base": "fd00::/64", "Size": 80}]
    assert recorded("engine-27.5.1", DefaultAddressPools=pools).pools == (IPv4Network("10.10.0.0/16"),)


@pytest.mark.parametrize(
    ("words", "file", "iptables", "routing", "proxy"),
    [
        (["dockerd"], {}, True, False, True),
        (["dockerd", "--iptables=false", "--userland-proxy=0"], {}, False, False, False),
        (["dockerd", "--iptables", "--allow-direct-routing"], {}, True, True, True),
        (["dockerd"], {"iptables": False, "userland-proxy": False}, False, False, False),
        (["dockerd"], {"iptables": True, "allow-direct-routing": True}, True, True, True),
        (["dockerd", "--ip6tables=false", "--allow-direct-routing=F"], {}, True, False, True),
    ],
)
def test_settings_are_read_as_the_engine_reads_them(
    words: list[str], file: Mapping[str, Any], *, iptables: bool, routing: bool, proxy: bool
) -> None:
    """Settings are read from the command line, with Go's spellings of booleans, or the configuration file."""
    found = daemon.settings(words, {}, Path("x.json"), file)
    assert (found.iptables, found.direct_routing, found.userland_proxy) == (iptables, routing, proxy)
    assert daemon.settings([], {}, Path("x.json"), {"ip-forward": False}).ip_forward is False


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["--default-network-opt=bridge=b.mtu=1400", "--default-network-opt=overlay=c.mtu=1"], {}),
        (["--default-network-opt", "bridge=b.mtu=1400", "--debug"], {}),
        ([], {"default-network-opts": {"bridge": {"b.mtu": "1400"}, "overlay": {"c.mtu": "1"}}}),
    ],
)
def test_options_of_every_new_bridge_are_read(words: list[str], file: Mapping[str, Any]) -> None:
    """Default options are read from the command line in both forms and the file, those of bridges alone."""
    assert daemon.settings(words, {}, Path("x.json"), file).network_options == ("b.mtu",)


LISTEN = """\
#!{python}
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_process_behind_a_socket_is_read(tmp_path: Path) -> None:
    """For a dockerd that listens on the socket, arguments, environment and configuration file are read."""
    program, listens, config = tmp_path / "dockerd", tmp_path / "docker.sock", tmp_path / "daemon.json"
    program.write_text(LISTEN.format(python=sys.executable))
    program.chmod(0o700)
    config.write_text('{"iptables": false}')
    words: list[Path | str] = [program, listens, "--config-file", config, "--allow-direct-routing"]
    with subprocess.Popen(
        words, env={daemon.RAW: "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == b"ready\n"
        found = daemon.read(str(listens))
        running.communicate()
    assert found is not None
    assert (found.iptables, found.direct_routing, found.no_raw_rules) == (False, True, True)
    assert (found.place("iptables"), found.place("allow-direct-routing")) == (
        str(config),
        "dockerd's command line",
    )


def test_another_process_is_not_taken_for_the_engine(tmp_path: Path) -> None:
    """A process that listens on the socket but is not dockerd has no engine settings."""
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert daemon.read(path, tmp_path) is None


@contextmanager
def answering(folder: Path, answers: Mapping[str, Any]) -> Iterator[DockerApi]:
    """Serve an API with these answers on its own socket; other paths give 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers
            self.send_response(200 if known else 404)
            self.end_headers()
            if known:
                self.wfile.write(json.dumps(answers[self.path]).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def address_string(self) -> str:
            return "here"

    path = folder / "docker.sock"
    with ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield DockerApi(f"unix://{path}")
        finally:
            server.shutdown()
            thread.join()


def answers(name: str, containers: Any = (), networks: Any = (), volumes: Any = None) -> dict[str, Any]:
    """Return the answers of a recorded engine, with the given containers, networks and volumes."""
    told = json.loads((DATA / f"{name}.json").read_text())
    return {
        "/version": told["version"],
        "/info": told["info"] | {"SystemTime": datetime.now(UTC).isoformat()},
        "/networks": [*told["networks"], *networks],
        "/containers/json?all=1": list(containers),
        "/volumes": {"Volumes": volumes, "Warnings": None},
    }


def test_an_engine_is_read_over_its_socket(tmp_path: Path) -> None:
    """The engine is read over its socket without a version in the path, so that no field is left out."""
    with answering(tmp_path, answers("engine-29.5.0")) as api:
        assert engine.read(api).firewall_backend == "nftables"
        with pytest.raises(ProbeError, match=r"docker\.sock: answers 404 Not Found$"):
            api.get("/nosuch")


def test_a_socket_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    """A missing socket is one fault with its path and reason, without a traceback."""
    with pytest.raises(ProbeError, match=r"^unix:///\S+: No such file or directory$"):
        DockerApi(f"unix://{tmp_path}/none.sock").get("/info")


@pytest.mark.skipif(not shutil.which("docker"), reason="needs the docker command")
def test_an_engine_elsewhere_is_read_through_the_docker_command() -> None:
    """With any DOCKER_HOST `docker system dial-stdio` passes on the request and the whole answer."""
    with test_survey.served(answers("engine-29.5.0"), None) as (endpoint, _):
        assert DockerApi(endpoint).get("/info")["FirewallBackend"]["Driver"] == "nftables"
    with pytest.raises(ProbeError, match=r"^tcp://127\.0\.0\.1:1: "):
        DockerApi("tcp://127.0.0.1:1").get("/info")


# ---------------------------------------------------------------- Docker-SRV


@pytest.mark.parametrize("acme", [False, True])
@pytest.mark.usefixtures("authority")
def test_wanted_names_are_those_of_the_program(*, acme: bool) -> None:
    """Every named resource has the URN and name that the program gives it, and none is missing."""
    config = with_acme(configuration()) if acme else configuration()
    config["services"]["jellyfin"] |= {"kind": "lxc", "ostemplate": "local:vztmpl/debian-12.tar.zst"}
    site = load(config)
    made = {
        (each.urn, each.inputs.get("name") or each.inputs["initialization"]["hostname"])
        for each in program(config)
        if each.type in NAMED
    }
    lists = [wanted.containers(site), wanted.networks(site), wanted.volumes(site), wanted.groups(site)]
    lists += [wanted.aliases(site), wanted.bridges(site), [each for _, each in wanted.guests(site)]]
    assert {(each.urn("dev"), each.physical) for some in lists for each in some} == made


@pytest.mark.usefixtures("authority")
def test_an_app_with_data_has_its_volume_in_the_table() -> None:
    """Alloy in Promtail's place has the volume that the program gives it."""
    config = configuration()
    config["services"]["promtail"] |= {"app": "alloy"}
    made = {each.inputs["name"] for each in program(config) if each.type == wanted.VOLUME}
    assert {each.physical for each in wanted.volumes(load(config))} == made


@pytest.mark.usefixtures("authority")
def test_declared_volumes_are_in_the_table() -> None:
    """A declared volume is the stack's, and `make down` removes it; an external one and a folder are not."""
    config = configuration()
    config["volumes"] = {"films": {"external": True}}
    config["services"]["grafana"]["volumes"] = ["plugins:/plugins", "films:/films", "/srv/shared:/shared:ro"]
    made = {each.inputs["name"] for each in program(config) if each.type == wanted.VOLUME}
    assert "grafana-plugins" in made
    assert {each.physical for each in wanted.volumes(load(config))} == made


@pytest.mark.usefixtures("authority")
def test_the_stacks_own_is_not_in_the_way(made: PulumiState) -> None:
    """Containers, networks, volumes, bridges and ports of the last update are no conflict, nor is docker0."""
    all_of = {kind: [each for each in made.resources if each.type == kind] for kind in NAMED}
    ports = [{"IP": "0.0.0.0", "PublicPort": port, "Type": "tcp"} for port in (80, 443)]  # noqa: S104
    there = There(
        containers=[
            container(each.inputs["name"], identity=each.id, Ports=ports if "traefik" in each.urn else [])
            for each in all_of[wanted.CONTAINER]
        ],
        networks=[
            network(
                each.inputs["name"],
                each.inputs["ipamConfigs"][0]["subnet"],
                each.inputs["options"].get("com.docker.network.bridge.name", ""),
                Id=each.id,
            )
            for each in all_of[wanted.NETWORK]
        ],
        volumes=[{"Name": f"{each.urn.rpartition('::')[2]}"} for each in all_of[wanted.VOLUME]],
    )
    state = dataclasses.replace(
        made,
        resources=tuple(
            dataclasses.replace(each, id=each.inputs["name"]) if each.type == wanted.VOLUME else each
            for each in made.resources
        ),
    )
    ours = site(state)
    listening = [Listener(address="0.0.0.0", port=Port.parse(80), process="docker-proxy", pid=9)]  # noqa: S104
    there_too = {"br-edge", "br-frontend", "lo"}
    assert len(there.containers) == 10
    assert list(docker.taken(ours, there)) == []
    assert list(docker.bridges(ours, there, there_too)) == []
    assert list(docker.prefixes(ours, there, Machine())) == []
    assert list(docker.ports(ours, there, listening)) == []


@pytest.mark.usefixtures("authority")
def test_a_half_made_thing_is_in_the_way_unless_it_is_cleared_up() -> None:
    """A container left by a killed run is a conflict, except for a caller that removes it."""
    (urn,) = [each.urn(STACK) for each in wanted.containers(topology()) if each.name == "loki"]
    pending = [{"type": "creating", "resource": {"urn": urn}}]
    state = PulumiState.of({"deployment": {"pending_operations": pending}})
    there = There(containers=[container("loki")])
    assert [each.path for each in docker.taken(site(state), there)] == ["container loki"]
    resuming = dataclasses.replace(site(state), ignored=state.creating)
    assert list(docker.taken(resuming, there)) == []


@pytest.mark.usefixtures("authority")
@pytest.mark.parametrize(("made", "number"), [("08:00:50Z", 0), ("08:02:00Z", 1), ("07:00:00Z", 1)])
def test_a_half_made_volume_is_known_by_its_time(made: str, number: int) -> None:
    """A volume of a killed run's name is the run's only if it was made at that time: no other mark tells."""
    (urn,) = [each.urn(STACK) for each in wanted.volumes(topology()) if each.physical == "loki-data"]
    state = PulumiState(creating=frozenset({urn}), time=datetime(2026, 11, 1, 8, tzinfo=UTC))
    there = There(volumes=[{"Name": "loki-data", "CreatedAt": f"2026-11-01T{made}"}])
    for ignored in (frozenset[str](), state.creating):
        ours = dataclasses.replace(site(state), ignored=ignored)
        assert [each.path for each in docker.taken(ours, there)] == number * ["volume loki-data"]


@pytest.mark.usefixtures("authority")
def test_routes_that_are_the_projects_own_do_not_count() -> None:
    """The lab's and probe's unreachable routes, the default route and routes of own addresses don't count."""
    listed: list[dict[str, Any]] = [
        {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"},
        {"dst": "172.30.0.0/24", "dev": "br-edge", "protocol": "kernel", "metric": 0},
        {"type": "unreachable", "dst": "172.30.1.0/24", "metric": 4_278_255_360},
        {"type": "unreachable", "dst": "172.30.2.0/24", "metric": 4_278_255_361},
        {"type": "unreachable", "dst": "172.30.3.0/24", "metric": 100},
    ]
    assert list(docker.routes(listed)) == [(IPv4Network("172.30.3.0/24"), "unreachable")]


@pytest.mark.usefixtures("authority")
def test_a_route_to_a_vlan_is_how_docker_srv_gets_there() -> None:
    """A route to a VLAN through a router does not conflict with the VLAN's prefix, in the lab neither."""
    ways = Machine(routes=[(IPv4Network("10.10.20.0/24"), "via 10.0.0.1 dev eth0")])
    assert list(docker.prefixes(site(), There(), ways)) == []
    in_the_lab = dataclasses.replace(site(), lab=True)
    assert list(docker.prefixes(in_the_lab, There(), ways)) == []


SS = """\
tcp   LISTEN 0      4096     127.0.0.1:80    0.0.0.0:*    users:(("nginx",pid=812,fd=6),("nginx",pid=813))
tcp   LISTEN 0      4096                 *:443             *:*    users:(("caddy",pid=9,fd=3))
udp   UNCONN 0      0        127.0.0.53%lo:53        0.0.0.0:*
tcp   LISTEN 0      4096              [::]:80           [::]:*    users:(("six",pid=4,fd=3))
"""


def test_listening_processes_are_read() -> None:
    """Address, port and first process are read from each line of ss; without root there is no process."""
    assert list(docker.listeners(SS)) == [
        Listener(address="127.0.0.1", port=Port.parse("80/tcp"), process="nginx", pid=812),
        Listener(address="*", port=Port.parse("443/tcp"), process="caddy", pid=9),
        Listener(address="127.0.0.53", port=Port.parse("53/udp")),
        Listener(address="::", port=Port.parse("80/tcp"), process="six", pid=4),
    ]


@pytest.mark.usefixtures("authority")
@pytest.mark.parametrize(("address", "number"), [("0.0.0.0", 2), ("192.168.10.5", 1)])  # noqa: S104
def test_a_port_is_taken_on_the_address_alone(address: str, number: int) -> None:
    """A port conflicts only on the same address: not on loopback, and not on IPv6 alone."""
    ours = site(docker_srv={"address": address})
    assert len(list(docker.ports(ours, There(), docker.listeners(SS)))) == number


def test_a_port_on_an_ipv4_address_of_an_ipv6_socket_is_taken() -> None:
    """A Java program listens on `[::ffff:192.0.2.1]:443`, beside which Docker can't publish 443."""
    line = 'tcp LISTEN 0 50 [::ffff:192.0.2.1]:443 *:* users:(("java",pid=7,fd=3))'
    (found,) = docker.ports(site(), There(), docker.listeners(line))
    assert (found.path, found.fault) == ("port 443/tcp", "taken by java (process 7)")


def test_a_containers_own_name_is_found_beside_those_of_links() -> None:
    """`docker run --name app --link grafana:db` gives grafana a second name, which the engine lists first."""
    linked = container("grafana", Names=["/app/db", "/grafana"])
    (found,) = docker.taken(site(), There(containers=[linked]))
    assert found.path == "container grafana"


@pytest.mark.usefixtures("authority")
def test_the_table_of_a_killed_run_is_the_stacks(made: PulumiState) -> None:
    """The rules' table is the stack's where the state has the rules, or they name the stack's bridges."""
    name = "inet homelab-network"
    assert list(docker.tables(site(made), {name: ""})) == []
    assert list(docker.tables(site(), {name: 'iifname { "br-backend", "br-edge" } drop'})) == []
    assert len(list(docker.tables(site(), {name: ""}))) == 1


@pytest.mark.usefixtures("authority")
def test_the_tables_of_a_killed_run_for_legs_are_the_stacks(made: PulumiState) -> None:
    """A table for legs is the stack's if the state has them or it names a leg; a longer name is another's."""
    name = "netdev homelab-network-eth1"
    assert list(docker.tables(site(made), {name: ""})) == []
    assert list(docker.tables(site(), {name: "ip daddr { 10.10.10.2, 10.10.20.2 } goto leg"})) == []
    assert list(docker.tables(site(), {f"{name}-of-another-stack": ""})) == []
    assert len(list(docker.tables(site(), {name: "ip daddr 10.10.10.20 goto leg"}))) == 1


@pytest.mark.usefixtures("authority")
def test_interfaces_that_carry_legs_as_they_are() -> None:
    """An access port of a leg's name carries the legs, and so does its VLAN's interface."""
    assert list(links.of_legs(topology(), VLANS)) == []


@pytest.mark.usefixtures("authority")
def test_an_interface_below_another_namespaces_carries_legs() -> None:
    """A VLAN's interface carries the legs where its parent, in another namespace, has no name for `ip`."""
    inside = {key: value for key, value in vlan(20).items() if key != "link"} | {"link_netnsid": 0}
    assert list(links.of_legs(topology(), VLANS | {"trunk.20": inside})) == []


def test_a_bridge_of_others_is_told_only_where_it_would_lose_frames(tmp_path: Path) -> None:
    """No finding for a bridge without ports, of Docker, accepted, or whose frames meet the rules already."""
    br0, port = kind("bridge"), kind("tun", master="br0")
    drop, accept = ":FORWARD DROP [0:0]\n", "-A LIBVIRT_FWX -i br0 -o br0 -j ACCEPT\n"
    off, on = (str(tmp_path / name) for name in ("off", "on"))
    Path(off).write_text("0\n")
    Path(on).write_text("1\n")
    assert list(links.bridged({"br0": br0}, [drop], (), [off])) == []
    assert list(links.bridged({"br0": br0, "vnet0": port}, [drop], {"br0"}, [off])) == []
    for one in (
        accept,
        "-A DOCKER-USER -o br0 -j ACCEPT\n",
        "-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT\n",
    ):
        assert list(links.bridged({"br0": br0, "vnet0": port}, [drop + one, drop + one], (), [off])) == []
    assert list(links.bridged({"br0": br0, "vnet0": port}, [drop], (), [on])) == []
    assert list(links.bridged({"br0": kind("bond"), "eth0": port}, [drop], (), [off])) == []
    assert len(list(links.bridged({"br0": br0, "vnet0": port}, [drop + accept, drop], (), [on, off]))) == 1


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("*filter\n:FORWARD ACCEPT [0:0]\n", 0),
        ("", 0),
        ("*mangle\n:FORWARD ACCEPT [0:0]\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n", 1),
        (":FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n", 1),
        (":FORWARD ACCEPT [0:0]\n-A FORWARD -i eth0 -j DROP\n", 0),
        (":FORWARD DROP [0:0]\n-A INPUT -i br0 -j ACCEPT\n", 1),
        (":FORWARD DROP [0:0]\n-A FORWARD -i br01 -o br01 -j ACCEPT\n", 1),
        (":FORWARD DROP [0:0]\n-A FORWARD -i br0 -o br0 -p tcp -j ACCEPT\n", 1),
        (':FORWARD DROP [0:0]\n-A FORWARD -i br0 -o br0 -m comment --comment "my machines" -j ACCEPT\n', 0),
    ],
)
def test_a_bridge_of_others_loses_frames_where_forward_is_closed(rules: str, told: int) -> None:
    """A bridge is told if FORWARD drops what no rule accepts, and none accepts all that passes within it."""
    found = {"br0": kind("bridge"), "vnet0": kind("tun", master="br0")}
    assert len(list(links.bridged(found, [rules], (), ["none"]))) == told


def test_a_vpns_default_route_is_no_zones() -> None:
    """A VPN's two halves of the default route are less specific than every zone, as the default route is."""
    halves = [{"dst": half, "dev": "tun0"} for half in ("0.0.0.0/1", "128.0.0.0/1")]
    assert list(docker.routes([*halves, {"dst": "default", "dev": "eth0"}])) == []


@pytest.mark.skipif(not shutil.which("docker"), reason="needs the docker command")
def test_the_labs_engine_on_a_port_is_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With DOCKER_HOST=tcp://127.0.0.1:2375 the lab looks at interfaces, processes and dockerd, too."""
    monkeypatch.setattr(daemon, "read", lambda _path: daemon.Daemon(iptables=False))
    told = answers("engine-29.5.0")
    told["/info"]["Name"] = socket.gethostname()
    with test_survey.served(told, None) as (endpoint, _):
        api = DockerApi(endpoint)

        def report(*, lab: bool) -> checks.PreflightReport:
            return checks.check_hosts(topology(), PulumiState(), stack=STACK, api=api, node=None, lab=lab)

        assert Check.ENGINE_IPTABLES in {each.check for each in report(lab=True).findings}
        assert report(lab=True).left_out == ()
        assert len(report(lab=False).left_out) == 1


def test_this_machine_is_read() -> None:
    """A port on which this process listens is found with its process id, and so is the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = docker.read_machine()
        port = Port(number=server.getsockname()[1])
    mine = [each for each in here.listeners if each.port == port]
    assert [(each.address, each.pid) for each in mine] == [("127.0.0.1", os.getpid())]
    assert "lo" in here.links


# ---------------------------------------------------------------- Proxmox-SRV


@pytest.mark.usefixtures("authority")
def test_a_node_with_what_the_stack_made_is_free(made: PulumiState) -> None:
    """Guests, groups, aliases and the bridge of the last update do not conflict with the next update."""
    full = dataclasses.replace(
        NODE,
        guests=(*NODE.guests, *(guest(number, "ours") for number in (101, 102, 201, 202, 301))),
        groups=({"group": "site-1"}, {"group": "jellyfin"}),
        aliases=({"name": "ingress-vlan10"},),
        networks=(*NODE.networks, {"iface": "vmbr1", "type": "bridge"}),
    )
    assert list(proxmox.findings(site(made), full)) == []


class Lab:
    """Reads the lab's Proxmox API."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def get(self, path: str) -> Any:
        """Return the answer's data."""
        return self._ask("GET", f"/{path}")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Return a caller of the lab's Proxmox API, as `served` yields it."""
    monkeypatch.setattr("lab.paths.STATE", tmp_path / "state")
    monkeypatch.setattr("lab.paths.RUN", tmp_path / "run")
    with served(tmp_path / "proxmox.json", []) as (caller, _):
        yield caller


@pytest.mark.usefixtures("authority")
def test_a_node_is_asked_for_everything_once(ask: Ask) -> None:
    """The lab's Proxmox API, which refuses what the token may not do, answers every question."""
    found = proxmox.read(site(), Lab(ask))
    assert isinstance(found, proxmox.Node)
    assert list(proxmox.findings(site(), found)) == []
    ask("POST", "/nodes/pve1/qemu", vmid="101", name="web")
    ask("POST", "/nodes/pve1/qemu/9000/clone", newid="102", full="1", description=f"{MARK}: other")
    ask("POST", "/nodes/pve1/qemu/9000/clone", newid="201", full="1", description=f"x\n{MARK}: {STACK}")
    found = proxmox.read(site(), Lab(ask))
    assert isinstance(found, proxmox.Node)
    assert [each.path for each in proxmox.findings(site(), found)] == ["vmid 101", "vmid 102", "vmid 201"]
    assert found.ours == {201}

    def report(*, lab: bool) -> checks.PreflightReport:
        api = DockerApi("unix:///nowhere.sock")
        return checks.check_hosts(topology(), PulumiState(), stack=STACK, api=api, node=Lab(ask), lab=lab)

    assert [each.path for each in report(lab=False).in_the_way] == ["vmid 101", "vmid 102", "vmid 201"]
    assert [each.check for each in report(lab=True).findings[1:]] == [Check.STATE_LOST]


@pytest.mark.usefixtures("authority")
def test_a_guest_that_the_datacenters_switch_would_cut_off_is_told(ask: Ask) -> None:
    """A guest of others is told if its firewall is on without a rule, and the datacenter's is off."""

    def told() -> list[str]:
        listed = [guest(vmid, "nas") for vmid in (501, 502)]
        found = proxmox_firewall.read(site(), Lab(ask), listed)
        return [each.path for each in proxmox_firewall.findings(site(), found, listed)]

    place = "/nodes/pve1/qemu/501"
    for vmid in (501, 502):
        add_machine(ask, vmid)
    assert told() == []
    ask("PUT", f"{place}/firewall/options", enable=1)
    assert told() == []
    ask("PUT", f"{place}/config", net0="virtio,bridge=vmbr0,firewall=1")
    assert told() == ["vmid 501"]
    ask("PUT", f"{place}/firewall/options", policy_in="ACCEPT")
    assert told() == []
    ask("PUT", f"{place}/firewall/options", policy_in="DROP")
    ask("POST", f"{place}/firewall/rules", type="in", action="ACCEPT")
    assert told() == []
    ask("DELETE", f"{place}/firewall/rules/0")
    ask("PUT", "/cluster/firewall/options", enable=1)
    assert told() == []


@pytest.mark.usefixtures("authority")
def test_rules_of_the_stack_are_not_in_its_way(made: PulumiState) -> None:
    """Rules that are there are told unless the state has the list, or the caller clears a killed run's."""
    firewall = proxmox_firewall.Firewall(rules={"cluster/firewall/rules": 2})
    assert list(proxmox_firewall.findings(site(made), firewall, ())) == []
    (urn,) = [urn for urn in made.urns if urn.endswith("RulesLegacy::datacenter")]
    resuming = dataclasses.replace(site(), ignored=frozenset({urn}))
    assert list(proxmox_firewall.findings(resuming, firewall, ())) == []
    assert len(list(proxmox_firewall.findings(site(), firewall, ()))) == 1


@pytest.mark.usefixtures("authority")
def test_a_node_is_asked_for_templates_and_containers(ask: Ask) -> None:
    """Templates on the storages that guests name are found, and a container of a lost state is known."""

    def look(archive: str) -> tuple[proxmox.Node, list[str]]:
        declared = with_container(ostemplate=archive)
        found = proxmox.read(declared, Lab(ask))
        assert isinstance(found, proxmox.Node)
        return found, [f"{each.check} {each.path}" for each in proxmox.findings(declared, found)]

    there = f"local:{ARCHIVE}"
    found, said = look(there)
    assert (found.archives, said) == (frozenset({there}), [])
    path = "homelab-network:services.jellyfin.ostemplate"
    assert look("local:vztmpl/debian-99.tar.zst")[1] == [f"template-missing {path}"]
    add_container(ask, 201, start=0, description=f"x\n{MARK}: {STACK}")
    found, said = look(there)
    assert (found.ours, said) == (frozenset({201}), ["vm-taken vmid 201"])


@pytest.mark.usefixtures("authority")
def test_an_id_of_a_guest_that_is_not_listed_is_asked_for() -> None:
    """A VM id that Proxmox calls taken is a conflict, even if the token can't see the guest."""
    paths = ["storage", "network", "qemu", "lxc"]
    known: dict[str, Any] = {f"nodes/pve1/{path}": [] for path in paths}
    known |= {f"cluster/firewall/{path}": [] for path in ("groups", "aliases", "ipset", "rules")}
    known |= {"cluster/firewall/options": {}}
    known |= {"nodes": [{"node": "pve1"}], "nodes/pve1/time": {"time": int(NOW.timestamp())}}
    known |= {f"cluster/nextid?vmid={number}": str(number) for number in (101, 102, 201, 301)}
    found = proxmox.read(site(), Answers(known))
    assert isinstance(found, proxmox.Node)
    assert (found.hidden, found.clock) == (frozenset({202}), NOW)


@pytest.mark.usefixtures("authority")
def test_what_is_missing_on_another_node_is_told() -> None:
    """Bridge, template, storage and clock are asked of each node; what a cluster shares is asked once."""
    config = cluster()
    config["hosts"]["pve-3"]["bridge"] = "vmbr9"
    planned = PlannedSite(topology=load(config), state=PulumiState(), stack=STACK)
    storages = [{"storage": name, "content": "images"} for name in ("ceph", "tank")]
    known: dict[str, Any] = {f"cluster/firewall/{path}": [] for path in ("groups", "aliases", "ipset")}
    known |= {"nodes": [{"node": name} for name in ("pve1", "pve2", "pve3")]}
    known |= {"cluster/firewall/options": {"enable": 1}}
    for name in ("pve1", "pve2", "pve3"):
        known |= {f"nodes/{name}/{path}": [] for path in ("qemu", "lxc", "firewall/rules")}
        known |= {f"nodes/{name}/storage": storages, f"nodes/{name}/time": {"time": NOW.timestamp()}}
        known |= {f"nodes/{name}/network": [{"iface": "eno1", "type": "eth"}]}
    known["nodes/pve1/qemu"] = [guest(9000, "template")]
    known["nodes/pve2/network"] = [{"iface": "vmbr7", "type": "bridge"}, {"iface": "eno2", "type": "eth"}]
    known |= {f"cluster/nextid?vmid={number}": str(number) for number in (101, 102, 201, 202, 301)}
    found = proxmox.read(planned, Answers(known))
    assert isinstance(found, proxmox.Node)
    bridge = "homelab-network:hosts.pve-3.existing-bridge"
    assert [str(each).partition("; ")[0] for each in proxmox.findings(planned, found)] == [
        "bridge vmbr7 of pve2: taken by a bridge",
        "homelab-network:hosts.pve-2.template: 9001 is no VM of node pve2",
        f"{bridge}: says that vmbr9 exists, and node pve3 has no such bridge",
    ]
    del known["nodes"][2]
    unknown = proxmox.read(planned, Answers(known))
    assert str(unknown).startswith("homelab-network:hosts.pve-3.node: pve3 is no node of this Proxmox")


# ---------------------------------------------------------------- the machine


def test_a_full_disk_is_told_with_what_it_is_needed_for(tmp_path: Path) -> None:
    """Needs on one disk are summed and listed in the message; the folders need not exist yet."""
    free = shutil.disk_usage(tmp_path).free // 2**20
    needs = [
        machine.Need(folder=tmp_path / "cache/x", mib=free, what="what is built"),
        machine.Need(folder=tmp_path / "state", mib=64, what="the state"),
    ]
    (found,) = machine.space(needs)
    told = re.sub(r"\d+ MiB free", "N MiB free", str(found))
    parts = f"{free} for what is built in {tmp_path}/cache/x, 64 for the state in {tmp_path}/state"
    assert told == (
        f"disk of {tmp_path}: N MiB free, {free + 64} needed ({parts}); "
        "free some, or put one of the folders on another disk"
    )
    assert list(machine.space(needs[1:])) == []


@pytest.mark.usefixtures("authority")
def test_the_labs_routes_cut_no_session_off() -> None:
    """In the lab hosts on a VLAN's prefix count, too; a connection to a container of the stack never does."""
    here = Machine(
        addresses={IPv4Interface("172.30.0.1/24"): "br-edge"},
        peers=[IPv4Address("10.10.20.7"), IPv4Address("172.30.0.2")],
    )

    def told(*, lab: bool) -> list[str]:
        return [each.path for each in docker.prefixes(dataclasses.replace(site(), lab=lab), There(), here)]

    assert told(lab=False) == []
    assert told(lab=True) == ["homelab-network:zones.apps.prefix"]


@pytest.mark.usefixtures("authority")
def test_a_stack_that_is_made_needs_little_space() -> None:
    """After the first `up` a disk too full for a tool chain and images does not keep a stack from changes."""
    assert [each.what for each in needs(topology())] == ["the tool chain", "the state", "images"]
    assert [each.what for each in needs(topology(), made=True)] == ["the state"]


def test_root_is_asked_for_where_something_needs_it() -> None:
    """Root gets no finding, nor does another user where nothing needs root."""
    assert list(machine.root(0, "make up", "it starts an engine")) == []
    assert list(machine.root(1000, "make up", "")) == []


def test_clocks_a_minute_apart_are_told() -> None:
    """A clock earlier than a known time is a finding; a difference of one minute is not."""
    assert list(machine.clock(NOW, {"x": NOW - timedelta(days=400), "y": NOW + timedelta(seconds=50)})) == []
    assert list(machine.clock(NOW, {})) == []
    assert list(machine.clocks_apart("pve", NOW, NOW + timedelta(seconds=59))) == []
    assert len(list(machine.clocks_apart("pve", NOW, NOW + timedelta(seconds=61)))) == 1


def test_certificates_say_when_it_is_at_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ingress's certificate, the authority's and the last update each give a time that is past."""
    monkeypatch.setattr("lab.paths.STATE", tmp_path)
    monkeypatch.setenv("HOMELAB_STATE", str(tmp_path))
    tls.leaf("ingress", ["homelab.localhost"])
    known = machine.known_times(topology(), PulumiState.of(exported()))
    files = {f"{tmp_path}/tls/ingress.crt", f"{tmp_path}/tls/ca.crt"}
    assert set(known) == {"the last update of the stack", *files}
    assert all(abs(datetime.now(UTC) - known[file]) < timedelta(days=2) for file in files)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hone", "Pulumi.hone.yaml: no such stack file; STACK=home is meant, or write the file"),
        ("xyzzy", "Pulumi.xyzzy.yaml: no such stack file; name one of dev, home"),
    ],
)
def test_a_wrong_stack_is_told_the_nearest(tmp_path: Path, name: str, told: str) -> None:
    """For an unknown stack name the nearest name is suggested, or all names; a known stack has no finding."""
    for stack in ("dev", "home"):
        (tmp_path / f"Pulumi.{stack}.yaml").touch()
    assert [str(each) for each in machine.stack_unknown(name, tmp_path)] == [told]
    assert list(machine.stack_unknown("home", tmp_path)) == []


def test_make_names_the_nearest_stack(capsys: pytest.CaptureFixture[str]) -> None:
    """`make up STACK=dve` ends with the same line, before anything else."""
    assert lab_main(["up", "--stack", "dve"]) == 1
    told = "Pulumi.dve.yaml: no such stack file; STACK=dev is meant, or write the file"
    assert capsys.readouterr().err == f"up: {told}\n"


@pytest.mark.usefixtures("authority")
def test_a_file_with_all_that_is_protected_is_no_old_one() -> None:
    """A complete file has no finding; one without a protected service that the state has is reported."""
    assert list(machine.stack_file_lacks(topology(), PulumiState.of(exported(protect=True)), STACK)) == []
    less = topology().model_copy(
        update={"services": {k: v for k, v in topology().services.items() if k != "loki"}}
    )
    (found,) = machine.stack_file_lacks(less, PulumiState.of(exported(protect=True)), STACK)
    assert found.fault == "lacks service loki, whose volume the stack has and protects"
    assert list(machine.stack_file_lacks(less, PulumiState.of(exported()), STACK)) == []


def test_a_file_from_before_the_last_update_is_told(tmp_path: Path) -> None:
    """A stack file older than the last update's commit is reported, unless it was changed since."""
    file = tmp_path / "Pulumi.dev.yaml"
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commits = []
    for text in ("one", "two"):
        file.write_text(text)
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", f"--message={text}")
        commits.append((tmp_path / ".git/refs/heads/main").read_text().strip())

    def told(at: str | None) -> list[str]:
        return [str(each) for each in machine.stack_file_older(tmp_path, "dev", at)]

    assert (told(commits[1]), told(commits[0]), told(None), told("0" * 40)) == ([], [], [], [])
    git(tmp_path, "checkout", "--quiet", commits[0])
    short = commits[1][:10]
    (said,) = told(commits[1])
    assert said == (
        f"Pulumi.dev.yaml: is older than the last update, which was made at commit {short}; "
        f"`git merge --ff-only {short}`, or commit the file, to go back on purpose"
    )
    file.write_text("two")
    assert told(commits[1]) == []
    file.write_text("one and more")
    git(tmp_path, "commit", "--quiet", "--all", "--message=back")
    assert told(commits[1]) == []


@pytest.mark.usefixtures("authority")
def test_this_machine_is_checked_for_everything(tmp_path: Path) -> None:
    """Space, clock, stack file and other runs are all in one report."""
    locks = machine.locks_of(f"file://{tmp_path}", "dev")
    locks.mkdir(parents=True)
    (locks / "a.json").write_text('{"pid": 7, "hostname": "laptop"}')
    found = checks.check_machine(
        topology().model_copy(update={"services": {}}),
        PulumiState.of(exported(protect=True)),
        stack="dev",
        folder=tmp_path,
        backend=f"file://{tmp_path}",
        needs=[machine.Need(folder=tmp_path, mib=2**40, what="the state")],
        now=NOW - timedelta(days=2),
    )
    expected = {Check.SPACE, Check.CLOCK, Check.STACK_FILE_OLD, Check.RUN_IN_PROGRESS}
    assert {each.check for each in found} == expected


@pytest.mark.parametrize(
    ("backend", "folder"),
    [
        ("file:///srv/state?metadata=skip", "/srv/state"),
        ("file://~", "{home}"),
        ("file://~/state", "{home}/state"),
        ("file://~nosuchuser", "{home}/osuchuser"),
    ],
)
def test_the_folder_of_a_backend_is_pulumis(
    backend: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tilde is the home of the process's user, not HOME, and `~name` is no other user's."""
    monkeypatch.setenv("HOME", "/elsewhere")
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert machine.folder_of(backend) == Path(folder.format(home=home))


def test_another_run_is_told_by_its_lock(tmp_path: Path) -> None:
    """A lock of a live Pulumi or another machine is reported; one whose process is gone or another is not."""
    for pid, name in ((41, "pulumi"), (42, "sshd")):
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/comm").write_text(f"{name}\n")
    locks = machine.locks_of(f"file://{tmp_path}?metadata=skip", "dev")
    locks.mkdir(parents=True)
    lock = {
        "pid": 41,
        "username": "ann",
        "hostname": "here",
        "timestamp": "2026-11-29T10:11:12.3+00:00",
    }
    (locks / "a.json").write_text(json.dumps(lock))
    for name, pid in (("b", 42), ("e", 43)):
        (locks / f"{name}.json").write_text(json.dumps(lock | {"pid": pid}))
    (locks / "c.json").write_text(json.dumps(lock | {"pid": 7, "hostname": "laptop"}))
    (locks / "d.json").write_text("")
    remedy = "wait for it; if it is gone, `pulumi cancel --yes --stack dev`"
    assert [str(each) for each in machine.runs("dev", locks, tmp_path / "proc", "here")] == [
        f"stack dev: process 41 of ann on here works on it since 2026-11-29 10:11:12; {remedy}",
        f"stack dev: process 7 of ann on laptop works on it since 2026-11-29 10:11:12; {remedy}",
    ]


# ---------------------------------------------------------------- all of it

PULUMI = """\
#!/bin/sh
case "$2" in
export) cat "$HERE/state.json" ;;
history) echo '[{"kind": "update", "environment": {}}]' ;;
esac
"""


@pytest.fixture(name="bench")
def _bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with the sound site as dev stack, an empty state and a `pulumi` that prints it."""
    put(tmp_path)
    (tmp_path / "state.json").write_text('{"version": 3, "deployment": {}}')
    (tmp_path / "pulumi").write_text(PULUMI)
    (tmp_path / "pulumi").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    return tmp_path


@pytest.mark.usefixtures("authority")
def test_the_command_tells_everything_at_once(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run prints the engine's line and all findings of the engine, and writes the import file."""
    there = answers(
        "engine-27.5.1", [container("grafana")], [network("vlan20", "10.10.20.0/24", Driver="macvlan")]
    )
    with answering(bench, there) as api:
        monkeypatch.setenv("DOCKER_HOST", api.host)
        file = bench / "imports.json"
        assert main(["--stack", "dev", "--no-hosts", "--imports", str(file)], bench) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == DESCRIBED["engine-27.5.1"]
    found = [line.partition(":")[0] for line in lines[1:]]
    assert {"docker", "container grafana", "network vlan20", "homelab-network"} <= set(found)
    assert lines[-1].endswith(" findings")
    imports = json.loads(file.read_text())["resources"]
    assert [each.get("id") for each in imports] == [None, None, "3f2a9c", None, "9be1d0a7c2f44e01"]


@pytest.mark.usefixtures("authority")
def test_the_command_ends_as_it_says(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 0 without findings, 1 for an invalid stack, 2 where the hosts can't be read."""
    monkeypatch.setattr(docker, "read_machine", Machine)
    config = yaml.safe_load((bench / "Pulumi.dev.yaml").read_text())
    config["config"]["homelab-network:hosts"]["docker-srv"]["data-root"] = "/var/lib/docker"
    (bench / "Pulumi.dev.yaml").write_text(yaml.safe_dump(config))
    with answering(bench, answers("engine-29.5.0")) as api:
        monkeypatch.setenv("DOCKER_HOST", api.host)
        assert main(["--stack", "dev", "--no-hosts"], bench) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "no findings"
        assert main(["--stack", "dev", "--no-hosts", "--also", "a: b; c", "--also", "d: e; f"], bench) == 1
    lines = capsys.readouterr().out.splitlines()
    assert (lines[1:3], lines[-1]) == (["a: b; c", "d: e; f"], "2 findings")
    assert main(["--stack", "dve"], bench) == 1
    assert "STACK=dev is meant" in capsys.readouterr().out
    (bench / "pulumi").write_text("#!/bin/sh\necho no login >&2; exit 1\n")
    assert main(["--stack", "dev", "--no-hosts"], bench) == 2
    assert "no login" in capsys.readouterr().err


@pytest.mark.usefixtures("authority")
def test_hosts_that_do_not_answer_are_one_finding_each() -> None:
    """An unreachable engine and an unreachable Proxmox are one finding each, without a traceback."""
    report = checks.check_hosts(
        topology(), PulumiState(), stack=STACK, api=DockerApi("unix:///nowhere.sock"), node=Answers({})
    )
    assert [each.check for each in report.findings] == [Check.ENGINE_SILENT, Check.PROXMOX_SILENT]


@pytest.mark.usefixtures("authority")
def test_the_lab_is_told_nothing_of_what_it_does_itself(tmp_path: Path) -> None:
    """For the lab, the engine's data root, killed runs and legs' interfaces are no findings."""
    (loki,) = [each.urn(STACK) for each in wanted.containers(topology()) if each.name == "loki"]
    state = PulumiState(creating=frozenset({loki}))
    there = answers("engine-29.5.0", [container("loki")])
    there["/info"]["DockerRootDir"] = "/srv/docker"
    with answering(tmp_path, there) as api:
        told = [
            {each.check for each in report.findings}
            for lab in (False, True)
            for report in [
                checks.check_hosts(topology(), state, stack=STACK, api=api, node=None, lab=lab, resumes=lab)
            ]
        ]
    assert told[0] - told[1] - {Check.LEG_INTERFACE} == {Check.ENGINE_DATA_ROOT, Check.CONTAINER_TAKEN}
    assert Check.LEG_INTERFACE not in told[1]


@pytest.mark.usefixtures("authority")
def test_a_stack_that_was_never_made_has_an_empty_state(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first `make up`, without stack and engine, only this machine is checked."""
    monkeypatch.setattr(docker, "read_machine", Machine)
    monkeypatch.setattr("commands.preflight.needs", lambda _, **__: [])
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    (bench / "pulumi").write_text("#!/bin/sh\necho \"error: no stack named 'dev' found\" >&2; exit 255\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["--stack", "dev", "--lab", "--no-hosts"], bench) == 0
    assert capsys.readouterr().out == "no findings\n"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["--stack", "dev", "--lab", "--no-hosts"], bench) == 1
    assert "run `sudo make up`" in capsys.readouterr().out


@pytest.mark.usefixtures("authority")
def test_what_an_engine_elsewhere_hides_is_said() -> None:
    """For an engine on another machine the report says that its process and the ports' owners are unknown."""
    (line,) = checks._left_out(DockerApi("ssh://you@docker-srv"), None, is_here=False)
    assert line.startswith("ssh://you@docker-srv: its interfaces, routes, processes")
    assert list(checks._left_out(DockerApi(), daemon.Daemon(), is_here=True)) == []


@pytest.mark.usefixtures("authority")
def test_an_import_has_the_components_once() -> None:
    """The import file has shared components once, before what is in them, and no guest and no alias."""
    there = There(containers=[container("loki", identity="1"), container("grafana", identity="2")])
    on_node = dataclasses.replace(
        NODE, guests=[guest(101)], groups=[{"group": "jellyfin"}], aliases=[{"name": "local_network"}]
    )
    in_the_way = [*docker.in_the_way(site(), there), *proxmox.in_the_way(site(), on_node)]
    resources = import_file(in_the_way)["resources"]
    assert isinstance(resources, list)
    assert [each["id"] for each in resources if "id" in each] == ["2", "1", "jellyfin"]
    names = [each["name"] for each in resources]
    assert len(names) == len(set(names)) == 8
    for number, each in enumerate(resources):
        assert each.get("parent", names[0]) in names[: number + 1]
