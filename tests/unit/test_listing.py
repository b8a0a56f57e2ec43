"""`commands list`: what shares a line, how the output grows, and its filters."""

import re

import pytest

from commands import flows as command
from reachability.intent import Intent
from reachability.listing import listing
from tests.site import FILE
from tests.unit.test_reachability import WEB, container, network, site
from topology.config import from_file
from topology.project import PROJECT

DEV = from_file(PROJECT / "Pulumi.dev.yaml")


def lines(members: int, *flows: tuple[str, str]) -> list[str]:
    """Return the lines of one network without rules of its own and that many members."""
    names = [f"m{index}" for index in range(members)]
    reachability = site(network("backend"), *(container(name, "backend") for name in names), hosts=())
    intent = Intent(flows=frozenset((source, end, WEB) for source, end in flows))
    return [*listing(reachability.connection_sets(), intent)]


def test_what_one_network_allows_shares_a_line() -> None:
    """Many sources of one port are a number and their way; few are named; a declared flow stands alone."""
    assert lines(3)[0] == "m1, m2 => m0 : 80/tcp, *"
    found = lines(11, ("m1", "m0"))
    assert "m1 => m0 : 80/tcp" in found
    assert "9 sources by backend => m0 : 80/tcp" in found
    assert "10 sources by backend => m0 : *" in found


def test_the_list_grows_linearly() -> None:
    """Each further member of a network without rules adds one line, and no line becomes longer."""
    small, large = lines(100), lines(200)
    assert len(large) - len(small) == 100
    assert max(map(len, large)) < 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "promtail"], ["promtail => loki-gateway : 3100/tcp"]),
        (["--source", "internet", "--zone", "vault"], ["internet => vaultwarden : 80/tcp"]),
    ],
)
def test_the_list_is_asked_with_filters(
    words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--source` and `--zone` leave the flows of one source, and those that begin or end in a zone."""
    assert command.main(["list", *words, str(FILE)]) == 0
    assert capsys.readouterr().out.splitlines() == said


def test_the_dev_stack_has_declared_flows_and_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    """At the margin are the declared flows; below one is what its sources reach through the ingress.

    What the hosts themselves may do, which are trusted, stands apart.
    """
    declared = {(flow.source, flow.destination, str(flow.port)) for flow in DEV.flows}
    served = {flow.destination for flow in DEV.flows_from("traefik")} | {"traefik"}
    outside = {"internet", "management", "proxmox-srv", "blackbox-exporter", "prometheus"}
    assert command.main(["list", str(PROJECT / "Pulumi.dev.yaml")]) == 0
    listed = capsys.readouterr().out.partition("# from hosts")[0].splitlines()
    found: dict[bool, set[tuple[str, str, str]]] = {True: set(), False: set()}
    for line in listed:
        sources, name, ports = re.split(" => | : ", line.strip())
        follows = line.startswith("  ")
        found[follows] |= {(a, name, b) for a in sources.split(", ") for b in ports.split(", ")}
    assert found[False] == declared
    assert {name for _, name, _ in found[True]} == served
    assert {source for source, _, _ in found[True]} == outside
    assert {(name, port) for _, name, port in found[True]} <= {(name, port) for _, name, port in declared}


@pytest.mark.parametrize(
    ("option", "name", "meant"), [("--source", "lokki", "loki"), ("--zone", "valt", "vault")]
)
def test_an_unknown_name_is_refused(
    option: str, name: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A filter by a name that the site does not have ends with status 2 and the nearest name."""
    assert command.main(["list", option, name, str(FILE)]) == 2
    assert f"write {meant}" in capsys.readouterr().err
