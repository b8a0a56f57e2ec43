"""Node Exporter on a guest that sets itself up, from Debian's packages, where Prometheus has a flow to it.

The port of the flow is the exporter's if it is not the app's own. Note: the unit's arguments are in a drop-in
of systemd's, since Debian's package asks what to keep of a changed file in /etc/default.
"""

from typing import Final

from rendered.setup import Setup
from topology.model import SSH, Guest, Port, Protocol, Topology, is_scrape

PACKAGE: Final = "prometheus-node-exporter"
_DROP_IN: Final = f"/etc/systemd/system/{PACKAGE}.service.d/listen.conf"
_UNIT: Final = """[Service]
ExecStart=
ExecStart=/usr/bin/%(program)s --web.listen-address=%(address)s:%(port)d
"""


def scraped_on(topology: Topology, guest: Guest) -> Port | None:
    """Return the port on which Prometheus scrapes a guest's exporter; None where it has no flow to one."""
    asked = (flow.port for flow in topology.flows_to(guest.name) if is_scrape(flow, topology.services))
    own = (port for port in asked if port.protocol is Protocol.TCP and port not in {SSH, guest.web})
    return next(own, None)


def exporter(topology: Topology, guest: Guest) -> Setup:
    """Return the setup of the exporter, which listens on the guest's address alone; empty without a flow."""
    port = scraped_on(topology, guest)
    if port is None:
        return Setup(packages=(), script=())
    values = {"program": PACKAGE, "address": guest.address, "port": port.number}
    return Setup(
        packages=(PACKAGE,),
        files={_DROP_IN: _UNIT % values},
        script=("systemctl daemon-reload", f"systemctl restart {PACKAGE}.service"),
    )
