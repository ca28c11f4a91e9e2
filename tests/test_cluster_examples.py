"""The manifests of examples/cluster, against their schemas.

The cluster YAML against the schema that Ray ships; the RayJob against the part of KubeRay's v1 definition that it uses, written
down here by its API reference: every field it may have at those levels, with no others allowed.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lotus2_video.cli import _parse

ray = pytest.importorskip("ray")
jsonschema = pytest.importorskip("jsonschema")
yaml = pytest.importorskip("yaml")
FOLDER = Path(__file__).resolve().parents[1] / "examples" / "cluster"


def closed(required: list[str], **properties: object) -> dict:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEXT, WHOLE, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
NAMED = {"type": "object", "additionalProperties": TEXT}
CONTAINER = closed(
    ["name", "image"], name=TEXT, image=TEXT,
    env={"type": "array", "items": closed(["name"], name=TEXT, value=TEXT)},
    resources=closed([], requests=NAMED, limits=NAMED),
    volumeMounts={"type": "array", "items": closed(["name", "mountPath"], name=TEXT, mountPath=TEXT)},
)  # fmt: skip
VOLUME = closed(["name"], name=TEXT, persistentVolumeClaim=closed(["claimName"], claimName=TEXT, readOnly=FLAG))
POD = closed(["spec"], metadata={"type": "object"}, spec=closed(
    ["containers"], containers={"type": "array", "minItems": 1, "items": CONTAINER},
    volumes={"type": "array", "items": VOLUME},
))  # fmt: skip
CLUSTER = closed(
    ["headGroupSpec"], rayVersion=TEXT, enableInTreeAutoscaling=FLAG,
    authOptions=closed([], mode={"enum": ["disabled", "token"]}),
    headGroupSpec=closed(["template"], rayStartParams=NAMED, template=POD),
    workerGroupSpecs={"type": "array", "items": closed(
        ["groupName", "template"], groupName=TEXT, replicas=WHOLE, minReplicas=WHOLE, maxReplicas=WHOLE,
        rayStartParams=NAMED, template=POD,
    )},
)  # fmt: skip
JOB = closed(
    ["entrypoint", "rayClusterSpec"], entrypoint=TEXT, shutdownAfterJobFinishes=FLAG, ttlSecondsAfterFinished=WHOLE,
    activeDeadlineSeconds=WHOLE, backoffLimit=WHOLE, submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    rayClusterSpec=CLUSTER,
)  # fmt: skip
RAYJOB = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"}, metadata={"type": "object"}, spec=JOB,
)  # fmt: skip


def test_the_cluster_yaml_fits_rays_own_schema():
    cluster = yaml.safe_load((FOLDER / "ray_up.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]


def test_the_rayjob_fits_what_kuberay_takes():
    job = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    jsonschema.validate(job, RAYJOB)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**job, "spec": {**job["spec"], "entrypont": "x"}}, RAYJOB)


def test_the_command_of_the_rayjob_is_one_of_ours():
    job = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    program, *words = shlex.split(job["spec"]["entrypoint"])
    assert program == "lotus2-video"
    assert _parse(words).address == "auto"


@pytest.mark.parametrize("name", ["ray_up.yaml", "rayjob.yaml"])
def test_both_ask_for_a_token(name):
    text = (FOLDER / name).read_text()
    assert "RAY_AUTH_MODE=token" in text or "mode: token" in text


def test_the_page_shows_what_the_program_prints():
    page = (FOLDER / "README.md").read_text().partition("```console\n")[2].partition("```")[0]
    examples = [part.partition("\n")[::2] for part in page.split("$ ")[1:]]
    assert len(examples) == 2
    for command, shown in examples:
        program, script, *words = shlex.split(command)
        assert program == "python"
        printed = subprocess.run(
            [sys.executable, FOLDER.parents[1] / script, *words], capture_output=True, text=True, check=True
        )
        assert printed.stdout == shown
