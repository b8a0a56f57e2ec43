"""What the ingress serves under a host name."""

from __future__ import annotations

from topology.model.apps import NO_LOGIN, App
from topology.model.values import FilePath, Name, Value

ADMIN_PAGE_LEFT_OUT = " && !PathRegexp(`(?i)^/admin`)"
"""How a rule of Traefik's ends that passes no admin page. Vaultwarden knows one by the path's first segment,
once percent signs are decoded and slashes merged, which the entry point does before it looks for a router."""


class Route(Value):
    """A flow from the ingress to a service, served under a host name of its own."""

    service: Name
    host: str
    url: str
    """Where the ingress sends requests: by container name on a Docker network, by address on a VLAN."""
    app: App | None = None
    authority: FilePath | None = None
    """PEM file of who signs for the service; None: it is asked without TLS."""
    admin_page: bool = True
    """Whether requests to its admin page are passed, should it have one."""

    @property
    def rule(self) -> str:
        """Which requests it is for, in Traefik's words."""
        return f"Host(`{self.host}`){'' if self.admin_page else ADMIN_PAGE_LEFT_OUT}"

    @property
    def login(self) -> bool:
        """Whether the ingress asks for a name and a password."""
        return self.app in NO_LOGIN
