"""Folders in a container's image that hold programs, and what starts with them."""

from __future__ import annotations

import re
from typing import Final

from topology.host_folders import meets

_STARTED: Final = (
    *("/etc/ld.so.preload", "/etc/ld.so.conf.d", "/etc/ld.so.cache", "/etc/profile.d"),
    *("/etc/cron.d", "/etc/crontab", "/etc/crontabs", "/var/spool/cron", "/etc/init.d"),
    *("/docker-entrypoint.d", "/etc/cont-init.d", "/etc/services.d", "/etc/s6-overlay"),
)
"""What images run, or load, when they start."""
PROGRAMS: Final = ("/bin", "/sbin", "/lib", "/lib64", "/usr", "/opt", *_STARTED)
"""Folders of programs, in which text has no place."""
_ALONE: Final = (
    *("/bin", "/sbin", "/lib", "/lib64"),
    *(
        f"/usr{local}/{name}"
        for local in ("", "/local")
        for name in ("bin", "sbin", "lib", "lib64", "libexec")
    ),
    *_STARTED,
)
"""Folders of programs alone; images keep data in others of `PROGRAMS`, such as /usr/share and /opt."""
_DATA: Final = re.compile(r"/usr(/local)?/lib/[^/]+/(certs?|conf|config|data|logs?)")
"""Folders of data in a package's own folder, which some images publish, such as /usr/lib/unifi/data."""


def has_programs(path: str, *, is_known: bool = False) -> bool:
    """Whether an image has programs at a normalised path, above or below it.

    `is_known` tells a known app's image, which has data in none of their folders.
    """
    if is_known:
        return meets(path, PROGRAMS)
    return meets(path, _ALONE) and not _DATA.fullmatch(path)
