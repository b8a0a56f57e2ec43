"""The server that answers for a guest: real nginx for the sites, a labelled stand-in for everything else.

The guest's name selects it. A site's certificate is signed by the lab's authority for the guest's name. This
module starts nothing. Note: the servers are unprivileged and can't read the cache below root's home, so they
are executed through a descriptor that the lab opened.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import images, tls
from lab.proxmox import packages
from lab.proxmox.guests import LabGuest

_NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    default_type text/html;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
{listens}
        location / {{
            return 200 "<!doctype html><title>{name}</title><p>{name} (nginx in the lab's VM namespace)";
        }}
    }}
}}
"""
_TLS = 443


@dataclass(frozen=True, kw_only=True)
class Server:
    """A program and its arguments."""

    program: Path
    arguments: tuple[str, ...]


def is_site(guest: str) -> bool:
    """Whether a guest of this name is real nginx; any other is a stand-in."""
    return "site-" in guest


def of(guest: LabGuest, folder: Path) -> list[Server]:
    """Return the servers for the guest's ports, with TLS on 443; writes nginx's files to `folder`."""
    tcp = [listener.number for listener in guest.listeners if listener.protocol == "tcp"]
    if not tcp:
        return []
    if is_site(guest.name):
        listens = "\n".join(f"        listen {number}{' ssl' * (number == _TLS)};" for number in tcp)
        certificate, key = tls.leaf(guest.name, [guest.name])
        shutil.copy(certificate, folder / "certificate.pem")
        shutil.copy(key, folder / "key.pem")
        conf = folder / "nginx.conf"
        conf.write_text(_NGINX.format(folder=folder, listens=listens, name=guest.name.capitalize()))
        return [
            Server(program=packages.nginx(), arguments=("-e", "stderr", "-p", str(folder), "-c", str(conf)))
        ]
    program = images.standin_binary()
    label = ("page", "--name", guest.name, "--listen")
    return [Server(program=program, arguments=(*label, f"0.0.0.0:{number}")) for number in tcp]
