"""deploy/kubernetes: the Procfile's commands, probes that match the health paths, no privileges, enough memory."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployments import (
    COMMANDS,
    PROJECT,
    REQUIRED,
    ROOT,
    SECRETS,
    SETTINGS,
    STOP_SECONDS,
    arguments_of,
    health_routes,
    instructions,
    variables_of,
)
from worker.redis_client import PATIENCE_SECONDS

FOLDER = ROOT / "deploy" / "kubernetes"
LAST = instructions()[-1]
OF_WORKERS = {"INTAKE_TOKENS", "NOTIFY_URL", "NOTIFY_SECRET"}
"""Secrets that a scanner does not use."""
OPTIONAL = {"worker": SECRETS - REQUIRED, "scanner": SECRETS - REQUIRED - OF_WORKERS}
MEBIBYTE, MEGABYTE = 2**20, 10**6

Manifest = dict[str, Any]


def manifests(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


KUSTOMIZATION: Manifest = manifests(FOLDER / "kustomization.yaml")[0]
OBJECTS = [each for name in KUSTOMIZATION["resources"] for each in manifests(FOLDER / name)]
DEPLOYMENTS = {
    each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: each
    for each in OBJECTS
    if each["kind"] == "Deployment"
}
PODS: dict[str, Manifest] = {name: each["spec"]["template"]["spec"] for name, each in DEPLOYMENTS.items()}
CONTAINERS: dict[str, Manifest] = {name: pod["containers"][0] for name, pod in PODS.items()}
NAMES = sorted(DEPLOYMENTS)


def measured(key: str) -> float:
    """Return the measured figure of a row of docs/benchmarks.md, the last number of the row."""
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{key}` \|.*$", text, re.MULTILINE)
    numbers = re.findall(r"\| ([\d.]+) \|", row)
    return float(numbers[-1])


def memory_bytes(amount: str) -> int:
    return int(amount.removesuffix("Mi")) * MEBIBYTE


def test_kustomization_has_every_file_and_the_version() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"kustomization.yaml", *KUSTOMIZATION["resources"]}
    (image,) = KUSTOMIZATION["images"]
    assert {container["image"] for container in CONTAINERS.values()} == {image["name"]}
    assert image["newTag"] == PROJECT["version"]


def test_deployments_run_the_procfile_commands() -> None:
    # `command` would replace the image's process 1, which passes signals on.
    assert all("command" not in container for container in CONTAINERS.values())
    assert {name: container["args"] for name, container in CONTAINERS.items()} == COMMANDS
    assert all(len(pod["containers"]) == 1 for pod in PODS.values())


@pytest.mark.parametrize("name", NAMES)
def test_deployment_selects_its_own_pods(name: str) -> None:
    spec = DEPLOYMENTS[name]["spec"]
    assert DEPLOYMENTS[name]["metadata"]["name"] == f"customer-sync-{name}"
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_settings_and_secrets_are_references(name: str) -> None:
    variables = {each["name"]: each for each in CONTAINERS[name]["env"]}
    assert set(variables) <= SETTINGS
    plain = {key for key, variable in variables.items() if "value" in variable}
    assert plain == {"PORT"}
    references = {key: variables[key]["valueFrom"]["secretKeyRef"] for key in set(variables) - plain}
    assert {key: reference["key"] for key, reference in references.items()} == {key: key for key in references}
    assert {reference["name"] for reference in references.values()} == {"customer-sync"}
    required = {key for key, reference in references.items() if not reference.get("optional", False)}
    # A certificate is no secret, but it is in the same file as the keys.
    assert (required, set(references) - required - {"REDIS_CERTIFICATE"}) == (REQUIRED, OPTIONAL[name])
    assert CONTAINERS[name]["envFrom"] == [{"configMapRef": {"name": "customer-sync", "optional": True}}]


@pytest.mark.parametrize("name", NAMES)
def test_probes_request_liveness_on_the_port(name: str) -> None:
    container = CONTAINERS[name]
    (port,) = [each["value"] for each in container["env"] if each["name"] == "PORT"]
    assert container["ports"] == [{"name": "http", "containerPort": int(port)}]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        # A restart fixes nothing that /readyz names, and it must not hold up a deploy.
        assert container[kind]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert "/healthz" in health_routes()


@pytest.mark.parametrize("name", NAMES)
def test_start_may_wait_for_redis_and_stop_for_running_syncs(name: str) -> None:
    probe = CONTAINERS[name]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > PATIENCE_SECONDS
    assert PODS[name]["terminationGracePeriodSeconds"] >= STOP_SECONDS


@pytest.mark.parametrize("name", NAMES)
def test_pods_have_the_users_of_the_image_and_no_privileges(name: str) -> None:
    user, group = arguments_of("USER", LAST)[0].split(":")
    assert PODS[name]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "fsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert CONTAINERS[name]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (PODS[name]["automountServiceAccountToken"], PODS[name]["enableServiceLinks"]) == (False, False)


def test_scanner_may_write_its_spool_and_temporary_files() -> None:
    mounts = {each["name"]: each["mountPath"] for each in CONTAINERS["scanner"]["volumeMounts"]}
    assert mounts == {"spool": variables_of(LAST)["SCAN_SPOOL"], "temporary": "/tmp"}  # noqa: S108 - in the container
    assert {each["name"] for each in PODS["scanner"]["volumes"]} == set(mounts)


def test_disruption_budget_keeps_a_worker() -> None:
    (budget,) = [each for each in OBJECTS if each["kind"] == "PodDisruptionBudget"]
    worker = DEPLOYMENTS["worker"]["spec"]
    assert budget["spec"]["selector"] == worker["selector"]
    assert budget["spec"]["maxUnavailable"] < worker["replicas"]
    assert DEPLOYMENTS["scanner"]["spec"]["replicas"] == 1


@pytest.mark.parametrize(("name", "keys"), [("worker", ["rss_mb_idle", "rss_growth_mb"]), ("scanner", ["scan_rss_mb"])])
def test_memory_is_above_the_measured_figures(name: str, keys: list[str]) -> None:
    resources = CONTAINERS[name]["resources"]
    needed = sum(measured(key) for key in keys) * MEGABYTE
    assert needed <= memory_bytes(resources["requests"]["memory"])
    assert 2 * needed <= memory_bytes(resources["limits"]["memory"])
    # A worker that waits for the processor loses slots of the rates.
    assert "cpu" not in resources["limits"]
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert [key for key in keys if f"({key})" not in text] == []
