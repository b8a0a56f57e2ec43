"""The timer that runs the live probe on Docker-SRV, as systemd's unit files and the commands around them.

Owns the texts; `components.verify_timer` installs them where the stack file asks for it. It deliberately does
not bring the project there: `project` of the host names the folder where an operator has put it. What a
reader would get wrong: a run that finds a disagreement ends with 1, so its service is `failed`, and the timer
goes on all the same.
"""

from pathlib import PurePosixPath

from topology.model import Topology

UNITS = "/etc/systemd/system"
METRICS_FILE = "verify.prom"
"""Name of the file in the host's folder of metrics; Node Exporter reads what ends in `.prom`."""
INSTALL = "sh -s"
"""Reads the script from standard input."""


def metrics_file(topology: Topology) -> str:
    """Where the metrics of the last run belong on Docker-SRV."""
    return f"{topology.docker.metrics}/{METRICS_FILE}"


def service(topology: Topology, stack: str) -> str:
    """Write the service: one run, by the project's own environment, at the lowest priority."""
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
    """Write the timer; where it is installed long after a boot, its first run is at once."""
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
    """Write the script that puts both units in place of the old ones and starts the timer."""
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
    """Write the command that takes both units away; it is content where there are none."""
    unit = _unit(topology)
    files = f"{UNITS}/{unit}.timer {UNITS}/{unit}.service"
    return f"systemctl disable --now {unit}.timer || true; rm -f {files}; systemctl daemon-reload"


def _unit(topology: Topology) -> str:
    return topology.physical("homelab-network-verify")
