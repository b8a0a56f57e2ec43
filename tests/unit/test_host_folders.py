"""Folders of Docker-SRV that no container may mount: in the stack file, and by the pack."""

import pytest

from tests.policies.sound import sound
from topology.host_folders import is_private, rooted

ROOT = "/srv/docker"
"""An engine's folder that lies in no other private folder."""
SECRETS = (
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/root",
    "/tmp",  # noqa: S108  # a folder of the host
    ROOT,
    "/proc",
    "/var/lib/containerd",
    "/var/spool",
)
SOCKETS = ("/run", "/run/containerd/containerd.sock", "/srv/api.sock", "/srv/api.socket")
PROGRAMS = ("/sys", "/bin", "/lib", "/sbin", "/usr")
PUBLIC = ("/srv/media", "/var/log", "/var/log/nginx", "/mnt", "/etcetera", "/bootstrap")


@pytest.mark.parametrize("path", [*SECRETS, *SOCKETS, *PROGRAMS])
def test_a_stack_file_names_no_private_folder(path: str) -> None:
    """A folder with secrets, sockets or programs is private, with those above and below it."""
    assert is_private(path, ROOT)
    assert is_private(f"{path}/x", ROOT) or path in SOCKETS
    assert is_private("/", ROOT)


@pytest.mark.parametrize("path", PUBLIC)
def test_a_stack_file_names_other_folders(path: str) -> None:
    """Logs, data and folders whose names begin alike are not private."""
    assert not is_private(path, ROOT)


def refused(path: str) -> set[str]:
    """Return the rules that refuse a folder of Docker-SRV, mounted read-only into Grafana."""
    stack = sound()
    volume = {"containerPath": "/x", "hostPath": path, "readOnly": True}
    stack.inputs("container", "grafana")["volumes"].append(volume)
    rules = {"host-folders-read-only", "no-docker-socket"}
    return {finding.rule for finding in stack.judge_alone()} & rules


@pytest.mark.parametrize("path", [*sorted({*SECRETS} - {ROOT}), "/var/lib/homelab-network/docker"])
def test_the_pack_refuses_folders_with_secrets(path: str) -> None:
    """The mount is a finding although it is read-only."""
    assert refused(path) == {"host-folders-read-only"}


@pytest.mark.parametrize("path", SOCKETS[1:])
def test_the_pack_refuses_sockets(path: str) -> None:
    """A socket below /run, containerd's for example, or of the usual name anywhere, is a finding."""
    assert "no-docker-socket" in refused(path)


@pytest.mark.parametrize("path", ["/etc/hosts", "//etc/hosts", "etc/hosts", "/etc/./x/../hosts/"])
def test_a_path_has_one_spelling(path: str) -> None:
    """Slashes, dots and detours are spellings of one path from the root."""
    assert rooted(path) == "/etc/hosts"
