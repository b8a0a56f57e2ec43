"""The engine's bring-up, as far as it can be judged without starting one."""

import os
from pathlib import Path

import pytest

from lab import apt, engine
from lab.errors import LabError


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here starts, finds or ends an engine, whatever breaks."""
    monkeypatch.setattr(engine, "_engines", list)
    monkeypatch.setattr(engine, "_launch", lambda: pytest.fail("an engine was started"))
    monkeypatch.setattr(engine, "_install", lambda _report: pytest.fail("a package was installed"))


BEFORE = ["filter\t:INPUT ACCEPT", "filter\t:FORWARD ACCEPT", "filter\t-A INPUT -i lo -j ACCEPT"]
ADDED = [
    "filter\t:FORWARD DROP",
    "filter\t:DOCKER -",
    "filter\t:DOCKER-USER -",
    "filter\t-A FORWARD -j DOCKER-USER",
    "filter\t-A FORWARD -i br-0123456789ab ! -o br-0123456789ab -j ACCEPT",
    "filter\t-A FORWARD -i vpn0 -j ACCEPT",
    "filter\t-A DOCKER-USER -j RETURN",
    "nat\t:DOCKER -",
    "nat\t-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "nat\t-A POSTROUTING -s 172.30.0.0/24 ! -o br-0123456789ab -j MASQUERADE",
    "nat\t-A POSTROUTING -s 172.30.0.2/32 -d 172.30.0.2/32 -p tcp -m tcp --dport 443 -j MASQUERADE",
    "nat\t-A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE",
]


def test_firewall_goes_back() -> None:
    """What the engine added goes, chains last; what was there, and what others added meanwhile, stays."""
    assert engine.removal(BEFORE, [*BEFORE[:1], BEFORE[2], *ADDED]).splitlines() == [
        "*filter",
        "-P FORWARD ACCEPT",
        "-D FORWARD -j DOCKER-USER",
        "-D FORWARD -i br-0123456789ab ! -o br-0123456789ab -j ACCEPT",
        "-F DOCKER",
        "-F DOCKER-USER",
        "-X DOCKER",
        "-X DOCKER-USER",
        "COMMIT",
        "*nat",
        "-D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "-D POSTROUTING -s 172.30.0.0/24 ! -o br-0123456789ab -j MASQUERADE",
        "-D POSTROUTING -s 172.30.0.2/32 -d 172.30.0.2/32 -p tcp -m tcp --dport 443 -j MASQUERADE",
        "-F DOCKER",
        "-X DOCKER",
        "COMMIT",
    ]


def test_untouched_firewall_is_left_alone() -> None:
    """Where the engine added nothing, nothing is run; rules of a Docker that was there before stay too."""
    assert engine.removal([*BEFORE, *ADDED], [*BEFORE, *ADDED]) == ""
    assert engine.removal(BEFORE, [*BEFORE, "filter\t-A FORWARD -i vpn0 -j ACCEPT"]) == ""


def test_a_strict_machine_stays_strict() -> None:
    """FORWARD that was DROP before the engine is not opened."""
    before = ["filter\t:FORWARD DROP"]
    assert "-P FORWARD" not in engine.removal(before, [*before, *ADDED])


def test_own_docker_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Docker that answers is taken as it is: no endpoint of ours, nothing installed or started."""
    monkeypatch.setattr(engine, "_version", lambda host: None if host else "29.0.0")
    assert engine.up(lambda _line: None) == engine.Engine(endpoint=None, version="29.0.0")
    assert engine.endpoint() is None


def test_root_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root and without a Docker, the sentence says both ways out."""
    monkeypatch.setattr(engine, "_version", lambda _host: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="run as root, or start Docker yourself"):
        engine.up(lambda _line: None)


@pytest.mark.parametrize("theirs", ["", "#!/bin/sh\nexit 104\n"])
def test_service_policy_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str) -> None:
    """While packages are installed no service may start; afterwards, even after a kill, all is as before."""
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(apt, "POLICY", policy)
    monkeypatch.setattr(apt, "POLICY_KEPT", tmp_path / "kept")
    if theirs:
        policy.write_text(theirs)
    killed = apt.services_off()
    killed.__enter__()
    assert policy.stat().st_mode & 0o111
    assert "exit 101" in policy.read_text()
    apt.restore_policy()
    assert (policy.read_text() if policy.exists() else "") == theirs
    assert not (tmp_path / "kept").exists()
