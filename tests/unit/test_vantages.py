"""Where the probe sends from: the choice of transports, checks of machines, results without a vantage."""

import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
import yaml

from tests.documents import blocks
from tests.site import changed
from tests.unit.test_verify import World, container, endpoints_of
from topology.config import load
from topology.model import Topology
from topology.project import PROJECT
from verify import agents, namespaces, transports, vantages
from verify.agents import Agents, MachineFacts
from verify.discovery import Discovery
from verify.driver import ProbeError
from verify.expect import Endpoint, cells
from verify.report import ProbeReport
from verify.transports import Transport
from verify.verdicts import Verdict

KEY = "ssh-ed25519 AAAA"
IMAGE = "python:3.13-slim"
OTHER = 4711

pytestmark = pytest.mark.usefixtures("authority")


def site(vantage: Mapping[str, object], *flows: str) -> Topology:
    """Return the dev stack with vantages, and with the SSH flow that a vantage on site-1 needs."""
    values = changed({"services.site-1.ports": [443, 22], "vantages": vantage})
    values["flows"] += ["management -> site-1:22/tcp", *flows]
    return load(values)


def machine(user_at: str, **more: str) -> dict[str, str]:
    """Return a vantage over SSH."""
    return {"ssh": user_at, "host-key": KEY} | {key.replace("_", "-"): value for key, value in more.items()}


def discovered(
    topology: Topology, facts: Mapping[str, MachineFacts], *, inside: bool = False, elsewhere: bool = True
) -> tuple[Discovery, dict[str, Endpoint]]:
    """Return the discovery of a workstation, and its endpoints by name, from the agents' facts."""
    discovery = Discovery(
        topology, Path("known_hosts"), inside=inside, elsewhere=elsewhere, guests_here=False
    )
    discovery.discover(
        [container("traefik", {"edge": "172.30.0.2"}), container("loki", {"backend": "172.30.3.3"})]
    )
    if topology.probe_image:
        discovery.run(topology.probe_image, ["backend", "vlan10"])
    return discovery, {endpoint.name: endpoint for endpoint in discovery.endpoints(facts, OTHER, None)}


def facts(*addresses: str, listeners: Sequence[int] = (OTHER,), pings: bool = True) -> MachineFacts:
    """Return an agent's facts about its machine."""
    return MachineFacts(
        addresses=frozenset(map(IPv4Address, addresses)), listeners=frozenset(listeners), pings=pings
    )


def test_an_address_that_was_taken_inside_is_found() -> None:
    """A neighbour's address in a container is named with its owner, another network's is not."""
    found = facts("172.30.3.3", "172.30.3.253", "172.31.0.9")
    _, endpoints = discovered(site({}), {"loki": found})
    assert endpoints["loki"].oddities == (
        ("has 172.30.3.253 on backend", "it was added inside by hand; it is cadvisor's"),
    )


def test_ipv6_of_docker_srv_on_the_sites_networks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 address on a bridge or a VLAN's interface of the site is found, not one of the LAN."""
    topology = site({})
    cards = ("br-backend", topology.parent(topology.vlans[0]), "eth0")
    said = [(f"fd00:{number}::1", card) for number, card in enumerate(cards)]
    monkeypatch.setattr("verify.namespaces.ipv6_addresses", lambda: said)
    _, endpoints = discovered(topology, {}, inside=True)
    vlan = topology.vlans[0].name
    assert [what for what, _ in endpoints["docker-srv"].oddities] == [
        "has fd00:0::1 on backend",
        f"has fd00:1::1 on {vlan}",
    ]


def test_the_named_way_goes_first() -> None:
    """For its endpoint, a machine of the stack file precedes the image, and the image a namespace."""
    vantage = {"containers": {"image": IMAGE}, "site-1": machine("probe@10.10.10.11")}
    discovery, _ = discovered(site(vantage), {})
    begins = {name: transport.words[:2] for name, transport in discovery.transports.items()}
    assert begins["site-1"] == ("ssh", "-T")
    assert {begins[name] for name in ("traefik", "loki", "docker-srv", "stranger@backend")} == {
        ("docker", "run")
    }
    networks = {
        name: transport.words[transport.words.index("--network") + 1]
        for name, transport in discovery.transports.items()
        if transport.words[0] == "docker"
    }
    assert networks == {
        "traefik": "container:traefik",
        "loki": "container:loki",
        "docker-srv": "host",
        "stranger@backend": "backend",
        "stranger@wordpress": "vlan10",
    }
    assert "stranger@frontend: the engine has no network frontend" in discovery.left_out


