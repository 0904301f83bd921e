"""Which mounts of a checkpoint get what is mounted on the host later (mount_namespaces(7): slaves).

Such a mount has the number of its master, and those with the same one CRIU makes slaves by the same
mount of the host: the kernel refuses that for one that shows another folder (move_mount(2),
MOVE_MOUNT_SET_GROUP). So each that CRIU is given from outside gets a number of its own here, and with
that its own source; and none where the source is nobody's slave on this host.
"""

from __future__ import annotations

from ocirt.criu import images
from ocirt.criu.protobuf import INT, TEXT, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from ocirt.criu.protobuf import Schema

_MASTER: Schema = {"master_id": (11, INT)}
_MOUNT: Schema = {
    "root_dev": (3, INT),
    "root": (6, TEXT),
    "shared_id": (10, INT),
    "ext_key": (18, TEXT),
    **_MASTER,
}
ROOT = ""  # the key of the root file system, which has none


def separate(folder: int, slaves: Collection[str]) -> None:
    """Changes the files of a checkpoint. ``slaves``: keys of those whose sources are slaves here.
    Raises OcirtError, OSError."""
    for name in images.names(folder, "mountpoints-"):
        messages = images.read(folder, name)
        masters = _masters([decode(_MOUNT, message) for message in messages], slaves)
        # Of a number that is there twice the last value counts.
        pairs = zip(messages, masters)
        images.write(folder, name, [m + encode(_MASTER, {"master_id": id}) for m, id in pairs])


def _masters(mounts: list[dict[str, Any]], slaves: Collection[str]) -> list[int | None]:
    """Of each; None where it is to stay as it is."""
    external = {mount["ext_key"]: mount for mount in mounts if mount.get("ext_key")}
    inner = {mount.get("shared_id") or 0 for mount in mounts}
    last = max([*inner, *(mount.get("master_id") or 0 for mount in mounts)], default=0)
    fresh = {key: last + number for number, key in enumerate(external, 1)}
    found: list[int | None] = []
    for mount in mounts:
        master = mount.get("master_id") or 0
        if not master or master in inner or mount.get("shared_id"):
            found.append(None)
        else:
            key = mount.get("ext_key") or _source(mount, external)
            found.append(fresh.get(key, master) if key in slaves else 0)
    return found


def _source(mount: dict[str, Any], external: dict[str, dict[str, Any]]) -> str:
    """The key of that from which ``mount`` was bound in the container: it shows more."""
    best = ROOT
    for key, other in external.items():
        same = all(other.get(name) == mount.get(name) for name in ("root_dev", "master_id"))
        folder = (other.get("root") or "").rstrip("/")
        if same and f"{mount.get('root')}/".startswith(f"{folder}/"):
            if not best or len(folder) > len(external[best].get("root") or ""):
                best = key
    return best
