"""Starting and stopping the Docker engine, as far as tests can without an engine."""

import os
import re
import socket
from pathlib import Path

import pytest

from lab import apt, engine, paths
from lab.engine import kernel
from lab.engine.programs import Programs
from lab.errors import LabError


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sure that no test starts, finds or ends an engine."""
    monkeypatch.setattr(engine, "_engines", list)
    monkeypatch.setattr(engine, "_arguments", list)
    monkeypatch.setattr(engine, "_launch", lambda _programs: pytest.fail("an engine was started"))
    monkeypatch.setattr(Programs, "install", lambda *_: pytest.fail("a package was installed"))


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
    """What the engine added is removed, chains last; earlier rules and rules of others stay."""
    assert kernel.removal(BEFORE, [*BEFORE[:1], BEFORE[2], *ADDED]).splitlines() == [
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
    """Where the engine added nothing, nothing is removed; rules of an earlier Docker stay."""
    assert kernel.removal([*BEFORE, *ADDED], [*BEFORE, *ADDED]) == ""
    assert kernel.removal(BEFORE, [*BEFORE, "filter\t-A FORWARD -i vpn0 -j ACCEPT"]) == ""


@pytest.mark.parametrize(
    "rule",
    ["DOCKER-USER -s 203.0.113.7/32 -j DROP", "INPUT -s 10.0.0.0/8 -m comment --comment DOCKER -j DROP"],
)
def test_rules_of_others_about_docker_stay(rule: str) -> None:
    """A user's rule in an earlier DOCKER-USER, or one that only mentions Docker, stays; the engine's goes."""
    before = [*BEFORE, "filter\t:DOCKER-USER -"]
    now = [*before, f"filter\t-A {rule}", "filter\t-A DOCKER-USER -j RETURN"]
    assert kernel.removal(before, now).splitlines() == ["*filter", "-D DOCKER-USER -j RETURN", "COMMIT"]


def test_empty_tables_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of new tables without a rule only those that iptables makes are deleted, not a user's sets."""
    gone: list[str] = []

    def run(words: list[str], *_: object) -> str:
        gone.extend(words[-1:] if "delete" in words else [])
        return '{"nftables": [{"set": {}}]}'

    monkeypatch.setattr(kernel, "run", run)
    monkeypatch.setattr(kernel, "_links", list)
    monkeypatch.setattr(kernel, "firewall", lambda _tool: [])
    monkeypatch.setattr(kernel, "tables", lambda: ["ip nat", "ip blocklist", "ip docker-bridges"])
    kernel.restore(
        {
            "switches": {},
            "firewall": {tool: [] for tool in kernel.FIREWALLS},
            "links": {},
            "tables": {"all": []},
        }
    )
    assert gone == ["nat", "docker-bridges"]


def test_a_strict_machine_stays_strict() -> None:
    """A FORWARD policy that was DROP before the engine stays DROP."""
    before = ["filter\t:FORWARD DROP"]
    assert "-P FORWARD" not in kernel.removal(before, [*before, *ADDED])


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of the test for the engine's data, its mark and the lab's run time."""
    monkeypatch.setattr(engine, "ROOT", tmp_path / "lab/docker")
    for name in ("EXEC", "SOCKET", "CONFIG", "PID", "LOG", "CGROUPS"):
        monkeypatch.setattr(engine, name, tmp_path / "run" / name.lower())
    monkeypatch.setattr(engine, "MARK", tmp_path / "lab/mark.json")
    monkeypatch.setattr(engine, "BEFORE", tmp_path / "before.json")
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    return tmp_path


def users_engine(monkeypatch: pytest.MonkeyPatch, root: Path, name: str = "") -> None:
    """Simulate a Docker of the user, with its data below `root`."""
    monkeypatch.setattr(engine, "users_endpoint", lambda: None)
    told = {"ServerVersion": "29.0.0", "DockerRootDir": str(root), "Name": name or socket.gethostname()}
    monkeypatch.setattr(engine, "_info", lambda _host: told)


def test_own_docker_is_used(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running Docker is used as it is, with a link to its data at the lab's path until `down`."""
    (places / "theirs/containers").mkdir(parents=True)
    users_engine(monkeypatch, places / "theirs")
    assert engine.up(lambda _line: None) == engine.Engine(endpoint=None, version="29.0.0")
    assert engine.endpoint() is None
    assert (engine.ROOT / "containers").is_dir()
    engine.down(lambda _line: None)
    assert not engine.ROOT.is_symlink()
    assert (places / "theirs/containers").is_dir()


