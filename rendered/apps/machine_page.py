"""The page of an external machine: nginx between the ingress, which leaves no network, and the machine."""

from rendered import nginx
from rendered.runtime import PemFile, Runtime, http_health
from topology.model import Container, Topology


def machine_page(topology: Topology, service: Container) -> Runtime:
    """Return a runtime of nginx that passes all requests to the one machine that the service may ask."""
    flow = topology.flows_from(service.name)[0]
    machine = topology.zones[flow.destination]
    key = f"zones.{machine.name}.ca-file"
    return Runtime(
        command=nginx.COMMAND,
        files={
            nginx.FILE: nginx.machine_page(service, machine, flow.port),
            **({nginx.AUTHORITY: PemFile(key=key, path=machine.ca_file)} if machine.ca_file else {}),
        },
        health=http_health(nginx.HEALTH, "/"),
    )
