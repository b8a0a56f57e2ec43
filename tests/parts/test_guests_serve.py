"""Guests that set themselves up: cloud-init itself reads and runs their files in a Debian root."""

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from lab.process import run
from rendered.cloud_init import cloud_config
from rendered.setup import CERTIFICATE, ISSUE, KEY
from tests.parts import debian_root
from topology.config import from_file

PROJECT = Path(__file__).resolve().parents[2]
SITE = from_file(PROJECT / "docs" / "Pulumi.home.example.yaml")
GUESTS = {guest.name: cloud_config(SITE, guest) for guest in SITE.guests}
NAMESPACE = "guest-site-1"
SCHEMA = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
SET_UP = ("env", "SYSTEMD_OFFLINE=1", "/usr/local/sbin/set-up")
# cloud-init's modules in use here; the others configure a whole machine, and the packages are installed.
MODULES = """datasource_list: [NoCloud]
network: {config: disabled}
cloud_init_modules: [write_files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts_user]
"""
# What systemd would start on a guest, in its order, by the units' own commands.
BOOT = """
set -eu
export SYSTEMD_OFFLINE=1
cloud-init init
install -d -o mysql /run/mysqld
install -d /run/php
mariadbd --user=mysql &
mariadb-admin --wait=60 --connect-timeout=60 ping
php-fpm$(ls /etc/php) --daemonize
ln -s php$(ls /etc/php)-fpm.sock /run/php/php-fpm.sock
cloud-init modules --mode config
cloud-init modules --mode final
/usr/local/sbin/set-up # again, as where Proxmox makes the drive anew
nginx
echo ready
read -r end
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Yield a Debian root with cloud-init and the packages of site-1's file."""
    tar = debian_root.archive()
    with tempfile.TemporaryDirectory(prefix="homelab-network-") as folder:
        run(["tar", "--extract", "--file", tar, "--directory", folder], "Debian root")
        Path(folder).chmod(0o755)
        yield Path(folder)


def judged(root: Path, text: str) -> str:
    """Return status and output of cloud-init's own check of a file."""
    (root / "user-data").write_text(text, encoding="utf-8")
    done = debian_root.ask(root, "cloud-init", "schema", "--config-file", "/user-data")
    return f"{done.returncode}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", GUESTS)
def test_cloud_init_takes_the_file(root: Path, name: str) -> None:
    """No key is misspelt or has a wrong type; Debian 12's check accepts unknown top-level keys."""
    assert judged(root, GUESTS[name]) == "0: Valid cloud-config: /user-data\n"
    schema = json.loads((root / SCHEMA).read_text(encoding="utf-8"))
    known = {key for each in schema["$defs"].values() for key in each.get("properties", ())}
    assert set(yaml.safe_load(GUESTS[name])) - known == set()


@pytest.mark.parametrize(
    ("right", "wrong"), [("permissions:", "permission:"), ("packages:\n", "packages: 1\npackagez:\n")]
)
def test_cloud_init_refuses_a_wrong_file(root: Path, right: str, wrong: str) -> None:
    """A misspelt key, or one with a wrong value, is reported."""
    assert "Cloud config schema errors: " in judged(root, GUESTS["site-1"].replace(right, wrong, 1))


@pytest.mark.parametrize("name", ["jellyfin", "stirling-pdf", "vaultwarden"])
def test_an_image_is_set_up_but_for_the_image(root: Path, name: str) -> None:
    """The guest's unit is valid for systemd, and the script runs to its end, twice; podman is a stand-in."""
    stand_in = root / "usr/bin/podman"
    stand_in.write_text("#!/bin/sh\n", encoding="utf-8")
    stand_in.chmod(0o755)
    for file in yaml.safe_load(GUESTS[name])["write_files"]:
        path = root / file["path"].lstrip("/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(file["content"], encoding="utf-8")
        path.chmod(int(file["permissions"], 8))
    unit = f"/etc/systemd/system/{name}.service"
    found = debian_root.ask(root, "systemd-analyze", "verify", "--man=no", unit)
    assert (found.returncode, name in found.stderr) == (0, False), found.stderr
    for _ in range(2):
        done = debian_root.ask(root, *SET_UP)
        assert done.returncode == 0, done.stderr
    assert (root / f"etc/systemd/system/multi-user.target.wants/{name}.service").is_symlink()
    secrets = [*(root / "etc").glob(f"{name}.secret.env"), *(root / "root").glob(f"{name}-admin-password")]
    assert {file.stat().st_mode & 0o777 for file in secrets} <= {0o600}
    assert len(secrets) == (2 if name == "stirling-pdf" else 0)
    folders = [*(root / "var/lib" / name).iterdir()]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_vaultwardens_admin_page_ends(root: Path) -> None:
    """The page is on with a token file and a scheduled end, off without a trace, never on without an end."""
    program, folder = "/usr/local/sbin/vaultwarden-admin-page", root / "run/vaultwarden-admin-page"
    for file in yaml.safe_load(GUESTS["vaultwarden"])["write_files"]:
        path = root / file["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"], encoding="utf-8")
        path.chmod(int(file["permissions"], 8))

    def asked(*words: str, runs: str = "/bin/true") -> tuple[int, str]:
        (root / "stand-ins").mkdir(exist_ok=True)
        for name, text in (("systemctl", "#!/bin/sh\n"), ("systemd-run", f"#!/bin/sh\necho $*\n{runs}\n")):
            (root / "stand-ins" / name).write_text(text, encoding="utf-8")
            (root / "stand-ins" / name).chmod(0o755)
        done = debian_root.ask(root, "env", "PATH=/stand-ins:/usr/sbin:/usr/bin:/sbin:/bin", program, *words)
        return done.returncode, done.stdout

    assert [asked(*words)[0] for words in ((), ("0",), ("100",), ("x",), ("1h",))] == [2] * 5
    assert asked("15", runs="exit 1")[0] != 0
    assert not folder.exists()
    status, said = asked("15")
    end, told = said.splitlines()
    assert (status, end) == (0, f"--quiet --unit vaultwarden-admin-page --on-active 15min {program} off")
    token = folder / "token"
    assert (token.stat().st_mode & 0o777, token.stat().st_uid) == (0o600, 1000)
    assert told.endswith(token.read_text(encoding="utf-8").strip())
    assert len(token.read_text(encoding="utf-8")) == 33
    (given,) = (folder / "options").read_text(encoding="utf-8").splitlines()
    assert given.startswith("ADMIN_PAGE=--volume /run/vaultwarden-admin-page/token:")
    assert asked("off") == (0, "")
    assert not folder.exists()


