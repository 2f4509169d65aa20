"""What deploy/ holds is well-formed, agrees with the program, and passes the tools for it."""

import os
import shutil
import subprocess

import pytest
import yaml
from bridge import BINARY, ROOT, tailrace

DEPLOY = ROOT / "deploy"


def test_systemd_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze on this machine")
    # Verified with the built program in its place: systemd looks for the executable.
    unit = tmp_path / "tailrace.service"
    unit.write_text((DEPLOY / "tailrace.service").read_text().replace(
        "/usr/local/bin/tailrace", str(BINARY)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit],
                          capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_systemd_unit_is_hardened():
    text = (DEPLOY / "tailrace.service").read_text()
    for line in ["DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict",
                 "RestartPreventExitStatus=75 78", "Type=notify", "WatchdogSec=30", "CapabilityBoundingSet=",
                 "ExecReload=/bin/kill -HUP $MAINPID"]:
        assert f"\n{line}\n" in text


def test_kubernetes(tmp_path):
    objects = {item["kind"]: item for item in
               yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
    assert set(objects) == {"Secret", "ConfigMap", "Deployment", "Service", "PodDisruptionBudget"}
    deployment = objects["Deployment"]["spec"]
    # One leads, one stands by, and a rolling update never leaves fewer.
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budget = objects["PodDisruptionBudget"]["spec"]
    assert budget["minAvailable"] == 1 and budget["selector"] == deployment["selector"]
    pod = deployment["template"]["spec"]
    apart, = (pod["affinity"]["podAntiAffinity"]
              ["preferredDuringSchedulingIgnoredDuringExecution"])
    assert apart["podAffinityTerm"]["labelSelector"] == deployment["selector"]
    container, = pod["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"]
              for name in ("liveness", "readiness", "startup")}
    assert probes == {"liveness": "/livez", "readiness": "/readyz", "startup": "/livez"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    labels = deployment["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()

    secrets = objects["Secret"]["stringData"]
    for name, value in secrets.items():
        (tmp_path / name).write_text(value)
    file = tmp_path / "tailrace.yaml"
    file.write_text(objects["ConfigMap"]["data"]["tailrace.yaml"].replace(
        "/run/secrets/tailrace", str(tmp_path)))
    environment = {item["name"]: secrets[item["valueFrom"]["secretKeyRef"]["key"]]
                   for item in container["env"]}
    done = tailrace("validate", "-c", file, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose():
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = whole["services"]
    assert set(services) == {"mongodb", "mongodb-init", "nats", "tailrace", "tailrace-standby"}
    # Two instances of one bridge: everything but their ports is the same.
    one, other = dict(services["tailrace"]), dict(services["tailrace-standby"])
    assert one.pop("ports") != other.pop("ports") and one == other
    build = services["tailrace"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in whole["volumes"] or (DEPLOY / source).exists(), source
    environment = services["tailrace"]["environment"]
    done = tailrace("validate", "-c", ROOT / "config/chat.yaml",
                    env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_copies_what_exists():
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--"):
            for source in words[1:-1]:
                assert list(ROOT.glob(source)), source
