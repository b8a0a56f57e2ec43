"""Composes the site: what runs on Docker-SRV, on Proxmox-SRV and on the router, as far as it has them."""

import gc

import pulumi

from components.docker_srv import docker_srv
from components.mistakes import told_once
from components.proxmox_srv import proxmox_srv
from components.router_firewall import router
from components.sdk import mend
from components.settings import topology
from topology.outputs import outputs

gc.disable()  # the process lives for one deployment; garbage collection would take a third of its time
mend()
with told_once():
    site = topology()

    docker_srv(site)
    router(site, proxmox_srv(site))

    for name, value in outputs(site).items():
        pulumi.export(name, value)
