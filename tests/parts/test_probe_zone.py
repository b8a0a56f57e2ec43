"""The probe zone on engines from 20.10 to 29, each in namespaces of its own: see `probe_zone_inside`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import apt, docker29, engine, paths
from lab.images.catalogue import BASE

APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
PREPARE = """
set -e
ip link set lo up
mount -t tmpfs run /run
mkdir -p /var/lib/docker
mount --bind "$1" /var/lib/docker
shift
# Not by exec: the first process of these namespaces must collect the others' ends, and a shell does.
"$@"
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("proxy", [True, False], ids=["proxy", "no-proxy"])
@pytest.mark.parametrize("kind", ["debian", "29-iptables", "29-nftables"])
def test_probe_zone(tmp_path: Path, kind: str, proxy: bool) -> None:
    """Every test of `probe_zone_inside` passes on this engine."""
    engine._install(print)
    apt.install("probe zone", {"nft": "nftables", "iptables": "iptables"}, print)
    BASE.get(print)
    path = [*([str(docker29.programs(print))] if kind != "debian" else []), os.environ["PATH"]]
    backend = {"firewall-backend": "nftables"} if kind == "29-nftables" else {}
    inside = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=180"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    done = subprocess.run(
        [
            *APART,
            PREPARE,
            "sh",
            str(tmp_path),
            *inside,
            str(Path(__file__).with_name("probe_zone_inside.py")),
        ],
        cwd=paths.PROJECT,
        env={
            **env,
            "PATH": os.pathsep.join(path),
            "ENGINE_OPTIONS": json.dumps({"userland-proxy": proxy, **backend}),
        },
        check=False,
        timeout=600,
    )
    assert done.returncode == 0