def test_the_documented_vantages_load() -> None:
    """The vantages in docs/verify.md load."""
    (block,) = blocks(PROJECT / "docs" / "verify.md", "yaml")
    vantage = yaml.safe_load(block.replace("…", ""))["homelab-network:vantages"]
    assert {*site(vantage).vantages} == {"containers", "internet", "site-1"}


def test_a_container_of_the_probe_may_do_nothing_but_ask() -> None:
    """The probe's container has no capabilities, no write access and uid 65534, and is removed at exit."""
    words = transports.docker(IMAGE, "container:loki", "loki").words
    line = " ".join(words[: words.index(IMAGE)])
    for wanted in ("--rm --interactive", "--cap-drop ALL", "--security-opt no-new-privileges", "--read-only",
                   "--user 65534:65534", "--pull never", "--log-driver none"):  # fmt: skip
        assert wanted in line


def test_over_ssh_the_pinned_key_alone_is_believed(tmp_path: Path) -> None:
    """OpenSSH, called with the command line, asks nothing and trusts only the run's known_hosts file."""
    vantage = site(
        {"internet": machine("probe@203.0.113.9", docker_host_address="203.0.113.1")}
    ).ssh_vantages["internet"]
    transport = transports.ssh(vantage, tmp_path / "known_hosts")
    said = subprocess.run(
        (transport.words[0], "-G", *transport.words[1:]), capture_output=True, text=True, check=True
    )
    options = dict(line.split(" ", 1) for line in said.stdout.splitlines() if " " in line)
    wanted = {
        "user": "probe",
        "hostname": "203.0.113.9",
        "batchmode": "yes",
        "stricthostkeychecking": "true",
        "userknownhostsfile": f"{tmp_path}/known_hosts",
        "globalknownhostsfile": "/dev/null",
        "hostkeyalias": "internet",
        "connecttimeout": "10",
        "forwardagent": "no",
        "verifyhostkeydns": "false",
        "updatehostkeys": "false",
    }
    assert {key: options.get(key) for key in wanted} == wanted
    assert transports.known_hosts([vantage]) == f"internet {KEY}\n"


DOCKER = facts("172.30.0.1", "10.10.1.5")
VPS = machine("probe@203.0.113.9", docker_host_address="203.0.113.1")
INSIDE = {"site-1": machine("probe@10.10.10.11"), "docker-srv": machine("probe@10.10.1.5")}


@pytest.mark.parametrize(
    ("name", "found", "fault"),
    [
        ("site-1", facts("10.10.10.12"), "the machine there does not have 10.10.10.11; name the right one"),
        (
            "internet",
            facts("10.10.20.9"),
            "the machine there has 10.10.20.9 and is inside; name the right one",
        ),
        (
            "management",
            facts("10.9.1.4"),
            "the machine there has no address in 10.10.1.0/24; name the right one",
        ),
        ("docker-srv", facts("10.10.1.5"), "the machine there does not have 172.30.0.1, the gateway of edge"),
    ],
)
def test_nobody_stands_for_a_source_who_is_somebody_else(name: str, found: MachineFacts, fault: str) -> None:
    """A machine without its source's address is a fault of the vantage; the right machine is none."""
    topology = site({**INSIDE, "internet": VPS, "management": machine("probe@10.10.1.4")})
    right = {
        "site-1": facts("10.10.10.11"),
        "internet": facts("203.0.113.9"),
        "management": facts("10.10.1.4"),
        "docker-srv": DOCKER,
    }
    assert discovered(topology, right)[0].faults == {}
    told = discovered(topology, {**right, name: found})[0].faults[name]
    assert told.startswith(f"vantages.{name}: {fault}")


