"""The Docker half of the site, for the bench: the same containers as `docker compose` makes there."""

from components.authorities import Authorities, AuthoritiesArgs
from components.docker_networks import DockerNetworks, DockerNetworksArgs
from components.docker_services import DockerServices, DockerServicesArgs
from components.ingress import Ingress, IngressArgs
from components.settings import topology

site = topology()

networks = DockerNetworks("networks", DockerNetworksArgs(topology=site))
certificates = Authorities("authorities", AuthoritiesArgs(topology=site)).files
ingress = Ingress("ingress", IngressArgs(topology=site, networks=networks.names)).service
services = DockerServicesArgs(
    topology=site, networks=networks.names, certificates=certificates, ingress=ingress
)
DockerServices("services", services)
