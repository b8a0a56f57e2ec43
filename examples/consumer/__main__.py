"""A start page for the site: a link to each of its services, and whether it answers now.

The program makes one Docker network and one container on it, from the outputs of a homelab-network stack. The
container joins no network of the site, where members that the stack file does not declare count as intruders.
The page needs no flow of its own, because it reaches the ingress from outside, as any client does. The
outputs say whether that is allowed; if not, the program makes nothing.
"""

import os
from collections.abc import Mapping
from html import escape
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_docker as docker

SCHEMA_VERSION = 2
"""The outputs' version that this program was written for; in a larger one, keys may have other meanings."""
PORT = 8080
NAME = "start-page"


def checked(outputs: Mapping[str, Any], prefix: IPv4Network) -> Mapping[str, Any]:
    """Return the outputs if this program can build on them; raises RunError if not."""
    if outputs["schemaVersion"] != SCHEMA_VERSION:
        raise pulumi.RunError(
            f"schemaVersion: {outputs['schemaVersion']:g} is not {SCHEMA_VERSION}; "
            "read docs/outputs.md for what changed, then change this program."
        )
    if not any((flow["source"], flow["port"]) == ("internet", 443) for flow in outputs["flows"].values()):
        raise pulumi.RunError(
            "flows: the internet may not reach the ingress on 443; declare that flow there."
        )
    for name, zone in outputs["zones"].items():
        if prefix.overlaps(IPv4Network(zone["prefix"])):
            raise pulumi.RunError(
                f"start-page:prefix: {prefix} overlaps {zone['prefix']} of zone {name}; use another."
            )
    return outputs


def page(urls: Mapping[str, str]) -> str:
    """Return the page's HTML."""
    rows = "".join(
        f'<li><a href="{escape(url)}">{escape(name)}</a> (<a href="/live/{name}">does it answer?</a>)'
        for name, url in urls.items()
    )
    return f"<!doctype html><title>Start page</title><h1>Start page</h1><ul>{rows}</ul>"


def nginx(outputs: Mapping[str, Any], gateway: IPv4Address) -> str:
    """Return nginx.conf: the page, and per service a request to the ingress that checks its certificate."""
    address = outputs["ingress"]["address"]
    # An ingress on every address of Docker-SRV is also on this network's gateway.
    ingress = gateway if IPv4Address(address).is_unspecified else address
    live = "".join(
        f"""
    location = /live/{name} {{
      limit_except GET {{ deny all; }}
      proxy_set_header Host {urlsplit(url).hostname};
      proxy_ssl_name {urlsplit(url).hostname};
      proxy_pass https://{ingress}:443/;
    }}"""
        for name, url in outputs["urls"].items()
    )
    return f"""\
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  proxy_ssl_server_name on;
  proxy_ssl_verify on;
  proxy_ssl_trusted_certificate /etc/nginx/authority.crt;
  server {{
    listen {PORT};
    server_tokens off;
    default_type text/html;
    location = / {{ root /srv; try_files /index.html =404; }}{live}
  }}
}}
"""


config = pulumi.Config()
own = IPv4Network(config.require("prefix"))
authority = Path(os.path.expandvars(config.require("ca-file"))).read_text(encoding="utf-8")
reference = pulumi.StackReference(config.require("site"))
names = ("schemaVersion", "ingress", "urls", "zones", "flows")
site = pulumi.Output.all(**{name: reference.require_output(name) for name in names}).apply(
    lambda outputs: checked(outputs, own)
)

network = docker.Network(
    NAME,
    name=site.apply(lambda _: NAME),
    ipam_configs=[docker.NetworkIpamConfigArgs(subnet=str(own), gateway=str(own[1]))],
)
docker.Container(
    NAME,
    name=NAME,
    image=config.require("image"),
    command=["nginx", "-g", "daemon off;"],
    user="65534:65534",
    uploads=[
        docker.ContainerUploadArgs(
            file="/etc/nginx/nginx.conf", content=site.apply(lambda outputs: nginx(outputs, own[1]))
        ),
        docker.ContainerUploadArgs(
            file="/srv/index.html", content=site.apply(lambda outputs: page(outputs["urls"]))
        ),
        docker.ContainerUploadArgs(file="/etc/nginx/authority.crt", content=authority),
    ],
    network_mode="bridge",
    networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network.name, ipv4_address=str(own[2]))],
    capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
    security_opts=["no-new-privileges:true"],
    restart="unless-stopped",
    memory=64,
    memory_swap=64,
)
pulumi.export("url", f"http://{own[2]}:{PORT}/")
