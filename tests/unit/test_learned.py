"""What Docker-SRV's own rules saw, as nft 1.0.6 told it of the kernel, and what `suggest` makes of it."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commands import suggest
from rendered import host_rules
from tests.site import loaded
from topology.project import PROJECT
from verify import host, learned
from verify.driver import ProbeError

SITE = loaded()
SOUND = PROJECT / "tests" / "Pulumi.sound.yaml"
SAID = (Path(__file__).parent / "learned.json").read_text(encoding="utf-8")
"""Six tries on backend, one of them by a newcomer at 172.30.3.250 and one twice, and one declared flow."""


def told(name: str, *more: dict[str, Any]) -> str:
    """Return the kernel's answer with more elements in one of the sets."""
    said = json.loads(SAID)
    (found,) = (each["set"] for each in said["nftables"] if each.get("set", {}).get("name") == name)
    found["elem"] = [*found.get("elem", ()), *more]
    return json.dumps(said)


def element(source: str, destination: str, port: int, packets: int = 1) -> dict[str, Any]:
    """Return an element as nft writes it."""
    key = {"concat": [source, destination, "tcp", port]}
    return {"elem": {"val": key, "expires": 2588400, "counter": {"packets": packets, "bytes": 60}}}


def lines(said: str) -> list[str]:
    """Return what the command prints."""
    return list(suggest.suggestions(SOUND, SITE, learned.read(said)))


def test_each_try_is_a_line_that_declares_it() -> None:
    """Each undeclared flow has its ends by name, its packets and age, and its line, or why there is none."""
    said = lines(SAID)
    assert said[0] == "# undeclared flows that were tried and dropped in the last 7 s: 5"
    assert said[1].startswith("#   - promtail -> cadvisor:8080/tcp  # 2 packets, the last 6 s ago; with this")
    assert "promtail needs exactly one outgoing flow, to loki-gateway" in said[2]
    assert "cadvisor can't ask for a certificate; declare it under unencrypted" in said[3]
    assert "    - loki -> node-exporter:9100/tcp  # 1 packet, the last 4 s ago" in said
    unknown = (
        "#   172.30.3.250 (unknown, on backend) -> loki:3100/tcp: 1 packet, the last 5 s ago; an end is no "
    )
    assert f"{unknown}service of the stack" in said


def test_unused_flows_are_listed() -> None:
    """A declared flow within a Docker network without a packet is listed, one with a packet is not."""
    said = lines(SAID)
    idle = said[said.index("# declared flows without use in the last 7 s: 9") :]
    assert "#   - prometheus -> cadvisor:8080/tcp" in idle
    assert "#   - prometheus -> node-exporter:9100/tcp" not in idle
    assert idle[-1] == "# declared flows whose use can't be seen here, as they stay on no Docker network: 9"


def test_addresses_of_one_name_are_one_flow() -> None:
    """Two addresses on the internet are one flow with the sum of packets and the younger age."""
    seen = learned.read(
        told("tried", element("172.30.3.58", "9.9.9.9", 443, 3), element("172.30.3.58", "1.1.1.1", 443, 4))
    )
    (out,) = (e for e in learned.named(SITE, seen.tried) if e.destination == "internet")
    assert (str(out), out.packets, out.ago) == ("promtail -> internet:443/tcp", 7, timedelta(hours=1))


@pytest.mark.parametrize(
    ("ip", "name"),
    [
        ("172.30.3.1", "docker-srv"),
        ("10.10.20.11", "jellyfin"),
        ("10.10.20.2", "traefik"),
        ("10.10.1.9", "management"),
        ("192.168.1.9", "192.168.1.9 (unknown)"),
    ],
)
def test_ends_have_names(ip: str, name: str) -> None:
    """Gateways, guests, the ingress's legs and machines of management are known by name."""
    seen = learned.read(told("tried", element("172.30.3.58", ip, 1)))
    assert f"promtail -> {name}:1/tcp" in [str(e) for e in learned.named(SITE, seen.tried)]


def test_a_flow_that_is_declared_by_now_is_no_suggestion() -> None:
    """What was tried before its flow was declared is left out."""
    said = told("tried", element("172.30.3.156", "172.30.3.253", 8080, 5))
    assert not [line for line in lines(said) if "5 packets" in line]


def test_a_full_memory_a_pause_and_an_emptied_set_are_told() -> None:
    """Nothing is claimed about more than the kernel remembers, a pause, or a time that is not known."""
    flood = (element("172.30.3.250", "172.30.3.207", port) for port in range(1, host_rules.REMEMBERED))
    assert "remembers no more tries" in "\n".join(lines(told("tried", *flood)))
    assert "A probe runs" in "\n".join(lines(told("paused", {"elem": {"val": "tcp", "expires": 9}})))
    emptied = json.loads(SAID)
    for each in emptied["nftables"]:
        each.get("set", {}).pop("elem", None)
    assert lines(json.dumps(emptied))[0].endswith("dropped since an unknown time: 0")
    assert "remembers no more" not in "\n".join(lines(SAID))


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("", "answers in a form that is not known"),
        ("{}", "answers in a form that is not known"),
        ('{"nftables": [{"set": {"name": "tried", "elem": [1]}}]}', "the rules have no set used"),
        (told("tried", {"elem": {"val": "x"}}), "answers in a form that is not known"),
    ],
)
def test_a_broken_answer_is_one_line(said: str, fault: str) -> None:
    """What nft does not say as expected is a message, and never a traceback."""
    with pytest.raises(ProbeError, match=fault):
        learned.read(said)


def test_missing_inputs_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown stack, another machine, a user without root and missing rules each have their message."""
    assert suggest.main(["--stack", "nowhere"]) == 2
    assert "Pulumi.nowhere.yaml" in capsys.readouterr().err
    monkeypatch.setenv("DOCKER_HOST", "ssh://docker-srv")
    with pytest.raises(ProbeError, match="another machine; run suggest there"):
        learned.of_host(SITE)
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ProbeError, match="needs root"):
        learned.of_host(SITE)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProbeError, match="docker-srv's own rules: nft: no such program"):
        learned.of_host(SITE)
    assert not host.elsewhere()
    assert not shutil.which("nft")
