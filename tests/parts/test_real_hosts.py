"""The README's steps for real hosts, as far as they work without hosts: secrets, a key, and a preview."""

import subprocess
import sys
from pathlib import Path

from lab import apt, toolchain
from tests.clone import environment

STEPS = """
echo root@pam!home=00000000-0000-0000-0000-000000000000 | pulumi config set --secret proxmoxve:apiToken
echo a-long-one | pulumi config set --secret grafana:adminPassword
htpasswd -nB admin | pulumi config set --secret traefik:users
pulumi config set --path 'homelab-network:domain' home.localhost
make preview STACK=home
"""


def test_a_second_stack_file_is_set_up_and_previewed(tree: Path, tmp_path: Path) -> None:
    """A copy of the stack file with its own endpoint takes secrets from the commands, and is checked."""
    apt.install("htpasswd", {"htpasswd": "apache2-utils"}, print)
    toolchain.ensure(print)
    for name, kind in (
        ("ingress.crt", "CERTIFICATE"),
        ("ingress.key", "PRIVATE KEY"),
        ("ca.crt", "CERTIFICATE"),
    ):
        (tmp_path / name).write_text(f"-----BEGIN {kind}-----\n", encoding="utf-8")
    text = (tree / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    home = text.replace("https://127.0.0.1:8006/", "https://10.10.1.5:8006/")
    secrets = home.index("  grafana:adminPassword:")
    (tree / "Pulumi.home.yaml").write_text(
        home[:secrets].replace("$HOMELAB_STATE/tls", str(tmp_path)), encoding="utf-8"
    )
    (tree / ".venv").symlink_to(sys.prefix)
    (tmp_path / "state").mkdir()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"pulumi stack init home\n{STEPS}"],
        cwd=tree,
        env=environment(tree)
        | toolchain.environment()
        | {
            "MAKEFLAGS": "READY=",
            "MAKELEVEL": "0",
            "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
            "PULUMI_CONFIG_PASSPHRASE": "x",
        },
        input="secret\nsecret\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout
    assert " to create" in done.stdout
    written = (tree / "Pulumi.home.yaml").read_text(encoding="utf-8")
    assert "homelab-network:domain: home.localhost" in written
    assert [clear for clear in ("a-long-one", "root@pam!home", "$2y$") if clear in written] == []
