"""`make preview` as an ordinary user on a machine without access to Docker or Proxmox."""

import re
import subprocess
from pathlib import Path

import pytest

from lab import paths
from tests.live.site import PROJECT

NOBODY = 65534
# A network without a way out, then a user without privileges, except root's right to read: the interpreter
# may lie in root's home.
ORDINARY = (
    f"ip link set lo up && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "
    "--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search make preview"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home directory of user nobody with the tool chain in its cache."""
    home = tmp_path / "home"
    (home / "cache").mkdir(parents=True)
    tools = [path for path in paths.CACHE.iterdir() if path.name.startswith("toolchain")]
    subprocess.run(["cp", "--archive", *tools, str(home / "cache")], check=True)
    subprocess.run(["chown", "--recursive", "--no-dereference", f"{NOBODY}:{NOBODY}", str(home)], check=True)
    for parent in [home, *home.parents[:3]]:
        parent.chmod(0o755)
    return home


def preview(home: Path, project: Path) -> subprocess.CompletedProcess[str]:
    """Run `make preview` as that user."""
    return subprocess.run(
        ["unshare", "--net", "sh", "-c", ORDINARY],
        cwd=project,
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(home),
            "HOMELAB_CACHE": str(home / "cache"),
            "HOMELAB_STATE": str(home / "state"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


def test_an_ordinary_user_previews(home: Path) -> None:
    """Without root, Docker or Proxmox the whole stack is checked, and nothing is refused."""
    done = preview(home, PROJECT)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"^  to create \d+: ", done.stdout, re.MULTILINE), done.stdout[-500:]
    assert "  opens: internet -> grafana, by traefik (traefik -> grafana:3000/tcp)" in done.stdout