def test_a_machine_on_the_internet_asks_docker_srv_alone() -> None:
    """From a public address only Docker-SRV is probed, because private addresses there are foreign."""
    topology = site(
        {
            "internet": machine("probe@8.8.8.8", docker_host_address="1.1.1.1"),
            "docker-srv": INSIDE["docker-srv"],
        }
    )
    discovery, endpoints = discovered(topology, {"internet": facts("8.8.8.8"), "docker-srv": DOCKER})
    asked = [cell for cell in cells(topology, endpoints.values()) if cell.source == "internet"]
    assert {(str(cell.address.ip), cell.port) for cell in asked} == {
        ("1.1.1.1", "80/tcp"), ("1.1.1.1", "443/tcp")
    }  # fmt: skip
    assert "internet to private addresses: out there they are other people's" in discovery.left_out
    near = site({"internet": VPS, "docker-srv": INSIDE["docker-srv"]})
    endpoints = discovered(near, {"internet": facts("203.0.113.9"), "docker-srv": DOCKER})[1]
    assert "internet -> loki:*/tcp" in map(str, cells(near, endpoints.values()))


def test_a_workstation_in_management_is_its_vantage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workstation with an address in management is its vantage, and probes Docker-SRV's address there."""
    here = {IPv4Interface("10.10.1.7/24"): "eth0"}
    monkeypatch.setattr(namespaces, "host_addresses", lambda: here)
    topology = site({"containers": {"image": IMAGE}})
    discovery, endpoints = discovered(topology, {"management": facts("10.10.1.7"), "docker-srv": DOCKER})
    assert discovery.transports["management"].words[0] == sys.executable
    assert (str(endpoints["management"].docker_host_address), discovery.faults) == ("10.10.1.5", {})
    discovery, endpoints = discovered(topology, {"management": facts("10.10.1.7")})
    assert discovery.faults["management"].endswith(
        "nothing says where Docker-SRV is found from there; give it docker-host-address"
    )
    discovery, endpoints = discovered(topology, {}, elsewhere=False)
    assert "management" not in discovery.transports
    assert "management as a source: add vantages.management" in discovery.left_out


def test_what_only_root_may_is_left_out() -> None:
    """Without root, cells that need echo requests or low ports are left out, each with its reason."""
    topology = site({**INSIDE, "internet": VPS}, "site-1 -> internet:443/tcp", "site-1 -> internet:8443/tcp")
    told = {
        "site-1": facts("10.10.10.11", pings=False),
        "internet": facts("203.0.113.9", listeners=(OTHER, 8443)),
        "docker-srv": DOCKER,
    }
    discovery, endpoints = discovered(topology, told)
    assert "egress to 443/tcp: only root may listen there" in discovery.left_out
    assert any(line.startswith("ICMP of site-1: only root") for line in discovery.left_out)
    asked = {*map(str, cells(topology, endpoints.values()))}
    assert {"site-1 -> internet:8443/tcp", "site-1 -> internet:*/tcp"} <= asked
    assert {cell for cell in asked if cell.endswith(":icmp") and "site-1" in cell} == set()
    assert "site-1 -> internet:443/tcp" not in asked


def test_a_name_is_no_address_to_send_to() -> None:
    """A machine without the address that SSH names is no destination."""
    topology = site({"internet": VPS, "docker-srv": INSIDE["docker-srv"]}, "traefik -> internet:443/tcp")
    discovery, endpoints = discovered(topology, {"internet": facts("192.0.2.7"), "docker-srv": DOCKER})
    assert endpoints["internet"].addresses == ()
    assert (
        "internet as a destination: its machine does not have the address that ssh names"
        in discovery.left_out
    )


def test_a_listener_is_seen_from_inside() -> None:
    """A guest's agent reports listeners beyond the guest's ports and the probe's own."""
    found = {"site-1": facts("10.10.10.11", listeners=(22, 443, 9999, OTHER)), "docker-srv": DOCKER}
    assert [str(port) for port in discovered(site(INSIDE), found)[1]["site-1"].extra] == ["9999/tcp"]


