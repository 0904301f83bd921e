"""ocirt spec and features: their documents against the official schemas."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import ocirt
from ocirt import SPEC_VERSION
from ocirt.cli import main
from ocirt.commands.features import features
from ocirt.config.load import examine
from ocirt.host.constants import CAPABILITIES

SCHEMAS = Path(__file__).parent.parent.parent / "spec-schemas"


def validate(name: str, document: object) -> None:
    known: dict[str, Any] = {}
    for path in SCHEMAS.glob("*.json"):
        known[path.as_uri()] = json.loads(path.read_text())
        known[path.as_uri()].pop("id", None)  # it would be the base of relative references
    uri = (SCHEMAS / name).as_uri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        resolver = jsonschema.RefResolver(uri, known[uri], store=known)
    jsonschema.Draft4Validator(known[uri], resolver=resolver).validate(document)


def test_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ocirt", "spec", "--bundle", str(tmp_path)]) == 0
    data = (tmp_path / "config.json").read_bytes()
    document = json.loads(data)
    validate("config-schema.json", document)
    assert document["ociVersion"] == SPEC_VERSION
    assert examine(data)[1] == []  # and create accepts it
    sets = document["process"]["capabilities"]
    assert set(sets) == {"bounding", "effective", "permitted"}  # CVE-2022-29162
    assert document["process"]["noNewPrivileges"] and document["root"]["readonly"]
    assert "/proc/kcore" in document["linux"]["maskedPaths"]
    assert "/proc/sys" in document["linux"]["readonlyPaths"]
    for mount in document["mounts"]:
        options = mount.get("options", [])
        assert mount["destination"] == "/proc" or "nosuid" in options
    assert capsys.readouterr() == ("", "")


def test_spec_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ("mine", None):
        file = tmp_path / "config.json"
        file.unlink(missing_ok=True)
        file.write_text(content) if content else file.symlink_to("elsewhere")
        assert main(["ocirt", "spec"]) == 1
        assert "config.json exists" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["config.json"]
    assert main(["ocirt", "spec", "-b", str(tmp_path / "nowhere")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_spec_rootless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ocirt", "spec", "--rootless", "-b", str(tmp_path)]) == 0
    data = (tmp_path / "config.json").read_bytes()
    document = json.loads(data)
    assert examine(data)[1] == []
    linux = document["linux"]
    kinds = {n["type"] for n in linux["namespaces"]}
    assert "user" in kinds and "network" not in kinds and "resources" not in linux
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    mounts = {m["destination"]: m for m in document["mounts"]}
    assert "rbind" in mounts["/sys"]["options"] and "ro" in mounts["/sys"]["options"]
    assert not any(o.startswith("gid=") for m in mounts.values() for o in m.get("options", []))
    assert capsys.readouterr() == ("", "")


def test_features(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ocirt", "features"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == "" and document == features()
    validate("features-schema.json", document)
    assert document["ociVersionMin"] == "1.0.0" and document["ociVersionMax"] == SPEC_VERSION
    assert {"rro", "rbind", "tmpcopyup", "nosuid", "idmap", "ridmap"} <= set(
        document["mountOptions"]
    )
    assert document["linux"]["capabilities"] == sorted(CAPABILITIES)
    assert document["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    seccomp = document["linux"]["seccomp"]
    assert seccomp["enabled"] is True and len(seccomp["actions"]) == 9
    assert len(seccomp["operators"]) == 7 and "SCMP_ARCH_AARCH64" in seccomp["archs"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    assert "SECCOMP_FILTER_FLAG_LOG" in seccomp["supportedFlags"]
    assert document["linux"]["netDevices"] == {"enabled": True}
    assert "MPOL_WEIGHTED_INTERLEAVE" in document["linux"]["memoryPolicy"]["modes"]
    assert "MPOL_F_STATIC_NODES" in document["linux"]["memoryPolicy"]["flags"]
    rdt = {"enabled": True, "schemata": True, "monitoring": True}
    assert document["linux"]["intelRdt"] == rdt
    assert document["linux"]["cgroup"]["rdma"] is True
    # Each that ocirt looks at.
    unsafe = document["potentiallyUnsafeConfigAnnotations"]
    sources = "".join(path.read_text() for path in Path(ocirt.__file__).parent.rglob("*.py"))
    named = set(re.findall(r'"((?:run\.oci|org\.systemd|org\.criu)\.[a-z_.]+)"', sources))
    assert named and named == set(unsafe)


def config(**linux: object) -> bytes:
    document = {
        "ociVersion": SPEC_VERSION,
        "process": {"cwd": "/", "args": ["sh"]},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}], **linux},
    }
    return json.dumps(document).encode()


def test_features_says_what_is_refused() -> None:
    """What it calls disabled is not accepted, and no other namespace is refused."""
    assert examine(config())[1] == []
    assert examine(config(seccomp={"defaultAction": "SCMP_ACT_ALLOW"}))[1] == []
    for mode in features()["linux"]["memoryPolicy"]["modes"]:
        nodes = "" if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else "0"
        assert examine(config(memoryPolicy={"mode": mode, "nodes": nodes}))[1] == []
    kinds = [{"type": "mount"}, {"type": "pid"}, {"type": "network"}]
    assert examine(config(netDevices={"eth0": {"name": "e0"}}, namespaces=kinds))[1] == []
    assert examine(config(intelRdt={"closID": "a", "enableMonitoring": True}))[1] == []
    for kind in features()["linux"]["namespaces"]:
        needed = {"mount", "pid", kind}
        ids = [{"containerID": 0, "hostID": 1000, "size": 1}] if kind == "user" else []
        found = examine(
            config(
                namespaces=[{"type": each} for each in sorted(needed)],
                uidMappings=ids,
                gidMappings=ids,
            )
        )[1]
        assert found == [], kind
