"""Failures of a host: an unreachable one or a refused token is named, and nothing is lost."""

import json

import pytest

from lab import paths
from lab.daemon import Process
from tests.live.site import Site, make

TOKEN = "root@pam!homelab=00000000-0000-4000-8000-000000000000"  # a made-up one, which the API must refuse


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("DOCKER_HOST", "unix:///run/nobody-listens.sock", "Cannot connect to the Docker daemon"),
        ("PROXMOX_VE_API_TOKEN", TOKEN, "401"),
    ],
)
def test_a_host_that_fails_is_named_and_nothing_is_lost(
    site: Site, variable: str, value: str, named: str
) -> None:
    """`pulumi up` ends with an error that names the host and the reason; the state keeps everything."""
    before = resources(site)
    broken = Site(said="", environment={**site.environment, variable: value})
    done = broken.pulumi("up", "--yes", "--refresh", "--policy-pack", "policies/serve")
    assert done.returncode != 0
    assert named.lower() in done.stdout.lower(), done.stdout[-3000:]
    assert "Traceback" not in done.stdout
    assert value.rpartition("=")[2] not in done.stdout or variable != "PROXMOX_VE_API_TOKEN"
    assert resources(site) == before


def test_a_dead_api_is_named_and_comes_back(site: Site) -> None:
    """With the API down `pulumi up` says so; `make up` restarts it without manual steps."""
    daemon = Process.recorded(paths.RUN / "proxmox.pid")
    assert daemon
    before = resources(site)
    daemon.end()
    done = site.pulumi("up", "--yes", "--refresh", "--policy-pack", "policies/serve")
    assert done.returncode != 0
    assert "connection refused" in done.stdout, done.stdout[-3000:]
    again = make("up")
    assert again.returncode == 0, again.stdout[-3000:]
    assert "created" not in again.stdout
    assert resources(site) == before


def resources(site: Site) -> list[str]:
    """Return the names of all resources in the state."""
    state = json.loads(site.pulumi("stack", "export").stdout)
    return sorted(resource["urn"] for resource in state["deployment"]["resources"])
