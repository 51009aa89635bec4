"""config/kubernetes: valid objects, pods that the restricted standard admits, and parts that fit together."""

import copy
import re
import shutil
import subprocess

import pytest
import yaml

from harness.bulkhead import ROOT, run_command
from harness.kubernetes import render, restricted_problems, schema_problems

BASE = ROOT / "config" / "kubernetes"
OBJECTS = render(BASE)
VERSION = (ROOT / "src" / "version.txt").read_text().strip()
DEPLOYMENTS = {o["metadata"]["name"]: o for o in OBJECTS if o["kind"] == "Deployment"}
KUSTOMIZE = next((command for command in (["kustomize", "build"], ["kubectl", "kustomize"])
                  if shutil.which(command[0])), None)


def of_kind(kind):
    return [o for o in OBJECTS if o["kind"] == kind]


def identity(document):
    return f"{document['kind']}-{document['metadata']['name']}"


def pod(name):
    return DEPLOYMENTS[name]["spec"]["template"]


def containers(name):
    spec = pod(name)["spec"]
    return {c["name"]: c for c in spec.get("initContainers", []) + spec["containers"]}


def mounts(container):
    return {mount["name"]: mount for mount in container.get("volumeMounts", [])}


def port(address):
    return int(address.rpartition(":")[2])


@pytest.fixture(params=sorted(DEPLOYMENTS))
def name(request):
    return request.param


@pytest.fixture
def config(name):
    data = next(o["data"] for o in of_kind("ConfigMap") if o["metadata"]["name"] == f"{name}-bulkhead")
    return yaml.safe_load(data["bulkhead.yaml"])


# ---- the objects ---------------------------------------------------------------------------------


@pytest.mark.parametrize("document", OBJECTS, ids=identity)
def test_every_object_is_valid(document):
    assert schema_problems(document) == []


def put(document, path, value):
    """A copy with one value changed; value None takes it away."""
    changed = copy.deepcopy(document)
    *way, last = path
    place = changed
    for step in way:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


POD = ("spec", "template", "spec")


@pytest.mark.parametrize(("path", "value"), [
    (("spec", "replica"), 2),
    (("spec", "replicas"), "two"),
    (("spec", "selector"), None),
    (("metadata",), None),
    (("apiVersion",), "v1"),
    ((*POD, "containers"), None),
    ((*POD, "initContainers", 0, "restartPolicy"), 1),
    ((*POD, "initContainers", 0, "startupProbe", "httpGet", "port"), None),
    ((*POD, "initContainers", 0, "securityContext", "runAsNonRoot"), "true"),
    ((*POD, "volumes", 1, "csi", "driver"), None),
])
def test_the_schemas_refuse(path, value):
    assert schema_problems(put(DEPLOYMENTS["orders"], path, value)) != []


def test_the_schemas_refuse_kinds_that_they_do_not_know():
    assert schema_problems({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}) != []


@pytest.mark.skipif(KUSTOMIZE is None, reason="a second opinion: needs kustomize or kubectl")
def test_kustomize_renders_the_same():
    made = subprocess.run([*KUSTOMIZE, BASE], capture_output=True, text=True, check=True, timeout=60)
    theirs = {identity(document): document for document in yaml.safe_load_all(made.stdout)}
    assert theirs == {identity(document): document for document in OBJECTS}


def test_every_file_is_used():
    files = {path for path in BASE.rglob("*") if path.is_file()} - {BASE / "README.md"}
    used = set(BASE.rglob("kustomization.yaml"))
    for file in list(used):
        kustomization = yaml.safe_load(file.read_text())
        used |= {file.parent / name for name in kustomization["resources"]}
        used |= {file.parent / name for generator in kustomization.get("configMapGenerator", [])
                 for name in generator["files"]}
    assert files == {path for path in used if path.is_file()}


# ---- the restricted Pod Security Standard ----------------------------------------------------------


def test_every_pod_is_restricted(name):
    assert restricted_problems(pod(name)["spec"]) == []


