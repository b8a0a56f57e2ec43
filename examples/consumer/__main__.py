"""A start page for the site, in a slot of its stack: a link to each of its services.

The site's stack file declares the slot, with its address, rules and route. This program makes the container
that fills it, from that stack's outputs; if they have no such slot, it makes nothing.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

import pulumi
import pulumi_docker as docker

SCHEMA_VERSION = 2
"""The outputs' version that this program was written for; in a larger one, keys may have other meanings."""
NAME = "start-page"
PORT = 8080
NGINX = f"""\
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
  server {{
    listen {PORT};
    server_tokens off;
    default_type text/html;
    root /srv;
  }}
}}
"""


def slot_of(outputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the slot that this program fills; raises RunError if the outputs have none that it can fill."""
    if outputs["schemaVersion"] is None:
        raise pulumi.RunError("schemaVersion: is not there; name a site that is up in start-page:site.")
    if outputs["schemaVersion"] != SCHEMA_VERSION:
        raise pulumi.RunError(
            f"schemaVersion: {outputs['schemaVersion']:g} is not {SCHEMA_VERSION}; "
            "read docs/outputs.md for what changed, then change this program."
        )
    slot: Mapping[str, Any] = (outputs["slots"] or {}).get(NAME, {})
    if slot.get("project") != pulumi.get_project():
        raise pulumi.RunError(
            f"slots: {NAME} is not there for project {pulumi.get_project()}; "
            "declare it in the site's stack file as docs/outputs.md shows, and update that stack."
        )
    if f"{PORT}/tcp" not in slot["ports"]:
        raise pulumi.RunError(f"slots.{NAME}.ports: lacks {PORT}/tcp, where this page is; declare that port.")
    return slot


def page(urls: Mapping[str, str]) -> str:
    """Return the page's HTML."""
    rows = "".join(
        f'<li><a href="{escape(url)}">{escape(name)}</a>' for name, url in urls.items() if name != NAME
    )
    return f"<!doctype html><title>Start page</title><h1>Start page</h1><ul>{rows}</ul>"


config = pulumi.Config()
reference = pulumi.StackReference(config.require("site"))
site = pulumi.Output.all(
    **{name: reference.get_output(name) for name in ("schemaVersion", "slots", "urls")}
).apply(lambda outputs: {"slot": slot_of(outputs), "page": page(outputs["urls"])})
slot = site["slot"]

docker.Container(
    NAME,
    name=slot["container"],
    image=config.require("image"),
    command=["nginx", "-g", "daemon off;"],
    user="65534:65534",
    uploads=[
        docker.ContainerUploadArgs(file="/etc/nginx/nginx.conf", content=NGINX),
        docker.ContainerUploadArgs(file="/srv/index.html", content=site["page"]),
    ],
    network_mode="bridge",
    networks_advanced=slot["networks"].apply(
        lambda networks: [
            docker.ContainerNetworksAdvancedArgs(name=name, ipv4_address=place["address"])
            for name, place in networks.items()
        ]
    ),
    dns=slot["nameServers"],
    capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
    security_opts=["no-new-privileges:true"],
    restart="unless-stopped",
    memory=64,
    memory_swap=64,
)
