"""Composes what runs on Docker-SRV: its rules first, then networks, containers, ingress and probe timer."""

import pulumi

from components.authorities import Authorities, AuthoritiesArgs
from components.docker_networks import DockerNetworks, DockerNetworksArgs
from components.docker_services import DockerServices, DockerServicesArgs
from components.host_firewall import HostFirewall, HostFirewallArgs
from components.ingress import Ingress, IngressArgs
from components.verify_timer import VerifyTimer, VerifyTimerArgs
from topology.model import Topology


def docker_srv(site: Topology) -> None:
    """Register the site's Docker half; nothing for a site without it."""
    if site.docker_host is None:
        return
    host = HostFirewall("host", HostFirewallArgs(topology=site))
    after_host = pulumi.ResourceOptions(depends_on=[host])
    networks = DockerNetworks("networks", DockerNetworksArgs(topology=site), after_host)
    certificates = Authorities("authorities", AuthoritiesArgs(topology=site)).files
    ingress = Ingress("ingress", IngressArgs(topology=site, networks=networks.names))
    services = DockerServicesArgs(
        topology=site, networks=networks.names, certificates=certificates, ingress=ingress.service
    )
    DockerServices("services", services)
    VerifyTimer("verify", VerifyTimerArgs(topology=site, stack=pulumi.get_stack()))
