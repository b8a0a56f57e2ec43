"""nginx.conf of the filtering proxies, Prometheus UI and the gateway before Loki, and of machines' pages.

`policies.rendered` compares the uploaded text with it. The filters refuse paths that are not listed.
Note: the gateway checks the path as the client sent it, not as nginx normalises it, because Loki gets the
path as sent.
"""

from typing import Final

from topology.certificates import IssuedCertificate
from topology.model import APPS, Container, Port, Topology, Zone

COMMAND: Final = ("nginx", "-g", "daemon off;")
FILE: Final = "/etc/nginx/nginx.conf"
AUTHORITY: Final = "/etc/nginx/authorities.pem"
"""Certificate of the authority that signed a machine's."""
HEALTH: Final = 8082
"""Port on loopback where a machine's page is asked for its health."""

_QUERIES = (
    "query|query_range|query_exemplars|format_query|parse_query|series|labels|label/[^/]+/values|metadata"
    "|targets|targets/metadata|rules|alerts|alertmanagers"
    "|status/(?:buildinfo|runtimeinfo|tsdb|walreplay|flags)"
)
_PAGES = "(?:classic/)?(?:graph|query|alerts|rules|targets|status|flags|tsdb-status|service-discovery)"
_STATIC = r"(?:(?:classic/)?static|assets)/.*|favicon\.(?:ico|svg)|manifest\.json"

_READ = (
    r"query|query_range|labels|label/\w+/values|series|index/(?:stats|volume|volume_range|shards)|patterns"
    r"|detected_(?:labels|fields|field/[\w.%-]+/values)|format_query|drilldown-limits|status/buildinfo|tail"
)
"""Paths below /loki/api/v1 that Grafana's Loki data source requests; all are read-only."""


_BEGIN = """\
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
"""


def prometheus_ui(topology: Topology, service: Container) -> str:
    """Return the configuration that permits queries, pages and static files."""
    passed = "proxy_pass $upstream;"
    return _proxy(
        topology,
        service,
        "",
        f"""\
    listen {service.ports[0].number};
    location = /-/healthy {{ return 200 "ok\\n"; }}
    location = / {{ limit_except GET {{ deny all; }} {passed} }}
    location ~ ^/(?:{_PAGES})$ {{ limit_except GET {{ deny all; }} {passed} }}
    location ~ ^/(?:{_STATIC})$ {{ limit_except GET {{ deny all; }} {passed} }}
    location ~ ^/api/v1/(?:{_QUERIES})$ {{ limit_except GET POST {{ deny all; }} {passed} }}
    location / {{ return 403 "Prometheus UI is read-only: this path does not pass.\\n"; }}
""",
    )


def loki_gateway(topology: Topology, service: Container) -> str:
    """Return the configuration by which readers read and writers push; others get 403 or no response."""
    own = IssuedCertificate(service.name, service.name)
    sources = {flow.source for flow in topology.flows_to(service.name)}
    # Sorted: the engine passes services sorted by name, a stack file in its own order.
    rights = "".join(
        sorted(
            f'    "CN={topology.physical(client.name)}" {right};\n'
            for client in topology.containers
            if client.name in sources and client.app and (right := APPS[client.app].logs)
        )
    )
    passed = f'if ($passes = "") {{ return 403 "{service.name}: not with this certificate.\\n"; }}'
    return _proxy(
        topology,
        service,
        f"""\
  map_hash_bucket_size 128;
  map $ssl_client_s_dn $client {{
    default nobody;
{rights}\
  }}
  map "$client $request_method $request_uri" $passes {{
    default "";
    "~^reader (?:GET|POST) /loki/api/v1/(?:{_READ})(?:\\?|$)" yes;
    "~^writer POST /loki/api/v1/push$" yes;
  }}
  proxy_max_temp_file_size 0;
""",
        f"""\
    listen {service.ports[0].number} ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate {own.certificate};
    ssl_certificate_key {own.key};
    ssl_client_certificate {own.authorities};
    ssl_verify_client on;
    client_max_body_size 4m;
    client_body_buffer_size 4m;
    error_page 495 496 497 = @refused;
    location @refused {{ return 444; }}
    location = /loki/api/v1/tail {{
      {passed}
      proxy_http_version 1.1;
      proxy_set_header Upgrade websocket;
      proxy_set_header Connection upgrade;
      proxy_pass $upstream;
    }}
    location / {{
      {passed}
      proxy_pass $upstream;
    }}
""",
    )


def _proxy(topology: Topology, service: Container, before: str, inside: str) -> str:
    """Return the common parts: one upstream over TLS, to which nginx presents the service's certificate.

    nginx resolves the upstream's name at each request, so the upstream may start later or move.
    """
    flow = topology.flows_from(service.name)[0]
    shown = IssuedCertificate(service.name, flow.destination).client(topology)
    return f"""\
{_BEGIN}  client_max_body_size 64k;
  default_type text/plain;
  resolver 127.0.0.11 valid=10s;
  proxy_ssl_protocols TLSv1.3;
  proxy_ssl_certificate {shown["cert_file"]};
  proxy_ssl_certificate_key {shown["key_file"]};
  proxy_ssl_trusted_certificate {shown["ca_file"]};
  proxy_ssl_name {shown["server_name"]};
  proxy_ssl_server_name on;
  proxy_ssl_verify on;
{before}\
  server {{
    server_tokens off;
    set $upstream https://{topology.target(flow)};
{inside}\
  }}
}}
"""


def machine_page(service: Container, machine: Zone, port: Port) -> str:
    """Return the configuration that passes every request, bodies and answers as they come, to one machine.

    With `ca-file` it is asked by TLS, and its certificate checked.
    """
    scheme, by_tls = "http", ""
    if machine.ca_file:
        scheme = "https"
        by_tls = f"""\
  proxy_ssl_protocols TLSv1.2 TLSv1.3;
  proxy_ssl_trusted_certificate {AUTHORITY};
  proxy_ssl_verify_depth 3;
  proxy_ssl_name {machine.host};
  proxy_ssl_server_name on;
  proxy_ssl_verify on;
"""
    return f"""\
{_BEGIN}  client_max_body_size 0;
  map $http_upgrade $upgrade {{ default upgrade; "" ""; }}
{by_tls}\
  server {{
    listen {service.ports[0].number};
    server_tokens off;
    location / {{
      proxy_pass {scheme}://{machine.prefix[0]}:{port.number};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $upgrade;
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_read_timeout 10m;
    }}
  }}
  server {{
    listen 127.0.0.1:{HEALTH};
    location / {{ return 200 "ok\\n"; }}
  }}
}}
"""
