"""docs/kuberay-serve.yaml: what has to hold for a server, checked without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from motion_ray.cluster.serving import (
    ServeArguments,
    ServingSettings,
    generator_options,
    router_options,
    settings_from,
)
from motion_ray.serving.http.config import check_exposure

REPO = Path(__file__).resolve().parents[1]
SERVICE, WALL = yaml.safe_load_all((REPO / "docs/kuberay-serve.yaml").read_text())
CLAIM = list(yaml.safe_load_all((REPO / "docs/kuberay.yaml").read_text()))[1]
CLUSTER: dict[str, Any] = SERVICE["spec"]["rayClusterConfig"]
HEAD: dict[str, Any] = CLUSTER["headGroupSpec"]
WORKERS: dict[str, Any] = CLUSTER["workerGroupSpecs"][0]
SERVE = ServeDeploySchema.model_validate(yaml.safe_load(SERVICE["spec"]["serveConfigV2"]))


def container(group: dict[str, Any]) -> dict[str, Any]:
    [only] = group["template"]["spec"]["containers"]
    return only


def nodes(workers: int) -> list[dict[str, Any]]:
    """As Ray has them: the head says that it has no cores, of a worker it finds the limits."""
    assert HEAD["rayStartParams"] == {"num-cpus": "0"} and WORKERS["rayStartParams"] == {}
    limits = container(WORKERS)["resources"]["limits"]
    has = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
    head = {"Alive": True, "Resources": {"CPU": 0.0, "node:__internal_head__": 1.0}}
    return [head, *({"Alive": True, "Resources": has} for _ in range(workers))]


def settings(workers: int) -> ServingSettings:
    [application] = SERVE.applications
    assert application.import_path == "deployments.app:build"
    return settings_from(ServeArguments.model_validate(application.args), nodes(workers), REPO)


@pytest.mark.parametrize("workers", [0, 1, 8])
def test_each_worker_node_holds_exactly_one_generator(workers: int) -> None:
    """Also if none is there yet when the application is deployed."""
    found = settings(workers)
    asked = generator_options(found)
    limits = container(WORKERS)["resources"]["limits"]
    assert asked["num_gpus"] == 1 == int(limits["nvidia.com/gpu"])
    assert asked["num_cpus"] == 4 <= int(limits["cpu"]) and asked["resources"] == {}
    assert router_options(found) == {"num_cpus": 0, "resources": {}}
    assert WORKERS["minReplicas"] <= found.replicas
    assert found.most_replicas == WORKERS["maxReplicas"] and CLUSTER["enableInTreeAutoscaling"]


def test_nobody_is_let_in_without_a_key() -> None:
    found = settings(1)
    assert SERVE.http_options.host == "0.0.0.0" and found.server.keys is not None
    check_exposure(SERVE.http_options.host, found.server.keys)
    [ports] = [rule["ports"] for rule in WALL["spec"]["ingress"] if "ports" in rule]
    assert ports == [{"protocol": "TCP", "port": SERVE.http_options.port}]


def test_pods_that_the_operator_asks_have_a_proxy() -> None:
    """KubeRay counts a worker as ready if one answers there."""
    assert SERVE.proxy_location == "EveryNode"


@pytest.mark.parametrize("group", [HEAD, WORKERS])
def test_every_node_sees_the_files_and_has_the_password(group: dict[str, Any]) -> None:
    found = settings(1)
    [mount] = container(group)["volumeMounts"]
    [volume] = group["template"]["spec"]["volumes"]
    places = (found.site.base, found.site.store, found.site.state, found.server.keys)
    assert all(Path(f"{place}").is_relative_to(mount["mountPath"]) for place in places)
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    [password] = container(group)["env"]
    assert password["name"] == "PGPASSWORD" and "secretKeyRef" in password["valueFrom"]
    assert found.site.jobs is not None and "sslmode=verify-full" in found.site.jobs


def test_the_cluster_runs_the_locked_ray_with_a_token_behind_a_wall() -> None:
    assert f"ray=={CLUSTER['rayVersion']}" in (REPO / "constraints.txt").read_text().splitlines()
    assert CLUSTER["authOptions"] == {"mode": "token"} and HEAD["serviceType"] == "ClusterIP"
    wanted = WALL["spec"]["podSelector"]["matchLabels"]
    for group in (HEAD, WORKERS):
        assert wanted and wanted.items() <= group["template"]["metadata"]["labels"].items()
    inside, _ = WALL["spec"]["ingress"]
    cluster, operator = inside["from"]
    assert cluster == {"podSelector": WALL["spec"]["podSelector"]} and "ports" not in inside
    assert operator["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/component": "kuberay-operator"
    }
