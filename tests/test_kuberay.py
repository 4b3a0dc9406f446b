"""docs/kuberay.yaml: what has to hold for a sweep on Kubernetes, checked without a cluster."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.customize import arguments
from motion_ray.cluster.resources import WorkerResources, count_workers
from motion_ray.cluster.sweep import driver_share

REPO = Path(__file__).resolve().parents[1]
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all((REPO / "docs/kuberay.yaml").read_text()))
JOB, CLAIM, WALL = DOCUMENTS
CLUSTER: dict[str, Any] = JOB["spec"]["rayClusterSpec"]
HEAD: dict[str, Any] = CLUSTER["headGroupSpec"]
WORKERS: dict[str, Any] = CLUSTER["workerGroupSpecs"][0]


def test_the_entry_point_is_a_command_line_that_the_job_understands() -> None:
    python, module, name, *words = shlex.split(JOB["spec"]["entrypoint"])
    assert (python, module, name) == ("python", "-m", "jobs.customize")
    args = arguments().parse_args(words)
    assert args.address == "auto" and args.device == "gpu"
    assert args.sweep and Path(args.out).is_absolute()


def test_the_cluster_runs_the_locked_ray_with_a_token() -> None:
    assert f"ray=={CLUSTER['rayVersion']}" in (REPO / "constraints.txt").read_text().splitlines()
    assert CLUSTER["authOptions"] == {"mode": "token"}
    assert HEAD["serviceType"] == "ClusterIP"


def test_the_head_drives_and_never_trains() -> None:
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    resources = json.loads(json.loads(HEAD["rayStartParams"]["resources"]))
    assert list(driver_share(resources)) == ["driver"]
    assert WORKERS["rayStartParams"] == {}


def test_a_worker_node_holds_exactly_one_trial() -> None:
    [container] = WORKERS["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert limits == container["resources"]["requests"]
    has = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
    node = {"Alive": True, "Resources": has}
    assert count_workers([node], WorkerResources("gpu", 4)) == 1
    assert WORKERS["minReplicas"] == 0 and CLUSTER["enableInTreeAutoscaling"]


@pytest.mark.parametrize("group", [HEAD, WORKERS])
def test_every_node_sees_the_folder_that_the_sweep_writes_to(group: dict[str, Any]) -> None:
    spec = group["template"]["spec"]
    [mount] = spec["containers"][0]["volumeMounts"]
    [volume] = spec["volumes"]
    out = arguments().parse_args(shlex.split(JOB["spec"]["entrypoint"])[3:]).out
    assert Path(out).is_relative_to(mount["mountPath"])
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("group", [HEAD, WORKERS])
def test_the_wall_stands_around_every_pod_of_the_cluster(group: dict[str, Any]) -> None:
    # The labels of the RayCluster itself are not on its pods: only those of the templates are.
    wanted = WALL["spec"]["podSelector"]["matchLabels"]
    assert wanted and wanted.items() <= group["template"]["metadata"]["labels"].items()
    assert WALL["spec"]["policyTypes"] == ["Ingress"]


def test_only_the_cluster_its_submitter_and_the_operator_reach_the_ports() -> None:
    [rule] = WALL["spec"]["ingress"]
    cluster, submitter, operator = rule["from"]
    assert cluster == {"podSelector": WALL["spec"]["podSelector"]}
    # Kubernetes labels the pods of a Job with its name, and KubeRay gives it that of the RayJob.
    job = {"batch.kubernetes.io/job-name": JOB["metadata"]["name"]}
    assert submitter == {"podSelector": {"matchLabels": job}}
    # Helm and kustomize give the operator different names, but the same component.
    assert operator["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/component": "kuberay-operator"
    }
    assert operator["namespaceSelector"] == {}
