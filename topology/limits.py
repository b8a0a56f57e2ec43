"""Names of limits, kernel settings and capabilities that a container may have without reaching beyond it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

ULIMITS: Final = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack"),
)

HARMLESS_CAPABILITIES: Final = frozenset(
    {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}
)
"""Capabilities that affect only the container itself; Docker's default NET_RAW is not one of them."""

HARMLESS_SYSCTL: Final = re.compile(
    r"(?:kernel[./](?:msg|sem|shm)|fs[./]mqueue[./]).*"
    r"|net\.core\.somaxconn|net\.unix\.max_dgram_qlen"
    r"|net\.ipv4\.(?:ip_local_port_range|ip_unprivileged_port_start|ping_group_range)"
    r"|net\.ipv4\.tcp_(?:fin_timeout|keepalive_(?:intvl|probes|time)|max_syn_backlog|max_tw_buckets|rmem"
    r"|syncookies|tw_reuse|wmem)"
)
"""Limits of shared memory and messages, and settings of a container's own sockets. Any other name may route,
with either sign between its parts.
"""

NO_FORWARDING: Final[Mapping[str, str]] = {"net.ipv4.ip_forward": "0"}
"""The kernel's setting with which a container passes no packet from one of its interfaces to another.

Without it a container forwards, as its host does: a new network namespace takes the host's settings.
"""
