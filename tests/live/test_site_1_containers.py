"""The running containers, from inside and from the engine: user, capabilities, writes, and secrets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab import paths, proxmox
from tests.live.canary import files, sightings
from tests.live.sabotage import TOPOLOGY
from tests.live.site import PROJECT, Site, command, eventually
from topology.certificates import IssuedCertificate

CONTAINERS = [
    "traefik",
    "grafana",
    "prometheus-ui",
    "prometheus",
    "loki-gateway",
    "loki",
    "node-exporter",
    "cadvisor",
    "promtail",
]
READ_ONLY = {"cadvisor"}
LEAF = IssuedCertificate("grafana", "loki-gateway").key
SHELLS = [name for name in CONTAINERS if name not in {"loki", "promtail"}]
"""Loki's image has no shell; Promtail is root, because the engine's log files are root's."""


def test_the_engine_limits_every_container(site: Site) -> None:
    """The engine reports a user, no capability, no new privileges, a limit and bounded scratch space."""
    inspected = json.loads(site.docker("inspect", *CONTAINERS))
    users = {each["Name"].lstrip("/"): each["Config"]["User"] for each in inspected}
    assert [name for name, user in users.items() if user.partition(":")[0] in {"", "0"}] == ["promtail"]
    for each in inspected:
        host = each["HostConfig"]
        assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] == host["MemorySwap"] > 0
        assert {"noexec", "nosuid", "nodev", "size=64m"} <= set(host["Tmpfs"]["/tmp"].split(","))  # noqa: S108
    assert {e["Name"].lstrip("/") for e in inspected if e["HostConfig"]["ReadonlyRootfs"]} == READ_ONLY


def test_a_container_with_a_leg_is_no_router(site: Site) -> None:
    """The ingress's kernel settings let no packet pass from one of its networks to another."""
    assert TOPOLOGY.legs.of("traefik")
    assert site.docker("exec", "traefik", "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"


@pytest.mark.parametrize("name", SHELLS)
def test_ipv6_is_shut_on_every_interface(site: Site, name: str) -> None:
    """No interface of a container but loopback has an IPv6 address, not even a link-local one."""
    cards = site.docker("exec", name, "cat", "/proc/net/if_inet6").split()[5::6]
    assert {*cards} <= {"lo"}


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("folder", ["/", "/etc", "/usr/bin", "/bin"])
def test_a_foothold_writes_nothing_into_the_image(site: Site, name: str, folder: str) -> None:
    """A shell as the container's user can't write to its root file system."""
    words = ("docker", "exec", name, "sh", "-c", f": > {folder}/foothold")
    assert command(*words, environment=site.environment).returncode != 0


@pytest.mark.parametrize("name", SHELLS)
def test_a_foothold_holds_no_capability(site: Site, name: str) -> None:
    """By the kernel a container has no effective, permitted or obtainable capability."""
    status = dict(
        line.split(":", 1) for line in site.docker("exec", name, "cat", "/proc/1/status").splitlines()
    )
    for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"].strip() == "1"


def test_the_engine_copies_nothing_into_a_read_only_root(site: Site, tmp_path: Path) -> None:
    """`docker cp` fails on a read-only root, so a container that is given files has none."""
    (tmp_path / "file").write_text("x")
    done = command("docker", "cp", str(tmp_path / "file"), "cadvisor:/file", environment=site.environment)
    assert done.returncode != 0
    assert "read-only" in done.stdout


@pytest.fixture
def secrets(site: Site) -> dict[str, str]:
    """Return the value of every secret of the running stack."""
    key = (paths.STATE / "tls/ingress.key").read_text().splitlines()[1]
    users = site.pulumi("config", "get", "traefik:users").stdout.strip()
    shown = json.loads(site.pulumi("stack", "export", "--show-secrets").stdout)
    (authority,) = (
        json.loads(each["outputs"]["privateKeyPem"]["plaintext"])
        for each in shown["deployment"]["resources"]
        if each["type"] == "tls:index/privateKey:PrivateKey" and each["urn"].endswith("::loki.a")
    )
    return {
        "authority": authority.splitlines()[1],
        "leaf": site.docker("exec", "grafana", "cat", LEAF).splitlines()[1],
        "grafana": site.password(),
        "users": users.partition(":")[2],
        "key": key,
        "token": proxmox.token().partition("=")[2],
    }


def shown_by(site: Site, *names: str) -> dict[str, str]:
    """Return what the engine, Docker and the process table show of containers."""
    return {
        "inspect": site.docker("inspect", *names),
        "logs": "".join(
            command("docker", "logs", name, environment=site.environment).stdout for name in names
        ),
        "arguments": subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout,
    }


def test_secrets_are_in_no_output(site: Site, secrets: dict[str, str], tmp_path: Path) -> None:
    """Passwords, keys and tokens are only in their files: in no inspection, log, state or report."""
    report = tmp_path / "report.html"
    assert (
        command(
            sys.executable, "-m", "commands", "report", "Pulumi.dev.yaml", "--output", str(report)
        ).returncode
        == 0
    )
    shown = {
        **shown_by(site, *CONTAINERS),
        "state": site.pulumi("stack", "export").stdout,
        "outputs": site.pulumi("stack", "output", "--json", "--show-secrets").stdout,
        "history": site.pulumi("stack", "history", "--json").stdout,
        "preview": site.pulumi("preview", "--diff", "--policy-pack", "policies/serve").stdout,
        "up": site.said,
        "report": report.read_text(),
        "verify": (PROJECT / "verify-dev.json").read_text(),
        **files([paths.STATE / ".pulumi", Path(TOPOLOGY.docker.metrics)]),
        **{
            str(log): log.read_text(errors="replace") for log in paths.RUN.rglob("*log") if log.stat().st_size
        },
    }
    assert sightings(secrets, shown) == []
    held = {
        "leaf": ("grafana", LEAF),
        "grafana": ("grafana", "/etc/grafana/admin-password"),
        "users": ("traefik", "/etc/traefik/users"),
        "key": ("traefik", "/etc/traefik/tls/key.pem"),
    }
    for what, (name, file) in held.items():
        shown = {"file": site.docker("exec", name, "cat", file)}
        assert sightings({what: secrets[what]}, shown) == [("file", what)]


def test_a_secret_in_the_wrong_place_is_found(site: Site, secrets: dict[str, str]) -> None:
    """The same search finds each secret that a test container has as label, as argument and in its log."""
    name, image = "stray", str(TOPOLOGY.services["prometheus-ui"].image)
    text = " ".join(secrets.values())
    words = ("--name", name, "--network", "none", "--label", f"password={text}", "--entrypoint", "sh")
    # `wait` keeps the container running while nc waits for a connection.
    site.docker("run", "--detach", *words, image, "-c", f"echo '{text}'; nc -l -p 9999 & wait")
    try:
        eventually("its log", lambda: site.docker("logs", name))
        found = sightings(secrets, shown_by(site, name))
    finally:
        site.docker("rm", "--force", name)
    assert sorted(found) == sorted(
        (where, what) for where in ("inspect", "logs", "arguments") for what in secrets
    )