def test_the_namespace_demands_it():
    (namespace,) = of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {o["metadata"].get("namespace") for o in OBJECTS if o is not namespace} == {"shop"}


APP = ("containers", 0)
OWN = (*APP, "securityContext")


@pytest.mark.parametrize(("path", "value", "rule"), [
    (("hostNetwork",), True, "no host namespaces"),
    (("hostPID",), True, "no host namespaces"),
    (("hostIPC",), True, "no host namespaces"),
    (("volumes", 0), {"name": "x", "hostPath": {"path": "/"}}, "volume types"),
    (("volumes", 0), {"name": "x", "nfs": {"server": "x", "path": "/"}}, "volume types"),
    (("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}], "safe sysctls"),
    ((*OWN, "privileged"), True, "orders: not privileged"),
    ((*OWN, "allowPrivilegeEscalation"), True, "orders: no privilege escalation"),
    ((*OWN, "allowPrivilegeEscalation"), None, "orders: no privilege escalation"),
    ((*OWN, "runAsNonRoot"), False, "orders: runs as non-root"),
    ((*OWN, "runAsUser"), 0, "orders: user is not root"),
    (("securityContext", "runAsUser"), 0, "orders: user is not root"),
    ((*OWN, "capabilities"), None, "orders: drops all capabilities"),
    ((*OWN, "capabilities", "drop"), ["NET_RAW"], "orders: drops all capabilities"),
    ((*OWN, "capabilities", "add"), ["NET_ADMIN"], "orders: adds no capability"),
    ((*OWN, "seccompProfile", "type"), "Unconfined", "orders: seccomp profile"),
    ((*OWN, "appArmorProfile"), {"type": "Unconfined"}, "orders: AppArmor profile"),
    ((*OWN, "seLinuxOptions"), {"type": "spc_t"}, "orders: SELinux options"),
    ((*OWN, "seLinuxOptions"), {"user": "system_u"}, "orders: SELinux options"),
    ((*OWN, "procMount"), "Unmasked", "orders: proc mount"),
    ((*OWN, "windowsOptions"), {"hostProcess": True}, "orders: no host process"),
    ((*APP, "ports"), [{"containerPort": 1, "hostPort": 1}], "orders: no host ports"),
    ((*APP, "readinessProbe", "httpGet", "host"), "127.0.0.1", "orders: no host in probes and hooks"),
    ((*APP, "lifecycle", "preStop"), {"tcpSocket": {"host": "x", "port": 1}},
     "orders: no host in probes and hooks"),
    (("initContainers", 0, "securityContext", "allowPrivilegeEscalation"), True,
     "bulkhead: no privilege escalation"),
])
def test_the_restricted_standard_refuses(path, value, rule):
    spec = pod("orders")["spec"]
    assert rule in restricted_problems(put(spec, path, value))


def test_the_restricted_standard_takes_the_pods_word():
    """What the pod says counts for its containers, unless one says otherwise."""
    spec = pod("orders")["spec"]
    spec = put(put(spec, (*OWN, "runAsNonRoot"), None), (*OWN, "seccompProfile"), None)
    assert restricted_problems(spec) == []
    bare = put(put(spec, ("securityContext", "runAsNonRoot"), None),
               ("securityContext", "seccompProfile"), None)
    assert restricted_problems(bare) == ["orders: runs as non-root", "orders: seccomp profile"]


# ---- the configuration ----------------------------------------------------------------------------


def test_the_configuration_is_valid(name):
    result = run_command("check", "--strict", "--offline", "-c", BASE / name / "bulkhead.yaml")
    assert result.returncode == 0, result.stderr


def test_its_identity_is_the_service_account(name, config):
    account = pod(name)["spec"]["serviceAccountName"]
    assert account in {o["metadata"]["name"] for o in of_kind("ServiceAccount")}
    assert config["identity"]["spiffe_id"] == f"spiffe://prod.example/ns/shop/sa/{account}"


def test_ports_are_those_of_the_configuration(name, config):
    bulkhead = containers(name)["bulkhead"]
    ports = {p["name"]: p["containerPort"] for p in bulkhead["ports"]}
    accepting = [port(listener["accept"]) for listener in config["listeners"]
                 if listener["accept"].startswith("mtls://")]
    assert ports == {"mtls": accepting[0], "probes": port(config["probes"]["listen"])}
    assert len(accepting) == 1
    for key, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert bulkhead[key]["httpGet"] == {"path": path, "port": "probes"}


def test_plaintext_stays_on_the_loopback(config):
    for listener in config["listeners"]:
        for address in (listener["accept"], listener["forward"]):
            assert address.startswith(("mtls://", "tcp://127.0.0.1:"))


def test_the_identity_is_bulkheads_alone(name, config):
    """It comes from the node's agent, by a socket that no other container has; no key is in any volume."""
    every = containers(name)
    volumes = {v["name"]: v for v in pod(name)["spec"]["volumes"]}
    assert volumes["spiffe-workload-api"]["csi"] == {"driver": "csi.spiffe.io", "readOnly": True}
    assert set(volumes) == {"bulkhead-config", "spiffe-workload-api"}
    assert {n for n, c in every.items() if "spiffe-workload-api" in mounts(c)} == {"bulkhead"}
    bulkhead = mounts(every["bulkhead"])
    assert all(mount["readOnly"] for mount in bulkhead.values())
    directory = bulkhead["spiffe-workload-api"]["mountPath"]
    assert config["identity"]["workload_api"] == f"unix://{directory}/spire-agent.sock", "the driver's name for it"
    assert "files" not in config["identity"] and "trust" not in config, "all of it comes from there"
    users = {n: c["securityContext"]["runAsUser"] for n, c in every.items()}
    assert list(users.values()).count(users["bulkhead"]) == 1, "who is not the application"


def test_the_entry_of_the_readme_fits_that_container_alone():
    """Whoever the selectors fit gets the key."""
    readme = (BASE / "README.md").read_text()
    assert re.findall(r"-selector k8s:(\S+)", readme) == ["ns:shop", "sa:orders", "container-name:bulkhead"]
    assert "bulkhead" in containers("orders")
    config = yaml.safe_load((BASE / "orders" / "bulkhead.yaml").read_text())
    assert re.findall(r"-spiffeID (\S+)", readme) == [config["identity"]["spiffe_id"]]
    assert config["identity"]["workload_api"] in readme, "to ask by hand"


def test_it_starts_this_version_with_the_mounted_file(name):
    bulkhead = containers(name)["bulkhead"]
    assert bulkhead["image"] == f"registry.example/bulkhead:{VERSION}"
    configured = mounts(bulkhead)["bulkhead-config"]["mountPath"]
    assert bulkhead["args"] == ["run", "-c", f"{configured}/bulkhead.yaml"]
    volume = next(v for v in pod(name)["spec"]["volumes"] if v["name"] == "bulkhead-config")
    assert volume["configMap"] == {"name": f"{name}-bulkhead"}


def test_the_user_is_the_images():
    user, group = re.search(r"^USER (\d+):(\d+)$", (ROOT / "config/Dockerfile").read_text(), re.M).groups()
    for deployment in DEPLOYMENTS:
        context = containers(deployment)["bulkhead"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))


def seconds(text):
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def test_there_is_time_to_drain(name, config):
    drain = {"delay": "0s", "timeout": "25s", **config["drain"]}
    sleep = max((c.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
                 for c in containers(name).values()))
    needed = sleep + seconds(drain["delay"]) + seconds(drain["timeout"])
    assert pod(name)["spec"]["terminationGracePeriodSeconds"] >= needed + 5


def mebibytes(text):
    return int(text.removesuffix("MiB").removesuffix("Mi"))


def test_the_memory_limit_leaves_room(name, config):
    limit = containers(name)["bulkhead"]["resources"]["limits"]["memory"]
    # 16 KiB for a session is more than an idle one takes.
    sessions = config["limits"]["connections"] * 16 // 1024
    assert mebibytes(limit) >= mebibytes(config["limits"]["buffered"]) + sessions + 32


# ---- the sidecar -------------------------------------------------------------------------------


def test_the_sidecar_starts_before_the_application():
    spec = pod("orders")["spec"]
    assert [(c["name"], c["restartPolicy"]) for c in spec["initContainers"]] == [("bulkhead", "Always")]
    assert spec["initContainers"][0]["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}, \
        "what comes next waits for it"


def test_the_application_is_asked_by_bulkhead():
    config = yaml.safe_load((BASE / "orders" / "bulkhead.yaml").read_text())
    application = containers("orders")["orders"]
    assert "ports" not in application, "it listens on the loopback alone"
    asked = application["readinessProbe"]["httpGet"]
    assert asked["port"] == port(config["probes"]["listen"])
    probe = {p["path"]: p["get"] for p in config["probes"]["app"]}[asked["path"]]
    env = {e["name"]: e["value"] for e in application["env"]}
    inbound, outbound = config["listeners"]
    assert inbound["forward"] == f"tcp://{env['LISTEN']}" and f"http://{env['LISTEN']}/" in probe
    assert outbound["accept"].replace("tcp", "http") == env["PAYMENTS_URL"]


# ---- the network -------------------------------------------------------------------------------


def policies_for(name):
    labels = pod(name)["metadata"]["labels"].items()
    return [o["spec"] for o in of_kind("NetworkPolicy")
            if o["spec"]["podSelector"].get("matchLabels", {}).items() <= labels]


def test_nothing_goes_in_or_out_but_by_a_policy():
    default = next(o["spec"] for o in of_kind("NetworkPolicy") if o["metadata"]["name"] == "default-deny")
    assert default == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_policies_open_the_ports_of_bulkhead_and_no_other(name, config):
    opened = {p["port"] for policy in policies_for(name) for rule in policy.get("ingress", [])
              for p in rule["ports"]}
    assert opened == {p["containerPort"] for p in containers(name)["bulkhead"]["ports"]}
    # Probes and metrics are not for everybody.
    for policy in policies_for(name):
        for rule in policy.get("ingress", []):
            if {"port": port(config["probes"]["listen"])} in rule["ports"]:
                assert rule["from"] == [{"namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_policies_let_it_reach_what_it_forwards_to_and_no_more(name, config):
    targets = set()
    for listener in config["listeners"]:
        found = re.fullmatch(r"mtls://(\w+)\.shop\.svc:(\d+)", listener["forward"])
        targets |= {(found[1], int(found[2]))} if found else set()
    allowed = set()
    for policy in policies_for(name):
        for rule in policy.get("egress", []):
            if policy["podSelector"] != {}:
                (to,), (where,) = rule["to"], rule["ports"]
                allowed.add((to["podSelector"]["matchLabels"]["app.kubernetes.io/name"], where["port"]))
    assert allowed == targets


def test_services_lead_to_mutual_tls_alone(name):
    service = next(o["spec"] for o in of_kind("Service") if o["metadata"]["name"] == name)
    assert service["selector"].items() <= pod(name)["metadata"]["labels"].items()
    (only,) = service["ports"]
    ports = {p["name"]: p["containerPort"] for p in containers(name)["bulkhead"]["ports"]}
    assert only["targetPort"] == ports["mtls"]


def test_the_pod_monitor_finds_every_pod(name, config):
    (monitor,) = of_kind("PodMonitor")
    (condition,) = monitor["spec"]["selector"]["matchExpressions"]
    assert condition["operator"] == "Exists" and condition["key"] in pod(name)["metadata"]["labels"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {p["name"] for p in containers(name)["bulkhead"]["ports"]}
    assert endpoint["path"] == "/metrics" and config["probes"]["metrics"] is True
