"""The systemd units that run the live probe on Docker-SRV by timer, and the commands that manage them.

`components.verify_timer` installs the units where the stack file asks for them. The project itself is not
installed: the host's `project` names the folder where an operator has put it. Note: a run that finds a
disagreement exits with 1, so its service is `failed`; the timer continues.
"""

from pathlib import PurePosixPath

from topology.model import Topology

UNITS = "/etc/systemd/system"
METRICS_FILE = "verify.prom"
"""File name in the host's metrics folder; Node Exporter reads files that end in `.prom`."""
INSTALL = "sh -s"
"""Reads the script from standard input."""


def metrics_file(topology: Topology) -> str:
    """Return the path on Docker-SRV of the last run's metrics."""
    return f"{topology.docker.metrics}/{METRICS_FILE}"


def service(topology: Topology, stack: str) -> str:
    """Return the service unit: one run in the project's own environment, at the lowest priority."""
    folder = PurePosixPath(topology.docker.project)
    return f"""\
[Unit]
Description=Live probe of the network {topology.physical("homelab-network")}
After=docker.service
ConditionPathExists={folder}/Pulumi.{stack}.yaml

[Service]
Type=oneshot
WorkingDirectory={folder}
ExecStart={folder}/.venv/bin/python -m commands verify --stack {stack} --metrics
TimeoutStartSec=5min
Nice=19
"""


def timer(topology: Topology) -> str:
    """Return the timer unit. If it is installed long after boot, its first run is immediate."""
    return f"""\
[Unit]
Description=Live probe of the network {topology.physical("homelab-network")}, again and again

[Timer]
OnBootSec=5min
OnUnitActiveSec={topology.docker.verify_every}s

[Install]
WantedBy=timers.target
"""


def script(topology: Topology, stack: str) -> str:
    """Return the script that installs both units, replacing old ones, and starts the timer."""
    unit = _unit(topology)
    return f"""\
set -e
cat >{UNITS}/{unit}.service <<'UNIT'
{service(topology, stack)}UNIT
cat >{UNITS}/{unit}.timer <<'UNIT'
{timer(topology)}UNIT
systemctl daemon-reload
systemctl enable {unit}.timer
systemctl restart {unit}.timer
"""


def remove(topology: Topology) -> str:
    """Return the command that removes both units; it succeeds where there are none."""
    unit = _unit(topology)
    files = f"{UNITS}/{unit}.timer {UNITS}/{unit}.service"
    return f"systemctl disable --now {unit}.timer || true; rm -f {files}; systemctl daemon-reload"


def _unit(topology: Topology) -> str:
    return topology.physical("homelab-network-verify")
