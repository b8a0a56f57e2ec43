"""What `test_probe_zone` runs in namespaces of its own: a newer engine on an older one's data root."""

import os

import pytest

from tests.parts.probe_zone_inside import (
    PROBE,
    PUBLISHED,
    SITE,
    Engine,
    _check_probe,
    _container,
    _host_ports,
    _network,
    _reached,
    daemon,
    docker,
    site,
)
from verify import host

__all__ = ["daemon", "site"]


def test_upgrade(site: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer engine closes the zone of the older one's network, which is seen; made anew it is open."""
    bridge = SITE.bridge(PROBE)
    assert not host.replies_dropped(bridge)
    _check_probe()
    monkeypatch.setenv("PATH", os.environ["NEWER_PATH"])
    site.restart()
    assert _reached(PROBE.name, _host_ports(*PUBLISHED.values())) == []
    assert host.replies_dropped(bridge)
    docker("rm", "--force", PROBE.name)
    docker("network", "rm", PROBE.network)
    _network(PROBE)
    _container(PROBE.name, PROBE.network)
    assert not host.replies_dropped(bridge)
    _check_probe()
