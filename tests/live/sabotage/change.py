"""Registers changes to the live network; calls the engine, Proxmox, the switch and nft for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from lab import paths, proxmox, tls
from rendered import host_rules
from tests.live.site import PROJECT, Site, command
from topology.config import from_file

TOPOLOGY = from_file(PROJECT / "Pulumi.dev.yaml")
NODE = "nodes/pve1/qemu"


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """`lines` are what the probe must print: the start of a line, and other text in it."""

    do: Callable[[Site], object]
    lines: tuple[tuple[str, str], ...]
    undo: Callable[[Site], object] | None = None

    def __str__(self) -> str:
        return self.do.__name__


ROUNDS: dict[str, list[Sabotage]] = {}


def sabotage(
    number: str, line: str, cause: str, *more: tuple[str, str], undo: Callable[[Site], object] | None = None
) -> Callable[[Callable[[Site], object]], Callable[[Site], object]]:
    """Register a change and its round."""

    def register(do: Callable[[Site], object]) -> Callable[[Site], object]:
        ROUNDS.setdefault(number, []).append(Sabotage(do=do, lines=((line, cause), *more), undo=undo))
        return do

    return register


def api(method: str, path: str, **form: Any) -> Any:
    """Call the Proxmox API, as a user does through its web page."""
    answer = requests.request(
        method,
        f"{proxmox.URL}/api2/json/{path}",
        data=form or None,
        headers={"Authorization": f"PVEAPIToken={proxmox.token()}"},
        verify=str(tls.bundle()),
        timeout=10,
    )
    assert answer.ok, answer.text
    return answer.json()["data"]


def set_options(vm: int, **options: Any) -> None:
    """Change a guest's firewall options."""
    api("PUT", f"{NODE}/{vm}/firewall/options", **options)


def change_card(vm: int, old: str, new: str) -> None:
    """Replace a word of a guest's network card."""
    card = api("GET", f"{NODE}/{vm}/config")["net0"]
    assert old in card
    api("PUT", f"{NODE}/{vm}/config", net0=card.replace(old, new))


def inside(vm: int, *words: str) -> None:
    """Run a program in a guest's network namespace."""
    done = command("ip", "netns", "exec", f"vm-{vm}", *words)
    assert done.returncode == 0, done.stdout


def switch(*words: str) -> None:
    """Run a command on the switch."""
    done = command("ovs-vsctl", f"--db=unix:{paths.RUN}/ovs/db.sock", "--timeout=10", *words)
    assert done.returncode == 0, done.stdout


def image(service: str) -> str:
    """Return the image of a container service."""
    return str(TOPOLOGY.services[service].image)


def nft(*words: str) -> None:
    """Run nft on a rule or element of the project's table, whose name stands for `{table}`."""
    done = command("nft", " ".join(words).format(table=host_rules.table(TOPOLOGY)))
    assert done.returncode == 0, done.stdout


def pair(source: str, destination: str, port: str) -> str:
    """Return the element of the rules' set for a flow on backend."""
    ends = (str(TOPOLOGY.address_on(name, TOPOLOGY.zones["backend"])) for name in (source, destination))
    return " . ".join((*ends, "tcp", port))


RULES = ("✗ docker-srv's own rules", "`make up` puts them back")
SWITCH = ("✗ docker-srv's switch that shows its rules frames within a bridge", "`make up` puts them back")