@pytest.mark.parametrize(("root", "name"), [("elsewhere", ""), (".", "nas")])
def test_data_elsewhere_are_told(places: Path, monkeypatch: pytest.MonkeyPatch, root: str, name: str) -> None:
    """An engine whose data root is not on this machine is refused, also if the folder is here as well."""
    users_engine(monkeypatch, places / root, name)
    with pytest.raises(LabError, match=r" is not on this machine; the lab needs an engine that runs here"):
        engine.up(lambda _line: None)


def test_a_folder_in_the_links_place_is_named(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the user's where the link goes stays; `make down` leaves it, too, and is no remedy."""
    users_engine(monkeypatch, places)
    engine.ROOT.mkdir(parents=True)
    with pytest.raises(LabError, match=r"there already, and not made by the lab; move it away and run it"):
        engine.up(lambda _line: None)
    engine.MARK.write_text('{"engine": "debian"}')
    with pytest.raises(LabError, match=r"and another one runs now; run `make down` first"):
        engine.up(lambda _line: None)
    assert engine.ROOT.is_dir()


def silent_engine(monkeypatch: pytest.MonkeyPatch, *processes: list[str]) -> None:
    """Simulate a machine on which no engine answers and these processes run."""
    monkeypatch.setattr(engine, "users_endpoint", lambda: None)
    monkeypatch.setattr(engine, "_info", lambda _host: None)
    monkeypatch.setattr(engine, "_arguments", lambda: enumerate(processes, 4))
    monkeypatch.setattr(os, "geteuid", lambda: 0)


DOCKERD = ["/usr/bin/dockerd", "-H", "fd://"]


@pytest.mark.usefixtures("places")
def test_an_engine_without_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that can't be asked, since sudo's PATH lacks `docker`, need not be started."""
    silent_engine(monkeypatch, DOCKERD)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(LabError, match=r"no `docker` command to ask it with; install the command, or put"):
        engine.up(lambda _line: None)


SHIM = ["/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", "3f2a9c"]


@pytest.mark.parametrize("process", [DOCKERD, SHIM])
@pytest.mark.usefixtures("places")
def test_an_engine_that_does_not_answer_is_not_joined(
    monkeypatch: pytest.MonkeyPatch, process: list[str]
) -> None:
    """No engine is started beside one that starts, stops or listens elsewhere, or beside its containers."""
    silent_engine(monkeypatch, process)
    with pytest.raises(LabError, match="process 4 is another engine's, which does not answer; start Docker"):
        engine.up(lambda _line: None)


def test_rules_stay_while_an_engine_does_not_answer(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` neither starts the lab's dead engine beside a silent one nor removes the rules of both."""
    engine.ROOT.mkdir(parents=True)
    engine.MARK.write_text('{"engine": "debian"}')
    engine.BEFORE.write_text("{}")
    silent_engine(monkeypatch, DOCKERD)
    monkeypatch.setattr(kernel, "restore", lambda _before: pytest.fail("the user's rules were touched"))
    said: list[str] = []
    engine.down(said.append)
    assert "the lab's died, and another runs" in said[0]
    assert places


def test_the_engine_of_a_stack_is_not_replaced(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user's engine that has the stack is gone, no other takes its place, and its data are told."""
    engine.ROOT.parent.mkdir()
    engine.ROOT.symlink_to(places / "theirs")
    silent_engine(monkeypatch)
    with pytest.raises(LabError, match=r"theirs, does not answer; start Docker and run it again, or remove"):
        engine.up(lambda _line: None)
    assert engine.ROOT.is_symlink()


def test_a_stack_on_the_users_engine_is_not_abandoned(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that a killed `down` left does not make `down` forget a stack on the user's engine."""
    users_engine(monkeypatch, places)
    engine.MARK.parent.mkdir()
    engine.MARK.write_text('{"engine": "debian"}')
    assert engine.is_abandoned()
    engine.ROOT.symlink_to(places)
    assert not engine.is_abandoned()


def test_a_folder_is_no_mark(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data root without the lab's mark is neither used nor removed."""
    engine.ROOT.mkdir(parents=True)
    users_engine(monkeypatch, places)
    engine.down(lambda _line: None)
    assert engine.ROOT.is_dir()
    with pytest.raises(LabError, match="not made by the lab; move it away and run it again"):
        engine.up(lambda _line: None)


def test_a_broken_mark_is_mended_as_told(places: Path) -> None:
    """What the message says to write into a mark that is cut off counts as a mark."""
    assert places
    engine.MARK.parent.mkdir()
    engine.MARK.write_text("{")
    with pytest.raises(LabError) as told:
        engine._marked()
    engine.MARK.write_text(re.findall(r"write (\{.*\}) into it", str(told.value))[0])
    assert engine._marked()


def test_groups_of_the_stack_go_alone(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` removes the containers' empty control groups, and no other whose name begins alike."""
    monkeypatch.setattr(engine, "CGROUPS", places / "cgroup")
    for group in ("cpu/homelab-loki.slice/0123", "pids/homelab-loki.slice", "pids/homelab-mine.slice"):
        (engine.CGROUPS / group).mkdir(parents=True)
    engine.down(lambda _line: None, ["homelab-loki.slice"])
    assert [group.name for group in engine.CGROUPS.glob("*/*")] == ["homelab-mine.slice"]


def test_no_second_engine_is_started(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the lab's engine died and the user's runs, `down` removes the lab's data but no rules."""
    engine.ROOT.mkdir(parents=True)
    engine.MARK.write_text('{"engine": "debian"}')
    engine.BEFORE.write_text("{}")
    users_engine(monkeypatch, places)
    monkeypatch.setattr(kernel, "restore", lambda _before: pytest.fail("the user's rules were touched"))
    said: list[str] = []
    engine.down(said.append)
    assert "the lab's died, and another runs" in said[0]
    assert not engine.ROOT.exists()
    assert not engine.MARK.exists()


def test_the_context_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi's provider gets the endpoint of Docker's context, because it does not read the context."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "run", lambda *_, **__: "unix:///run/user/1000/docker.sock\n")
    assert engine.users_endpoint() == "unix:///run/user/1000/docker.sock"
    monkeypatch.setattr(engine, "run", lambda *_, **__: "unix:///var/run/docker.sock\n")
    assert engine.users_endpoint() is None
    monkeypatch.setenv("DOCKER_HOST", "ssh://docker-srv")
    assert engine.users_endpoint() is None


def test_the_labs_own_socket_is_not_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `make env`, with the lab's socket in DOCKER_HOST, the user's endpoint is that of the context."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "${DOCKER_HOST:-unix:///var/run/docker.sock}"\n')  # as `docker` does
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.SOCKET}")
    assert engine.users_endpoint() is None


def test_root_is_asked_for(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root and without a Docker, the message names both remedies."""
    assert places
    monkeypatch.setattr(engine, "users_endpoint", lambda: None)
    monkeypatch.setattr(engine, "_info", lambda _host: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="run as root, or start Docker yourself"):
        engine.up(lambda _line: None)


def test_engines_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOMELAB_ENGINE names the engine, the mark precedes it, a wrong name is refused with the valid ones."""
    monkeypatch.delenv("HOMELAB_ENGINE", raising=False)
    assert Programs.chosen().name == "debian"
    monkeypatch.setenv("HOMELAB_ENGINE", "29")
    assert Programs.chosen().name == "29"
    assert Programs.chosen("29-nftables").settings == {"firewall-backend": "nftables"}
    monkeypatch.setenv("HOMELAB_ENGINE", "30")
    with pytest.raises(LabError, match="30 is no engine; use one of debian, 29, 28, 29-nftables"):
        Programs.chosen()


def test_packages_take_nothing_away_and_start_nothing_at_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package never replaces a user's, and its units are disabled, but not one that was there before."""
    ran: list[list[str]] = []

    def run(words: list[str], *_: object, **__: object) -> str:
        ran.append([*words])
        (tmp_path / "docker.service").touch()
        return ""

    (tmp_path / "containerd.service").touch()
    for name in ("UNITS", "SYSTEMD"):
        monkeypatch.setattr(apt, name, tmp_path)
    for name in ("POLICY", "POLICY_KEPT"):
        monkeypatch.setattr(apt, name, tmp_path / name)
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setattr(apt, "run", run)
    assert apt.install("Docker engine", {"/nowhere/dockerd": "docker.io"}, lambda _line: None) == [
        "docker.io"
    ]
    assert "--no-remove" in ran[0]
    assert ran[1][-2:] == ["disable", "docker.service"]


@pytest.mark.parametrize("theirs", ["", "#!/bin/sh\nexit 104\n"])
def test_service_policy_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str) -> None:
    """No service may start during package installation; after it, even if killed, the old policy is back."""
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