@pytest.fixture(scope="module")
def site(root: Path) -> Iterator[list[str]]:
    """Run site-1 as its file made it, in a namespace; yields the words that run a command there."""
    seed = root / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "user-data").write_text(GUESTS["site-1"], encoding="utf-8")
    (seed / "meta-data").write_text("instance-id: site-1\n", encoding="utf-8")
    (root / "etc/cloud/cloud.cfg.d/99-test.cfg").write_text(MODULES, encoding="utf-8")
    with debian_root.namespace(NAMESPACE) as there:
        boot = [*there, *debian_root.inside(root, "bash", "-c", BOOT)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(boot, text=True, **pipes) as booted:  # type: ignore[call-overload]
            said = []
            for line in booted.stdout:
                said.append(line)
                if line == "ready\n":
                    break
            assert said[-1:] == ["ready\n"], "".join(said)
            (root / "said").write_text("".join(said), encoding="utf-8")
            try:
                yield there
            finally:
                booted.communicate("end\n", timeout=60)


Ask = Callable[..., tuple[str, str]]


@pytest.fixture
def ask(site: list[str], root: Path) -> Ask:
    """Return a function that sends a request as the ingress does: over TLS to the guest's own name."""

    def asked(path: str, *options: str, to: str = "https://site-1") -> tuple[str, str]:
        curl = ["curl", "--silent", "--cacert", str(root / CERTIFICATE.lstrip("/"))]
        there = ["--connect-to", "::127.0.0.1:443", "--header", "Host: site-1.home.example"]
        words = [*site, *curl, *there, "--write-out", "\n%{http_code}", *options, f"{to}{path}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        text, _, status = done.stdout.rpartition("\n")
        return status, text

    return asked


def test_the_page_is_served(ask: Ask) -> None:
    """WordPress answers from its database, and its links lead through the ingress."""
    status, text = ask("/")
    assert status == "200"
    assert "<title>site-1</title>" in text
    assert "Hello world!" in text
    assert "https://site-1.home.example/" in text
    assert "http://site-1.home.example" not in text


def test_the_guest_shows_a_certificate_of_its_own(ask: Ask, root: Path) -> None:
    """The certificate names only the guest, stays the same after a second set-up, and its key is root's."""
    assert ask("/", to="https://site-2") == ("000", "")
    status, text = ask("/", to="http://site-1")
    assert (status, "site-1" in text) == ("400", False)
    assert ask("/", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0")[0] == "000"
    key = root / KEY.lstrip("/")
    assert (key.stat().st_mode & 0o777, key.owner()) == (0o600, "root")
    said = (root / "said").read_text(encoding="utf-8")
    prints = re.findall(r"^sha256 Fingerprint=(\S+)$", said, re.MULTILINE | re.IGNORECASE)
    assert (len(prints), len({*prints})) == (2, 1), said
    assert prints[0] in (root / ISSUE.lstrip("/")).read_text(encoding="utf-8")


def test_the_declared_port_is_the_only_one(site: list[str]) -> None:
    """No other port listens on any address, and the guest's SSH server can't start."""
    listening = run([*site, "ss", "-H", "--listening", "--tcp", "--udp", "--numeric"], "listeners")
    assert [line.split()[4] for line in listening.splitlines()] == ["0.0.0.0:443"]


def test_what_a_first_boot_leaves_open_is_closed(ask: Ask, root: Path) -> None:
    """The site can't be installed again, and an uploaded script is not run."""
    upload = root / "var/lib/wordpress/wp-content/uploads"
    (upload / "x.php").write_text("<?php echo 'run';", encoding="utf-8")
    (upload / "x.txt").write_text("served", encoding="utf-8")
    closed = ("/wp-admin/install.php", "/xmlrpc.php", "/.htaccess", "/wp-content/uploads/x.php")
    assert [ask(path)[0] for path in closed] == ["403"] * len(closed)
    assert ask("/wp-content/uploads/x.txt") == ("200", "served")
    assert (root / "etc/systemd/system/ssh.service").readlink() == Path("/dev/null")
    assert not (root / "usr/sbin/apache2").exists()


def test_the_administrator_has_a_password_of_the_guests_own(ask: Ask, root: Path) -> None:
    """Only root can read the password; it stays after a second set-up, and no other one is accepted."""
    file = root / "root/wordpress-admin-password"
    password = file.read_text(encoding="utf-8").strip()
    assert (file.stat().st_mode & 0o777, len(password)) == (0o600, 24)
    for given, status in ((password, "302"), ("admin", "200"), ("", "200")):
        form = ("--data-urlencode", "log=admin", "--data-urlencode", f"pwd={given}")
        assert (given, ask("/wp-login.php", *form)[0]) == (given, status)
