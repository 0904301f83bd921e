#!/usr/bin/env python3
"""Writes an image to standard output, in OCI's layout as a tar file, for `ctr image import`.

Its one layer is ROOTFS; its command is what follows.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer(rootfs: str) -> bytes:
    """A tar of the folder's files, all of them root's."""

    def owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(rootfs, arcname=".", filter=owner)
    return buffer.getvalue()


def write(output: tarfile.TarFile, name: str, rootfs: str, command: list[str]) -> None:
    def add(path: str, data: bytes) -> None:
        member = tarfile.TarInfo(path)
        member.size = len(data)
        output.addfile(member, io.BytesIO(data))

    def blob(kind: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        add(f"blobs/sha256/{digest}", data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    files = blob(LAYER, layer(rootfs))
    config = {
        "architecture": ARCHITECTURES[os.uname().machine],
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [files["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(CONFIG, json.dumps(config).encode()),
        "layers": [files],
    }
    entry = blob(MANIFEST, json.dumps(manifest).encode())
    entry["annotations"] = {"io.containerd.image.name": name}
    index = {"schemaVersion": 2, "manifests": [entry]}
    add("index.json", json.dumps(index).encode())
    add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", help="with registry and tag: example.org/x:1")
    parser.add_argument("rootfs", metavar="ROOTFS")
    parser.add_argument("command", metavar="ARG", nargs="+")
    arguments = parser.parse_args()
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as output:
        write(output, arguments.name, arguments.rootfs, arguments.command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
