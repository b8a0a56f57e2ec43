"""Runs a test in namespaces of its own for network, mounts and processes."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from lab import paths
from lab.engine.programs import Programs
from lab.images import IMAGES
from lab.proxmox import packages

UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c")
PREPARE = f"""
set -e
folder=$1; shift
for place in {paths.RUN} {paths.DATA}; do
  awk -v place="$place" '$5 == place || index($5, place "/") == 1 {{print $5}}' /proc/self/mountinfo \\
  | tac | xargs -rn1 umount --lazy
done
mount -t tmpfs run /run
mkdir {paths.RUN} /run/cgroup
# /sys shows the interfaces of the namespace that it was mounted in; the control groups stay the machine's.
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount --lazy /run/cgroup
rmdir /run/cgroup
ip link set lo up
# All of /var/lib: a mount on a folder goes when the machine itself removes the folder.
mkdir -p "$folder/var/lib/docker" "$folder{paths.DATA}"
mount --bind "$folder/var/lib" /var/lib
# Not by exec: the first process of these namespaces must collect the others' ends, and a shell does.
"$@"
"""


def install(engine: str) -> None:
    """Install what the lab needs with the engine called `engine`; the new namespaces have no network."""
    Programs.chosen(engine).install(print)
    packages.install(print)
    for image in IMAGES:
        for part in image.parts:
            part.get(print)


def pytest_apart(
    file: Path, folder: Path, environment: Mapping[str, str], *words: str, seconds: float = 1200
) -> int:
    """Return pytest's exit status on a file, run in new namespaces; `folder` is its disk."""
    inside = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, str(file)]
    done = subprocess.run(
        [*UNSHARE, PREPARE, "sh", str(folder), *inside],
        cwd=paths.PROJECT,
        env=environment,
        check=False,
        timeout=seconds,
    )
    return done.returncode
