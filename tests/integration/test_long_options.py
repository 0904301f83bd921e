"""Options of mounts that are longer than fsconfig(2) takes, as overlays may have, or empty."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .test_user_namespace import mapped

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


@pytest.fixture
def layers() -> Iterator[Path]:
    """A tmpfs with two lower layers, an upper and a work folder, all with long paths, where the root
    of a user namespace gets."""
    place = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    folder = place / ("f" * 200)
    try:
        for name in ("one", "two", "upper", "work"):
            (folder / name).mkdir(parents=True)
            (folder / name / f"in-{name}").touch()
        for path in (place, folder, *folder.iterdir()):
            path.chmod(0o777)
        yield folder
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


def overlay(bundle: Any, *options: str) -> Any:
    mount = {"destination": "/data", "type": "overlay", "source": "overlay"}
    bundle.document["mounts"].append(mount | {"options": list(options)})
    return bundle


@pytest.mark.parametrize("in_user_namespace", [False, True])
def test_long_paths(ocirt: Any, bundle: Any, layers: Path, in_user_namespace: bool) -> None:
    if in_user_namespace:
        mapped(bundle)
    overlay(
        bundle,
        f"lowerdir={layers}/one:{layers}/two",
        f"upperdir={layers}/upper",
        f"workdir={layers}/work",
    )
    bundle.shell("cd /data && busybox touch new && echo *; pwd")
    done = bundle.run(ocirt)
    assert done.stdout.split("\n")[:2] == ["in-one in-two in-upper new", "/data"], done.stderr
    assert (layers / "upper/new").exists()


def test_empty_option(ocirt: Any, bundle: Any) -> None:
    """Podman writes such, with --systemd=always."""
    mount = {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["", "size=1m"]}
    bundle.document["mounts"].append(mount)
    done = bundle.shell("busybox df -m /data | busybox tail -n 1").run(ocirt)
    assert done.stdout.split()[1] == "1", done.stderr


def test_too_long(ocirt: Any, bundle: Any, layers: Path) -> None:
    """The folder that they have in common is "/"."""
    overlay(bundle, "ro", f"lowerdir=/:{layers}/one:{layers}/two")
    done = bundle.run(ocirt)
    assert done.returncode == 1
    index = len(bundle.document["mounts"]) - 1
    text = (
        f"config.json#/mounts/{index}/options/1: lowerdir: the kernel takes no more than 255 bytes"
    )
    assert text in done.stderr
