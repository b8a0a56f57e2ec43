"""Another project on the running dev stack's outputs: plain Pulumi, without this project's wrappers."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import urllib3

from tests.live.site import PROJECT, Site, command, eventually

CONSUMER = PROJECT / "examples" / "consumer"


def pulumi(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a pulumi command on the consumer's stack."""
    return command(
        "pulumi", "--cwd", str(CONSUMER), *words, "--non-interactive", environment=site.environment
    )


@pytest.fixture(scope="module")
def page(site: Site) -> Iterator[str]:
    """Yield the URL of the start page; removes the consumer's stack at the end."""
    pulumi(site, "stack", "init", "dev")
    try:
        done = pulumi(site, "up", "--yes", "--stack", "dev")
        assert done.returncode == 0, done.stdout[-3000:]
        yield pulumi(site, "stack", "output", "url", "--stack", "dev").stdout.strip()
    finally:
        done = pulumi(site, "destroy", "--yes", "--stack", "dev")
        assert done.returncode == 0, done.stdout[-3000:]
        pulumi(site, "stack", "rm", "--yes", "--preserve-config", "dev")
        assert command("git", "status", "--porcelain", str(CONSUMER)).stdout == ""


def ask(url: str) -> tuple[int, str]:
    """Return status and text of a page, requested on Docker-SRV itself."""
    with urllib3.PoolManager(timeout=10, retries=False) as pool:
        answer = pool.request("GET", url, redirect=False)
        return answer.status, answer.data.decode()


def test_it_knows_the_site_by_its_outputs(site: Site, page: str) -> None:
    """The consumer's page links to each service in the outputs, and to nothing else."""
    status, text = eventually("the start page", lambda: (answer := ask(page))[0] == 200 and answer)
    urls = site.pulumi("stack", "output", "urls", "--json").stdout
    assert (status, text.count("<li>")) == (200, urls.count("https://"))
    assert "https://vaultwarden.homelab.localhost/" in text


@pytest.mark.parametrize("service", ["site-1", "jellyfin", "vaultwarden"])
def test_it_reaches_a_service_by_the_ingress(page: str, service: str) -> None:
    """The consumer reaches a service by the one declared way, with the certificate checked."""
    assert eventually(service, lambda: ask(f"{page}live/{service}")[0] == 200)


def test_it_opens_nothing(site: Site, page: str) -> None:
    """With the consumer running every cell agrees, nothing has drifted, and no port is published."""
    assert page
    probed = command(sys.executable, "-m", "commands", "verify", environment=site.environment)
    assert probed.returncode == 0, probed.stdout[-3000:]
    drifted = command(sys.executable, "-m", "commands", "drift", environment=site.environment)
    assert drifted.returncode == 0, drifted.stdout
    assert site.docker("port", "start-page") == ""


def test_on_a_network_of_the_site_it_is_a_stranger(site: Site, page: str) -> None:
    """Joined to frontend, the consumer is reported by probe and drift as an undeclared container."""
    assert page
    site.docker("network", "connect", "frontend", "start-page")
    try:
        probed = command(sys.executable, "-m", "commands", "verify", environment=site.environment)
        drifted = command(sys.executable, "-m", "commands", "drift", environment=site.environment)
    finally:
        site.docker("network", "disconnect", "frontend", "start-page")
    assert (probed.returncode, drifted.returncode) == (1, 1)
    assert "start-page is on frontend" in probed.stdout
    assert "container start-page" in drifted.stdout