FAULT = "vantages.site-1: Connection timed out; see that it runs"


@pytest.fixture
def world() -> World:
    """Return a sound network of the dev stack."""
    topology = load(changed({}))
    return World(topology, endpoints_of(topology))


def faulty(world: World, name: str) -> World:
    """Return the same network with one endpoint that could not be probed."""
    world.endpoints = [
        replace(endpoint, fault=FAULT) if endpoint.name == name else endpoint for endpoint in world.endpoints
    ]
    world.change = lambda who, _ask: NOT_ASKED if who == name else None
    return world


NOT_ASKED = "not there"


@pytest.mark.parametrize("name", ["site-1", "internet", "management", "loki", "stranger@backend"])
def test_a_vantage_that_fails_is_never_left_out(world: World, name: str) -> None:
    """All cells of a failed vantage, and the internet's pages, are inconclusive and name the fault."""
    found = faulty(world, name).findings()
    own = [finding for finding in found if finding.source == name]
    assert {(f.verdict, f.cause) for f in own} == {(Verdict.INCONCLUSIVE, FAULT)}
    assert f"{name} as a vantage" in {f.what for f in own}
    assert [str(f) for f in found if f.verdict is Verdict.DISAGREES] == []
    assert not ProbeReport(stack="dev", seconds=1, findings=found).good


def test_a_destination_that_was_not_asked_is_not_called_closed(world: World) -> None:
    """A destination that was not probed is not called closed; its cells name the fault."""
    causes = {f.cause for f in faulty(world, "site-1").findings() if f.what == "internet -> site-1:*/tcp"}
    assert causes == {FAULT}


def test_rules_that_cannot_be_seen_are_not_called_sound(world: World) -> None:
    """From another machine, the cause says that Docker-SRV's own rules must be checked."""
    world.changed_rules = None
    world.change = lambda who, ask: (
        "open" if (who, ask.address, ask.port) == ("loki", IPv4Address("172.30.0.1"), None) else None
    )
    (line,) = [str(f) for f in world.findings() if f.verdict is Verdict.DISAGREES]
    assert "Docker-SRV's own rules can't be seen from here; look whether they are missing or changed" in line


AGENT = (sys.executable, "-I", str(transports._AGENT))


def transport(*words: str, lasting: bool = False) -> Transport:
    """Return a transport for a test."""
    return Transport(words=words, path="vantages.site-1", lasting=lasting)


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (
            "echo 'ssh: connect to host 10.10.10.11 port 22: No route to host' >&2; exit 255",
            "ssh: connect to host 10.10.10.11 port 22: No route to host; see that it runs and can be reached",
        ),
        (
            "echo '@ IT HAS CHANGED @' >&2; echo 'Host key verification failed.' >&2; exit 255",
            "Host key verification failed; find out why its key is not host-key before you change that",
        ),
        (
            "echo 'a@b: Permission denied (publickey).' >&2; exit 255",
            "let your key log in there as this user",
        ),
        ("nosuch-python3 -I", "install Python 3.11 or newer there"),
        ("exit 255", "ended without a word; see that it runs"),
        (f"exec {sys.executable} -c 1/0", "ZeroDivisionError: division by zero; see that it runs"),
        ("echo '{\"welcome\": 1}'", "what answers there is no agent; see that it runs"),
        ("printf '\\033[2Jbad\\n' >&2", "[2Jbad; see that it runs"),
    ],
)
def test_what_an_operator_reads(script: str, fault: str) -> None:
    """Each failure is `path: fault; remedy` on one line, without another machine's control characters."""
    one = Agents(transports={"site-1": transport("sh", "-c", script)}, jobs=1)
    try:
        assert one.start(lambda _: []) == {}
    finally:
        one.close()
    (said,) = one.faults.values()
    assert said.startswith("vantages.site-1: ")
    assert fault in said
    assert said.isprintable()


