"""Routes: the services that the ingress serves, each under its host name."""

from __future__ import annotations

from topology.model.apps import NO_LOGIN, App
from topology.model.values import FilePath, Name, Value

ADMIN_PAGE_LEFT_OUT = " && !PathRegexp(`(?i)^/admin`)"
"""End of a Traefik rule that excludes admin pages. Vaultwarden matches the path's first segment after it
decodes percent signs and merges slashes; the entry point does both before it selects a router.
"""


class Route(Value):
    """A flow from the ingress to a service, served under its own host name."""

    service: Name
    host: str
    url: str
    """URL of the service: with its container name on a Docker network, with its address on a VLAN."""
    app: App | None = None
    ca_file: FilePath | None = None
    """PEM file of the service's certificate authority; None: the ingress connects without TLS."""
    admin_page: bool = True
    """Whether the ingress forwards requests to the service's admin page, if there is one."""

    @property
    def rule(self) -> str:
        """Traefik rule that matches the route's requests."""
        return f"Host(`{self.host}`){'' if self.admin_page else ADMIN_PAGE_LEFT_OUT}"

    @property
    def login(self) -> bool:
        """Whether the ingress asks for a name and a password."""
        return self.app in NO_LOGIN
