"""Reads a kustomize base, validates its objects, and judges pods by the restricted Pod Security Standard."""

import json

import jsonschema
import yaml

from .bulkhead import ROOT

SCHEMAS = json.loads((ROOT / "tests" / "kubernetes" / "schemas.json").read_text())
KINDS = {ref["$ref"].rpartition(".")[2]: ref["$ref"] for ref in SCHEMAS["oneOf"]}


def schema_problems(document):
    """What the schema of its kind says against it."""
    kind = document.get("kind")
    if kind not in KINDS:
        return [f"no schema for {kind}"]
    schema = {"$ref": KINDS[kind], "definitions": SCHEMAS["definitions"]}
    found = jsonschema.Draft7Validator(schema).iter_errors(document)
    return [f"{kind} {'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def render(directory):
    """The objects that `kubectl apply -k` would send, for the few features that ours use."""
    text = (directory / "kustomization.yaml").read_text()
    kustomization = yaml.safe_load(text)
    problems = schema_problems(kustomization)
    assert not problems, problems
    documents = []
    for name in kustomization.get("resources", []):
        if (directory / name).is_dir():
            documents += render(directory / name)
        else:
            documents += list(yaml.safe_load_all((directory / name).read_text()))
    for generator in kustomization.get("configMapGenerator", []):
        assert kustomization["generatorOptions"]["disableNameSuffixHash"] is True
        documents.append({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]},
            "data": {file: (directory / file).read_text() for file in generator["files"]},
        })
    if "namespace" in kustomization:
        for document in documents:
            if document["kind"] != "Namespace":
                document["metadata"]["namespace"] = kustomization["namespace"]
    return documents


# ---- Pod Security Standards ---------------------------------------------------------------------

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
           "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def pod_rules(spec):
    """(rule, whether it holds) of what is said of the pod as a whole."""
    context = spec.get("securityContext", {})
    yield "no host namespaces", not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    yield "volume types", all(set(volume) - {"name"} <= VOLUMES for volume in spec.get("volumes", []))
    yield "safe sysctls", all(item["name"] in SYSCTLS for item in context.get("sysctls", []))


def handlers(container):
    """The actions of its probes and hooks."""
    yield from (container[name] for name in PROBES if name in container)
    yield from container.get("lifecycle", {}).values()


def container_rules(spec, container):
    pod, own = spec.get("securityContext", {}), container.get("securityContext", {})

    def effective(key):
        return own.get(key, pod.get(key))

    capabilities = own.get("capabilities", {})
    selinux = [context.get("seLinuxOptions", {}) for context in (pod, own)]
    yield "not privileged", not own.get("privileged")
    yield "no privilege escalation", own.get("allowPrivilegeEscalation") is False
    yield "runs as non-root", effective("runAsNonRoot") is True
    yield "user is not root", pod.get("runAsUser") != 0 and own.get("runAsUser") != 0
    yield "drops all capabilities", "ALL" in capabilities.get("drop", [])
    yield "adds no capability", set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}
    yield "seccomp profile", (effective("seccompProfile") or {}).get("type") in (
        "RuntimeDefault", "Localhost")
    yield "AppArmor profile", (effective("appArmorProfile") or {}).get("type") != "Unconfined"
    yield "SELinux options", all(
        options.get("type", "") in SELINUX_TYPES and not options.get("user") and not options.get("role")
        for options in selinux)
    yield "proc mount", own.get("procMount", "Default") == "Default"
    yield "no host process", not any(
        context.get("windowsOptions", {}).get("hostProcess") for context in (pod, own))
    yield "no host ports", not any(port.get("hostPort") for port in container.get("ports", []))
    yield "no host in probes and hooks", not any(
        action.get(kind, {}).get("host") for action in handlers(container)
        for kind in ("httpGet", "tcpSocket"))


def restricted_problems(spec):
    """The rules of the restricted profile (with the baseline's) that a pod's spec breaks."""
    problems = [rule for rule, holds in pod_rules(spec) if not holds]
    for container in spec.get("initContainers", []) + spec["containers"]:
        problems += [f"{container['name']}: {rule}"
                     for rule, holds in container_rules(spec, container) if not holds]
    return problems
