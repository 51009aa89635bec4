"""The proxies that the bench runs, each with as equal a configuration as it allows.

For all: TLS 1.3 alone, TLS_AES_128_GCM_SHA256, X25519, a P-256 SVID; the peer's certificate is
required and verified against the bundle; one worker; no log of connections. What differs because it
has to is said in each class. A class has

    name, debian (a package of Debian), kinds (which of inbound, outbound, bridge it can do)
    configure(setup) -> command line, after it has written its files
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess

from machine import ROOT
from svids import SERVER_NAME, Svids, spiffe_id

INBOUND, OUTBOUND, BRIDGE = "inbound", "outbound", "bridge"
KINDS = (INBOUND, OUTBOUND, BRIDGE)
CIPHER = "TLS_AES_128_GCM_SHA256"


@dataclasses.dataclass(frozen=True)
class Setup:
    """What one process of a proxy is to be."""
    kind: str
    port: int          # where it listens, on 127.0.0.1
    backend: int       # where it forwards to, on 127.0.0.1
    svids: Svids
    directory: pathlib.Path
    resume: bool       # whether sessions with the server behind it may be resumed
    workers: int
    descriptors: int   # RLIMIT_NOFILE
    role: str = ""     # tells apart the files of processes that run side by side

    @property
    def accepts_tls(self):
        return self.kind != OUTBOUND

    @property
    def dials_tls(self):
        return self.kind != INBOUND

    @property
    def connections(self):
        """Two descriptors each, and some for the program itself."""
        return (self.descriptors - 200) // 2

    def write(self, name, text):
        path = self.directory / name
        path.touch(0o600)
        path.write_text(text)
        return path


class Peer:
    name = ""
    program = ""
    debian = True
    kinds = KINDS
    handshakes_only = False  # a variant that differs in nothing else

    def find(self):
        """The program's path, or None."""
        return shutil.which(self.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")

    def first_line(self, *arguments):
        result = subprocess.run([self.find(), *arguments], capture_output=True, text=True)
        lines = (result.stdout + result.stderr).strip().splitlines()
        return lines[0].strip() if lines else "version unknown"

    def version(self):
        return self.first_line("--version")

    def file_name(self, setup, suffix="conf"):
        workers = "" if setup.workers == 1 else f"{setup.workers}-workers"
        return "-".join(filter(None, (self.name, setup.kind, setup.role, workers))) + f".{suffix}"

    def environment(self, setup):
        """What its process needs beyond the usual."""
        return {}

    def configure(self, setup):
        raise NotImplementedError


class Bulkhead(Peer):
    """Does more than the others: it asks its rules for the client's SPIFFE ID, and requires the
    server's."""
    name = "bulkhead"

    def __init__(self, program=ROOT / "build" / "bulkhead", name="bulkhead", more=""):
        self.program, self.name, self.more = str(program), name, more

    def find(self):
        path = pathlib.Path(self.program).resolve()
        return str(path) if path.exists() else None

    def configure(self, setup):
        accept = "mtls" if setup.accepts_tls else "tcp"
        forward = "mtls" if setup.dials_tls else "tcp"
        expect = f"\n    expect: {spiffe_id('server')}" if setup.dials_tls else ""
        resumption = "" if setup.resume else "\n    resumption: none"
        rules = (f"rules:\n  - {{name: client, from: {spiffe_id('client')}, to: bench}}\n"
                 if setup.accepts_tls else "")
        return [self.find(), "run", "-c", setup.write(self.file_name(setup, "yaml"), f"""version: 1
identity:
  files: {{certificate: {setup.svids.certificate("proxy")}, private_key: {setup.svids.key("proxy")}}}
trust:
  bench.example: {{bundle: {setup.svids.bundle}}}
listeners:
  - name: bench
    accept: {accept}://127.0.0.1:{setup.port}
    forward: {forward}://127.0.0.1:{setup.backend}{expect}{resumption}
{rules}workers: {setup.workers}
drain: {{timeout: 1s}}
{self.more or "access_log: {to: none}"}
""")]


class Haproxy(Peer):
    name = "haproxy"
    program = "haproxy"
    no_tickets = ""

    def version(self):
        return self.first_line("-v").partition(" 20")[0].replace("version ", "")

    def configure(self, setup):
        both = setup.write("haproxy.pem", setup.svids.both("proxy"))
        verify = f"crt {both} ca-file {setup.svids.bundle} verify required"
        reuse = "" if setup.resume else " no-ssl-reuse"
        bind = f" ssl {verify} curves X25519{self.no_tickets}" if setup.accepts_tls else ""
        server = f" ssl {verify}{reuse}" if setup.dials_tls else ""
        config = setup.write(self.file_name(setup), f"""global
  nbthread {setup.workers}
  maxconn {setup.connections}
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites {CIPHER}
  ssl-default-server-options ssl-min-ver TLSv1.3
  ssl-default-server-ciphersuites {CIPHER}
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend in
  bind 127.0.0.1:{setup.port} backlog 4096{bind}
  default_backend out
backend out
  server s 127.0.0.1:{setup.backend}{server}
""")
        return [self.find(), "-db", "-f", config]


class HaproxyNt(Haproxy):
    """Its session cache in place of stateless tickets."""
    name = "haproxy-nt"
    kinds = (INBOUND, BRIDGE)
    handshakes_only = True
    no_tickets = " no-tls-tickets"


class Nginx(Peer):
    name = "nginx"
    program = "nginx"
    tickets = "ssl_session_tickets on;"

    def find(self):
        """With its stream module, built in or beside."""
        program = super().find()
        return program if program and (self.module() or "--with-stream " in self.options()) else None

    def options(self):
        result = subprocess.run([super().find(), "-V"], capture_output=True, text=True)
        return result.stderr.replace("--with-stream=dynamic", "")

    @staticmethod
    def module():
        path = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        return f"load_module {path};\n" if path.exists() else ""

    def version(self):
        return self.first_line("-v").replace("nginx version: nginx/", "nginx ")

    def configure(self, setup):
        svids = setup.svids
        config = setup.write(self.file_name(setup), f"""{self.module()}daemon off;
worker_processes {setup.workers};
pid {setup.directory}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile {setup.descriptors};
events {{ worker_connections {setup.descriptors}; }}
stream {{
  server {{
    listen 127.0.0.1:{setup.port}{" ssl" if setup.accepts_tls else ""} backlog=4096;
{self.accepting(svids) if setup.accepts_tls else ""}{self.dialling(setup) if setup.dials_tls else ""}\
    proxy_timeout 1h;
    proxy_pass 127.0.0.1:{setup.backend};
  }}
}}
""")
        return [self.find(), "-p", setup.directory, "-e", "stderr", "-c", config]

    def accepting(self, svids):
        return f"""    ssl_certificate {svids.certificate("proxy")};
    ssl_certificate_key {svids.key("proxy")};
    ssl_client_certificate {svids.bundle};
    ssl_verify_client on;
    ssl_protocols TLSv1.3;
    ssl_ecdh_curve X25519;
    ssl_conf_command Ciphersuites {CIPHER};
    {self.tickets}
"""

    @staticmethod
    def dialling(setup):
        return f"""    proxy_ssl on;
    proxy_ssl_certificate {setup.svids.certificate("proxy")};
    proxy_ssl_certificate_key {setup.svids.key("proxy")};
    proxy_ssl_trusted_certificate {setup.svids.bundle};
    proxy_ssl_verify on;
    proxy_ssl_name {SERVER_NAME};
    proxy_ssl_protocols TLSv1.3;
    proxy_ssl_conf_command Ciphersuites {CIPHER};
    proxy_ssl_conf_command Groups X25519;
    proxy_ssl_session_reuse {"on" if setup.resume else "off"};
"""


class NginxNt(Nginx):
    """A session cache in place of stateless tickets."""
    name = "nginx-nt"
    kinds = (INBOUND, BRIDGE)
    handshakes_only = True
    tickets = "ssl_session_tickets off;\n    ssl_session_cache shared:bench:20m;"


class Hitch(Peer):
    """Its workers refuse to be root."""
    name = "hitch"
    program = "hitch"
    kinds = (INBOUND,)

    def configure(self, setup):
        both = setup.write("hitch.pem", setup.svids.both("proxy", key_first=True))
        user = 'user = "nobody"\n' if os.geteuid() == 0 else ""
        config = setup.write(self.file_name(setup), f"""{user}frontend = "[127.0.0.1]:{setup.port}"
backend = "[127.0.0.1]:{setup.backend}"
pem-file = "{both}"
workers = {setup.workers}
tls-protos = TLSv1.3
ciphersuites = "{CIPHER}"
ecdh-curve = "X25519"
client-verify = required
client-verify-ca = "{setup.svids.bundle}"
backlog = 4096
daemon = off
quiet = on
log-level = 0
""")
        return [self.find(), "--config", config]


class Stunnel(Peer):
    """One thread for each connection."""
    name = "stunnel"
    program = "stunnel4"
    kinds = (INBOUND, OUTBOUND)

    def version(self):
        # The first line is about its set-up on this machine.
        result = subprocess.run([self.find(), "-version"], capture_output=True, text=True)
        lines = (result.stdout + result.stderr).splitlines()
        found = [line for line in lines if line.startswith("stunnel ")]
        return found[0].partition(" on ")[0] if found else "stunnel, version unknown"

    def configure(self, setup):
        name = f"checkHost = {SERVER_NAME}" if setup.dials_tls else "requireCert = yes"
        return [self.find(), setup.write(self.file_name(setup), f"""foreground = quiet
debug = 0
pid =
[bench]
client = {"yes" if setup.dials_tls else "no"}
accept = 127.0.0.1:{setup.port}
connect = 127.0.0.1:{setup.backend}
cert = {setup.svids.certificate("proxy")}
key = {setup.svids.key("proxy")}
CAfile = {setup.svids.bundle}
verifyChain = yes
{name}
sslVersionMin = TLSv1.3
ciphersuites = {CIPHER}
curves = X25519
sessionResume = {"yes" if setup.resume else "no"}
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
""")]


class Ghostunnel(Peer):
    """Written in Go, with Go's own TLS, whose 1.3 cipher can't be chosen (AES-128-GCM is its first).
    No resumption towards the server. GOMAXPROCS bounds its threads that run at a time."""
    name = "ghostunnel"
    program = "ghostunnel"
    debian = False
    kinds = (INBOUND, OUTBOUND)

    def environment(self, setup):
        return {"GOMAXPROCS": str(setup.workers)}

    def configure(self, setup):
        own = ["--cert", setup.svids.certificate("proxy"), "--key", setup.svids.key("proxy"),
               "--cacert", setup.svids.bundle, "--quiet", "all",
               "--listen", f"127.0.0.1:{setup.port}", "--target", f"127.0.0.1:{setup.backend}"]
        if setup.kind == INBOUND:
            return [self.find(), "server", *own, "--allow-uri", spiffe_id("client")]
        return [self.find(), "client", *own, "--override-server-name", SERVER_NAME,
                "--verify-uri", spiffe_id("server")]


class Envoy(Peer):
    """On BoringSSL, whose 1.3 ciphers can't be chosen: the load offers one. A main thread runs beside
    the worker."""
    name = "envoy"
    program = "envoy"
    debian = False

    def version(self):
        parts = self.first_line("--version").rpartition("version: ")[2].split("/")
        return f"envoy {parts[1]} ({parts[-1]})" if len(parts) > 2 else "envoy, version unknown"

    def configure(self, setup):
        config = setup.write(self.file_name(setup, "json"),
                             json.dumps(self.bootstrap(setup), indent=1) + "\n")
        return [self.find(), "-c", config, "--concurrency", str(setup.workers),
                "--disable-hot-restart", "--log-level", "off"]

    def bootstrap(self, setup):
        chain = {"filters": [self.typed(
            "envoy.filters.network.tcp_proxy",
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            {"stat_prefix": "bench", "cluster": "out", "idle_timeout": "3600s"})]}
        cluster = {
            "name": "out", "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [
                {"max_connections": 1000000, "max_pending_requests": 1000000}]},
            "load_assignment": {"cluster_name": "out", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": self.address(setup.backend)}}]}]}}
        tls = "envoy.extensions.transport_sockets.tls.v3"
        if setup.accepts_tls:
            chain["transport_socket"] = self.typed(
                "envoy.transport_sockets.tls", f"{tls}.DownstreamTlsContext",
                {"require_client_certificate": True,
                 "common_tls_context": self.common(setup, "client")})
        if setup.dials_tls:
            more = {"max_session_keys": 1000 if setup.resume else 0}  # by default it keeps one
            cluster["transport_socket"] = self.typed(
                "envoy.transport_sockets.tls", f"{tls}.UpstreamTlsContext",
                {"sni": SERVER_NAME, "common_tls_context": self.common(setup, "server"), **more})
        return {"static_resources": {
            "listeners": [{"name": "in", "address": self.address(setup.port),
                           "tcp_backlog_size": 4096, "filter_chains": [chain]}],
            "clusters": [cluster]}}

    @staticmethod
    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    @staticmethod
    def typed(name, message, fields):
        return {"name": name,
                "typed_config": {"@type": f"type.googleapis.com/{message}", **fields}}

    @staticmethod
    def common(setup, other):
        return {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3",
                           "tls_maximum_protocol_version": "TLSv1_3", "ecdh_curves": ["X25519"]},
            "tls_certificates": [{
                "certificate_chain": {"filename": str(setup.svids.certificate("proxy"))},
                "private_key": {"filename": str(setup.svids.key("proxy"))}}],
            "validation_context": {
                "trusted_ca": {"filename": str(setup.svids.bundle)},
                "match_typed_subject_alt_names": [
                    {"san_type": "URI", "matcher": {"exact": spiffe_id(other)}}]}}


class Relay(Peer):
    """The floor: no TLS, no rules, no limits."""
    name = "bare relay"
    kinds = ()

    def __init__(self, program):
        self.program = str(program)

    def find(self):
        return self.program

    def configure(self, setup):
        return [self.program, f"127.0.0.1:{setup.port}", f"127.0.0.1:{setup.backend}"]


def known_peers(bulkhead):
    return [Bulkhead(bulkhead), Haproxy(), HaproxyNt(), Nginx(), NginxNt(), Hitch(), Stunnel(),
            Envoy(), Ghostunnel()]
