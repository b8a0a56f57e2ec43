"""The lab's own engine and images, run apart from the machine: see `engine_inside`, which this starts.

The engine gets namespaces of its own for network, mounts and processes, so that it meets neither the shared
lab nor a Docker of the user's, and nothing of it is left when the last of its processes ends.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import paths
from lab.engine.programs import Programs
from lab.images import IMAGES
from lab.proxmox import packages

APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
PREPARE = f"""
set -e
awk '$5 ~ "^({paths.RUN}|{paths.DATA})(/|$)" {{print $5}}' /proc/self/mountinfo | tac \\
| xargs -rn1 umount --lazy
ip link set lo up
mkdir -p {paths.RUN} {paths.DATA}
mount -t tmpfs run {paths.RUN}
mount --bind "$1" {paths.DATA}
shift
# Not by exec: the first process of these namespaces must collect the others' ends, and a shell does.
"$@"
"""


@pytest.mark.timeout(1800)
def test_engine_and_images(tmp_path: Path) -> None:
    """Every test of `engine_inside` passes where nothing but this project is."""
    Programs.chosen().install(print)
    packages.install(print)
    for image in IMAGES:
        for part in image.parts:
            part.get(print)
    inside = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=180"]
    done = subprocess.run(
        [*APART, PREPARE, "sh", str(tmp_path), *inside, str(Path(__file__).with_name("engine_inside.py"))],
        cwd=paths.PROJECT,
        env={key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")},
        check=False,
        timeout=900,
    )
    assert done.returncode == 0
