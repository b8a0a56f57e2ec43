"""Composes the site: first what runs on Docker-SRV, then what runs on Proxmox-SRV; a site may have one."""

import gc

import pulumi

from components.authorities import Authorities, AuthoritiesArgs
from components.datacenter_firewall import DatacenterFirewall, DatacenterFirewallArgs
from components.docker_networks import DockerNetworks, DockerNetworksArgs
from components.docker_services import DockerServices, DockerServicesArgs
from components.guests import Guests, GuestsArgs
from components.host_firewall import HostFirewall, HostFirewallArgs
from components.ingress import Ingress, IngressArgs
from components.settings import topology
from components.verify_timer import VerifyTimer, VerifyTimerArgs
from components.vlan_bridge import VlanBridge, VlanBridgeArgs
from topology.outputs import outputs

gc.disable()  # the process lives for one deployment; garbage collection would take a third of its time
site = topology()

if site.docker_host:
    host = HostFirewall("host", HostFirewallArgs(topology=site))
    after_host = pulumi.ResourceOptions(depends_on=[host])
    networks = DockerNetworks("networks", DockerNetworksArgs(topology=site), after_host)
    certificates = Authorities("authorities", AuthoritiesArgs(topology=site)).files
    services = DockerServicesArgs(topology=site, networks=networks.names, certificates=certificates)
    DockerServices("services", services)
    Ingress("ingress", IngressArgs(topology=site, networks=networks.names))
    VerifyTimer("verify", VerifyTimerArgs(topology=site, stack=pulumi.get_stack()))

if site.proxmox_host:
    kept = pulumi.ResourceOptions(protect=site.protect)  # children inherit it
    firewall = DatacenterFirewall("datacenter", DatacenterFirewallArgs(topology=site), kept)
    bridge = VlanBridge("bridge", VlanBridgeArgs(topology=site))
    vlans = GuestsArgs(
        topology=site, bridge=bridge.name, aliases=firewall.aliases, internet=firewall.internet
    )
    Guests("guests", vlans, kept)

for name, value in outputs(site).items():
    pulumi.export(name, value)