def test_an_old_python_says_so() -> None:
    """A machine whose Python is too old is reported as such."""
    old = "import sys; sys.version_info = (3, 9); sys.argv[0] = ''; exec(open(sys.argv[1]).read())"
    one = Agents(transports={"site-1": transport(sys.executable, "-c", old, str(transports._AGENT))}, jobs=1)
    try:
        one.start(lambda _: [])
    finally:
        one.close()
    assert one.faults["site-1"] == (
        "vantages.site-1: python3 is older than 3.11; install Python 3.11 or newer there"
    )


def test_a_login_shell_may_speak_first() -> None:
    """Lines that a login shell prints before the agent's first line are ignored."""
    one = Agents(
        transports={"site-1": transport("sh", "-c", 'echo Welcome; exec "$@"', "sh", *AGENT)}, jobs=1
    )
    try:
        assert one.start(lambda _: [])["site-1"].pings in {True, False}
    finally:
        one.close()
    assert one.faults == {}


def test_an_agent_killed_in_the_middle_is_a_fault() -> None:
    """An agent killed during the run is a fault of its endpoint; the answers of other agents count."""
    both = Agents(transports={name: transport(*AGENT) for name in ("site-1", "site-2")}, jobs=2)
    try:
        both.start(lambda _: [])
        both._running["site-1"].process.kill()
        found = both.ask({name: {"ask": [], "authorities": ""} for name in ("site-1", "site-2")})
    finally:
        both.close()
    assert (set(found), set(both.faults)) == ({"site-2"}, {"site-1"})
    assert "ended without a word" in both.faults["site-1"]


def test_nobody_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents that hang are ended after the timeout, waiting ones too, and reported."""
    monkeypatch.setattr(agents, "_LONGEST", 0.5)
    names = [f"site-{number}" for number in range(9)]
    began = time.monotonic()
    hanging = Agents(transports={name: transport("sleep", "600") for name in names}, jobs=1)
    try:
        assert hanging.start(lambda _: []) == {}
    finally:
        hanging.close()
    assert time.monotonic() - began < 300  # half of one agent's sleep
    assert [*map(hanging.faults.get, names)] == [
        "vantages.site-1: no answer within 0 s; see that it runs and can be reached, and run verify again"
    ] * 9


def test_the_neighbours_of_a_lasting_machine_prove_nothing() -> None:
    """ARP neighbours of a machine that was up before the run prove nothing."""
    said = {"answers": {}, "heard": ["10.10.1.1"]}
    arp_neighbours = [[*agents._answers(said, lasting=lasting).arp_neighbours] for lasting in (True, False)]
    assert arp_neighbours == [[], ["10.10.1.1"]]


@pytest.mark.parametrize(
    ("engine", "user", "image", "said"),
    [
        (
            "ssh://docker-srv",
            0,
            "",
            "DOCKER_HOST: Docker-SRV is another machine; declare vantages.containers",
        ),
        ("", 1000, "", "verify: needs root, it enters network namespaces; run `sudo make verify STACK=dev`"),
        ("unix:///nowhere.sock", 1000, IMAGE, f"vantages.containers.image: {IMAGE} is not there; see that"),
    ],
)
def test_what_a_run_needs(
    monkeypatch: pytest.MonkeyPatch, engine: str, user: int, image: str, said: str
) -> None:
    """Namespaces need root on Docker-SRV; the image needs neither, but must be present."""
    monkeypatch.setenv("DOCKER_HOST", engine)
    monkeypatch.setattr("os.geteuid", lambda: user)
    topology = site({"containers": {"image": image}} if image else {})
    with (
        pytest.raises(ProbeError) as refused,
        vantages.vantages(topology, "dev", "127.0.0.1", 1),
    ):
        pytest.fail("it began")
    assert str(refused.value).startswith(said)


def test_the_port_that_must_not_answer_is_no_connection_of_an_endpoint() -> None:
    """A closed connection keeps its port for a minute, so every agent's port is beyond those."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        kept, (accepted, _) = client.getsockname()[1], server.accept()
        client.close()
        accepted.close()
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("0.0.0.0", kept))  # noqa: S104  # as an agent does, with SO_REUSEADDR
    assert low <= kept <= high
    ports = [*vantages._free_ports()]
    assert len(ports) > 1
    assert not [port for port in ports if low <= port <= high]
