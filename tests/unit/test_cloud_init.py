"""The files by which guests set themselves up; tests/parts/test_guests_serve.py executes them."""

import re
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import cloud_init as command
from rendered import cloud_init
from tests.clone import environment
from tests.site import FILE, changed, own
from topology.config import from_file, load
from topology.model import GuestApp, Topology
from topology.project import PROJECT

EXAMPLE = PROJECT / "docs" / "Pulumi.home.example.yaml"
SITE = from_file(EXAMPLE)
DIGEST = f"sha256:{'0' * 64}"


def read(topology: Topology, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a guest's cloud-config, and the files in it by path."""
    guest = next(guest for guest in topology.guests if guest.name == name)
    config = yaml.safe_load(cloud_init.cloud_config(topology, guest))
    return config, {file["path"]: file["content"] for file in config["write_files"]}


def test_the_example_has_every_app() -> None:
    """The example has a guest of every app, so that the tests of its guests cover every app."""
    assert {guest.app for guest in SITE.guests} == set(GuestApp)


@pytest.mark.parametrize("name", [guest.name for guest in SITE.guests])
def test_nobody_logs_in_by_password_and_updates_come(name: str) -> None:
    """No guest allows passwords, all get updates; without port 22 a guest's SSH server is masked."""
    config, files = read(SITE, name)
    assert (config["ssh_pwauth"], config["disable_root"]) == (False, True)
    assert config["ssh_authorized_keys"] == list(SITE.proxmox.authorized_keys)
    assert not {"password", "chpasswd", "users"} & set(config)
    assert "unattended-upgrades" in config["packages"]
    assert 'Unattended-Upgrade "1"' in files["/etc/apt/apt.conf.d/52unattended-upgrades"]
    assert "systemctl mask ssh.service" in files["/usr/local/sbin/set-up"]
    assert config["runcmd"] == [["/usr/local/sbin/set-up"]]


def test_ssh_stays_where_it_is_declared() -> None:
    """With port 22 declared the SSH server stays, and the app serves the other port."""
    site = load(changed(wordpress("site-1", ports=[22, 8081], keys=["ssh-ed25519 AAAA you"])))
    _, files = read(site, "site-1")
    assert "ssh.service" not in files["/usr/local/sbin/set-up"]
    assert "listen 8081 ssl default_server;" in files["/etc/nginx/sites-available/wordpress"]


def wordpress(name: str, ports: list[int], keys: list[str]) -> dict[str, Any]:
    """Return changes that make a WordPress of a guest of the dev stack."""
    return {
        "hosts.proxmox-srv.snippets": "local",
        "hosts.proxmox-srv.authorized-keys": keys,
        f"services.{name}.app": "wordpress",
        f"services.{name}.ports": ports,
        "flows[4]": f"traefik -> {name}:{ports[-1]}/tcp",
    }


@pytest.mark.parametrize("name", ["jellyfin", "stirling-pdf", "vaultwarden"])
def test_images_are_pinned_and_publish_the_declared_port_alone(name: str) -> None:
    """The image is pinned by digest, and only the declared port is published."""
    _, files = read(SITE, name)
    unit = files[f"/etc/systemd/system/{name}.service"]
    (started,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert started.endswith(f"@{DIGEST}")
    guest = next(guest for guest in SITE.guests if guest.name == name)
    assert re.findall(r"--publish (\d+):", started) == [str(guest.ports[0].number)]
    assert "--network" not in started
    assert "--privileged" not in started


def test_vaultwarden_takes_nobody_in() -> None:
    """Vaultwarden has no sign-up and no invitations, and only a command enables its admin page for a time."""
    _, files = read(SITE, "vaultwarden")
    variables = files["/etc/vaultwarden.env"].splitlines()
    assert {"SIGNUPS_ALLOWED=false", "INVITATIONS_ALLOWED=false"} <= set(variables)
    assert f"DOMAIN=https://vaultwarden.{SITE.domain}" in variables
    assert "CONFIG_FILE=/tmp/config.json" in variables
    held = [path for path, text in files.items() if "ADMIN_TOKEN" in text]
    assert held == ["/usr/local/sbin/vaultwarden-admin-page"]


@pytest.mark.parametrize("name", ["site-1", "stirling-pdf"])
def test_passwords_are_made_up_on_the_guest(name: str) -> None:
    """Passwords are generated on the guest; the file holds none."""
    _, files = read(SITE, name)
    made = [line for line in files["/usr/local/sbin/set-up"].splitlines() if "/dev/urandom" in line]
    assert len(made) == 1
    assert re.search(r"umask 077.*> /root/[a-z-]+-admin-password\)$", made[0])


def test_files_are_written_for_every_guest_with_an_app(tree: Path) -> None:
    """`make cloud-init STACK=home` writes a file for each guest with an app, under the machine's name."""
    (tree / "Pulumi.home.yaml").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        ["make", "--silent", "cloud-init", "STACK=home", "READY=", f"VENV={sys.prefix}"],
        cwd=tree,
        env=environment(tree) | {"MAKELEVEL": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    named = [SITE.user_data(guest) for guest in SITE.guests]
    assert [f"local:snippets/{Path(line).name}" for line in done.stdout.splitlines()] == named
    written = (tree / "cloud-init-home" / "site-1.yaml").read_text(encoding="utf-8")
    assert written == cloud_init.cloud_config(SITE, SITE.guests[0])


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            FILE,
            "Pulumi.sound.yaml: no guest sets itself up; give one app: wordpress, or an app and an image.\n",
        ),
        (
            Path("Pulumi.none.yaml"),
            "Pulumi.none.yaml: cannot be read (No such file or directory); name a stack file.\n",
        ),
    ],
)
def test_bad_input_writes_nothing(
    file: Path, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack without such a guest, or without a stack file, ends with 2 and writes nothing."""
    monkeypatch.chdir(tmp_path)
    assert command.main([str(file)]) == 2
    assert capsys.readouterr() == ("", said)
    assert list(tmp_path.iterdir()) == []


def scraped(*flows: str) -> Topology:
    """Return the example with flows of Prometheus to Jellyfin, from a leg on its VLAN."""
    values = own(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["config"])
    jellyfin = values["services"]["jellyfin"]
    jellyfin["ports"] = [*jellyfin["ports"], *(9100 for flow in flows if ":9100/" in flow)]
    zone = values["zones"][jellyfin["zone"]]
    at = str(IPv4Network(zone["prefix"])[9])
    values["services"]["prometheus"]["addresses"] = {jellyfin["zone"]: at}
    values["flows"] += flows
    values["unencrypted"] += [{"flow": flow, "reason": "the exporter serves plain metrics"} for flow in flows]
    return load(values)


def test_a_scraped_guest_has_an_exporter() -> None:
    """Where Prometheus has a flow to a guest, Node Exporter listens there on that port and address alone."""
    site = scraped("prometheus -> jellyfin:9100/tcp")
    config, files = read(site, "jellyfin")
    guest = next(guest for guest in site.guests if guest.name == "jellyfin")
    assert "prometheus-node-exporter" in config["packages"]
    (text,) = (text for path, text in files.items() if "prometheus-node-exporter.service.d" in path)
    assert text.splitlines() == [
        "[Service]",
        "ExecStart=",
        f"ExecStart=/usr/bin/prometheus-node-exporter --web.listen-address={guest.address}:9100",
    ]
    assert "systemctl restart prometheus-node-exporter.service" in files["/usr/local/sbin/set-up"]


def test_a_guest_whose_app_is_scraped_has_no_exporter() -> None:
    """A flow of Prometheus to the app's own port installs nothing, and so does none."""
    for site in (SITE, scraped("prometheus -> jellyfin:8096/tcp")):
        config, files = read(site, "jellyfin")
        assert "prometheus-node-exporter" not in config["packages"]
        assert not any("prometheus-node-exporter" in text for text in files.values())
