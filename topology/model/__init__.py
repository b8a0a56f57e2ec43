"""The words of the project as frozen values: zone, service, guest, host, port, flow, route, topology.

Owns what a declared site *is*. It deliberately neither reads configuration (`topology.config`) nor decides
what can be reached (`reachability.engine`), and it imports no provider. What a reader would get wrong: a
flow is a declaration, never a consequence. Rules, routes, data sources, proof and probe are all made from
`Topology.flows`, and none of them adds to it.
"""

from topology.model.apps import (
    ASKS_FOR_CERTIFICATES,
    NO_LOGIN,
    READS_LOGS,
    SPEAKS_TLS,
    WRITES_LOGS,
    App,
    GuestApp,
)
from topology.model.certificates import (
    Acme,
    Certificate,
    Certificates,
    Plain,
    Variable,
)
from topology.model.flows import (
    DNS,
    HTTP,
    SSH,
    Flow,
    Port,
    Protocol,
    Temporary,
)
from topology.model.hosts import (
    DockerHost,
    ProxmoxHost,
    Ssh,
)
from topology.model.judgement import (
    Assertion,
    Exemption,
)
from topology.model.routes import (
    ADMIN_PAGE_LEFT_OUT,
    Route,
)
from topology.model.services import (
    AdminPage,
    Container,
    Guest,
    Service,
)
from topology.model.site import (
    Topology,
)
from topology.model.values import (
    INTERNET,
    LOCAL_NETWORK,
    MARK,
    Day,
    Every,
    FilePath,
    Flag,
    HostKey,
    HostName,
    Interface,
    Name,
    Prefix,
    PublicKey,
    UserId,
    Value,
)
from topology.model.vantages import (
    ImageVantage,
    SshVantage,
)
from topology.model.zones import (
    Role,
    Zone,
)

__all__ = [
    "ADMIN_PAGE_LEFT_OUT",
    "ASKS_FOR_CERTIFICATES",
    "DNS",
    "HTTP",
    "INTERNET",
    "LOCAL_NETWORK",
    "MARK",
    "NO_LOGIN",
    "READS_LOGS",
    "SPEAKS_TLS",
    "SSH",
    "WRITES_LOGS",
    "Acme",
    "AdminPage",
    "App",
    "Assertion",
    "Certificate",
    "Certificates",
    "Container",
    "Day",
    "DockerHost",
    "Every",
    "Exemption",
    "FilePath",
    "Flag",
    "Flow",
    "Guest",
    "GuestApp",
    "HostKey",
    "HostName",
    "ImageVantage",
    "Interface",
    "Name",
    "Plain",
    "Port",
    "Prefix",
    "Protocol",
    "ProxmoxHost",
    "PublicKey",
    "Role",
    "Route",
    "Service",
    "Ssh",
    "SshVantage",
    "Temporary",
    "Topology",
    "UserId",
    "Value",
    "Variable",
    "Zone",
]
