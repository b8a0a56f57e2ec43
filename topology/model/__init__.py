"""Frozen values of a declared site: zones, services, guests, hosts, ports, flows, routes and the topology.

This package neither reads configuration (`topology.config`) nor decides reachability
(`reachability.engine`), and it imports no provider. Rules, routes, data sources, the proof and the probe are
generated from `Topology.flows`; none of them adds a flow.
"""

from topology.model.apps import (
    APPS,
    ASKS_FOR_CERTIFICATES,
    FROM_DEBIAN,
    GUEST_APPS,
    HAS_ADMIN_PAGE,
    NO_LOGIN,
    READS_LOGS,
    SPEAKS_TLS,
    WATCHES,
    WRITES_LOGS,
    App,
    GuestApp,
    LogRight,
)
from topology.model.certificates import (
    Acme,
    Certificate,
    Certificates,
    Unencrypted,
    Variable,
)
from topology.model.compose import (
    VOLUME_NAME,
    Healthcheck,
    Mount,
    SecretVariable,
)
from topology.model.flows import (
    DNS,
    HTTP,
    HTTPS,
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
    PolicyException,
)
from topology.model.limits import (
    Device,
    FileServer,
    NamedVolume,
    Scratch,
    VolumeName,
)
from topology.model.lxc import (
    HARMLESS,
    MOUNTS,
    Feature,
    LxcGuest,
    MountPoint,
    OsType,
)
from topology.model.roles import (
    ROLES,
    Colour,
    Role,
    RoleTraits,
)
from topology.model.routes import (
    ADMIN_PAGE_LEFT_OUT,
    Entries,
    Login,
    Route,
    audience,
    entries,
    served_on,
)
from topology.model.services import (
    AdminPage,
    Container,
    Guest,
    Service,
)
from topology.model.site import (
    NO_NAME_SERVER,
    Topology,
)
from topology.model.table import (
    IncompleteTableError,
    table,
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
    InterfaceName,
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
    Zone,
    zone_around,
)

__all__ = [
    "ADMIN_PAGE_LEFT_OUT",
    "APPS",
    "ASKS_FOR_CERTIFICATES",
    "DNS",
    "FROM_DEBIAN",
    "GUEST_APPS",
    "HARMLESS",
    "HAS_ADMIN_PAGE",
    "HTTP",
    "HTTPS",
    "INTERNET",
    "LOCAL_NETWORK",
    "MARK",
    "MOUNTS",
    "NO_LOGIN",
    "NO_NAME_SERVER",
    "READS_LOGS",
    "ROLES",
    "SPEAKS_TLS",
    "SSH",
    "VOLUME_NAME",
    "WATCHES",
    "WRITES_LOGS",
    "Acme",
    "AdminPage",
    "App",
    "Assertion",
    "Certificate",
    "Certificates",
    "Colour",
    "Container",
    "Day",
    "Device",
    "DockerHost",
    "Entries",
    "Every",
    "Feature",
    "FilePath",
    "FileServer",
    "Flag",
    "Flow",
    "Guest",
    "GuestApp",
    "Healthcheck",
    "HostKey",
    "HostName",
    "ImageVantage",
    "IncompleteTableError",
    "InterfaceName",
    "LogRight",
    "Login",
    "LxcGuest",
    "Mount",
    "MountPoint",
    "Name",
    "NamedVolume",
    "OsType",
    "PolicyException",
    "Port",
    "Prefix",
    "Protocol",
    "ProxmoxHost",
    "PublicKey",
    "Role",
    "RoleTraits",
    "Route",
    "Scratch",
    "SecretVariable",
    "Service",
    "Ssh",
    "SshVantage",
    "Temporary",
    "Topology",
    "Unencrypted",
    "UserId",
    "Value",
    "Variable",
    "VolumeName",
    "Zone",
    "audience",
    "entries",
    "served_on",
    "table",
    "zone_around",
]
