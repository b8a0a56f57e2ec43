"""The probe's own namespaces and links, beside a user's of such names."""

import os
import subprocess
import sys

import pytest

from tests.live.site import PROJECT

SCRIPT = """
from ipaddress import IPv4Network
from pathlib import Path
from verify import namespaces
from verify.driver import ProbeError

def there():
    names = [path.name for path in Path("/run/netns").glob("*")]
    return sorted(names + [path.name for path in Path("/sys/class/net").glob("v*")])

namespaces.remove_all()
print(there())
made = namespaces.Made()
made.beside("internet", IPv4Network("198.51.100.0/30"), ())
made.beside("near", IPv4Network("203.0.113.0/30"), ())
print(there())
try:
    made.beside("mine", IPv4Network("192.0.2.0/30"), ())
except ProbeError as fault:
    print(fault)
namespaces.remove_all()
print(there(), namespaces.MARKS.exists())
"""
APART = (
    "mount -t tmpfs run /run; mount -t sysfs sysfs /sys; ip netns add verify-mine; "
    "ip link add verify1 type veth peer name vpeer; " + 'exec "$@"'
)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_users_namespace_and_link_stay() -> None:
    """A namespace and a link with names like the probe's are not removed, and its own are."""
    words = ("unshare", "--net", "--mount", "sh", "-ec", APART, "sh", sys.executable, "-c", SCRIPT)
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    theirs = ["verify-mine", "verify1", "vpeer"]
    assert done.stdout.splitlines() == [
        str(theirs),
        str(sorted([*theirs, "verify-internet", "verify-near", "verify0", "verify2"])),
        "namespace verify-mine: there already, and not the probe's; remove it, or rename it",
        f"{theirs} False",
    ]
