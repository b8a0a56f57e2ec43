"""Composes what runs on each Docker host: its rules, then networks, containers, ingress and probe timer.

The engine of the ingress's host is the stack's own, `docker:host`; each other host has a provider of its own,
and its name before those of its resources.
"""

import pulumi
import pulumi_docker as docker

from components.authorities import Authorities, AuthoritiesArgs
from components.docker_networks import DockerNetworks, DockerNetworksArgs
from components.docker_services import DockerServices, DockerServicesArgs
from components.host_firewall import HostFirewall, HostFirewallArgs
from components.ingress import Ingress, IngressArgs
from components.verify_timer import VerifyTimer, VerifyTimerArgs
from topology.model import DockerHost, Topology


def docker_srv(site: Topology) -> None:
    """Register the site's Docker hosts; nothing for a site without one."""
    for part in site.by_docker_host if site.docker_host else ():
        if part.docker == site.docker:
            _docker_host(part, "", pulumi.ResourceOptions())
        else:
            _docker_host(part, f"{part.docker.name}-", pulumi.ResourceOptions(provider=_engine(part.docker)))


def _docker_host(site: Topology, before: str, opts: pulumi.ResourceOptions) -> None:
    """Register the part of a site that is on one Docker host, with a text before the resources' names."""
    host = HostFirewall(f"{before}host", HostFirewallArgs(topology=site, before=before))
    after_host = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[host]))
    networks = DockerNetworks(f"{before}networks", DockerNetworksArgs(topology=site), after_host)
    certificates = Authorities(f"{before}authorities", AuthoritiesArgs(topology=site)).files
    ingress = None
    if site.ingress_name:
        ingress = Ingress("ingress", IngressArgs(topology=site, networks=networks.names), opts).service
    services = DockerServicesArgs(
        topology=site, networks=networks.names, certificates=certificates, ingress=ingress
    )
    DockerServices(f"{before}services", services, opts)
    if ingress:
        VerifyTimer("verify", VerifyTimerArgs(topology=site, stack=pulumi.get_stack()))


def _engine(host: DockerHost) -> docker.Provider:
    """Return the provider of a Docker host's engine, which its SSH login reaches."""
    return docker.Provider(host.name, host=f"ssh://{host.ssh.user}@{host.ssh.address}" if host.ssh else None)
