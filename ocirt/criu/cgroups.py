"""cgroup.img: of a checkpoint's cgroups the container's own alone are made again.

CRIU saves whole trees: where the container has no cgroup of its own, that of the host. What the file
names it makes, writes to and gives away, wherever that is.
"""

from __future__ import annotations

import os

from ocirt.criu import images
from ocirt.criu.protobuf import BOOL, INT, TEXT, Malformed, decode, encode
from ocirt.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from ocirt.criu.protobuf import Schema

# images/cgroup.proto
_PERMS: Schema = {"mode": (1, INT), "uid": (2, INT), "gid": (3, INT)}
_PROPERTY: Schema = {"name": (1, TEXT), "value": (2, TEXT), "perms": (3, _PERMS)}
_FOLDER: Schema = {"dir_name": (1, TEXT), "properties": (3, [_PROPERTY]), "dir_perms": (4, _PERMS)}
_FOLDER["children"] = (2, [_FOLDER])
_MEMBER: Schema = {"name": (1, TEXT), "path": (2, TEXT), "cgns_prefix": (3, INT)}
_CONTROLLER: Schema = {"cnames": (1, [TEXT]), "dirs": (2, [_FOLDER]), "is_threaded": (3, BOOL)}
_CGROUP: Schema = {
    "sets": (1, [{"id": (1, INT), "ctls": (2, [_MEMBER])}]),
    "controllers": (2, [_CONTROLLER]),
}
_FILE = "cgroup.img"
# CRIU saves devices.list alone, the rules are the config's; and it does not move who is in a file of
# processes.
_FORBIDDEN = ("devices.allow", "devices.deny", "cgroup.threads")


def keep(folder: int, own: Collection[str]) -> None:
    """Changes the file in the folder of a checkpoint. ``own``: the names of the controllers, as in
    proc_pid_cgroup(5), for which the container has a cgroup. Raises OcirtError, OSError."""
    if _FILE not in images.names(folder, "cgroup"):
        return
    try:
        messages = [_of_the_container(each, own) for each in images.read(folder, _FILE)]
    except KeyError as error:
        raise Malformed(f"{_FILE} of the checkpoint lacks {error}") from None
    images.write(folder, _FILE, messages)


def _of_the_container(message: bytes, own: Collection[str]) -> bytes:
    entry = decode(_CGROUP, message)
    for one in entry.get("sets") or []:
        one["ctls"] = [m for m in one.get("ctls") or [] if _is_own(m["name"].split(","), own)]
    controllers = entry.get("controllers") or []
    entry["controllers"] = [c for c in controllers if _is_own(c.get("cnames") or [], own)]
    members = [m for one in entry.get("sets") or [] for m in one["ctls"]]
    for controller in entry["controllers"]:
        _keep_own_folders(controller, members)
    return encode(_CGROUP, entry)


def _is_own(names: list[str], own: Collection[str]) -> bool:
    return any(name in own for name in names)


def _keep_own_folders(controller: dict[str, Any], members: list[dict[str, Any]]) -> None:
    """Those that processes are in or below: CRIU gives them the container's place."""
    names = controller["cnames"]
    mine = [member for member in members if _is_own(member["name"].split(","), names)]
    for member in mine:
        images.check_path(member["path"], "cgroup")
        if not member["path"].startswith("/"):
            raise StateError(f"the checkpoint has a cgroup {member['path']!r}")
    kept = []
    for folder in controller.get("dirs") or []:
        _check(folder)
        top = f"/{folder['dir_name']}".rstrip("/")
        below = [m for m in mine if f"{m['path']}/".startswith(f"{top}/")]
        for member in mine:
            if member["path"].startswith(top):
                _check_member(member, top)
        if not top:  # it was in the root of the hierarchy, where all the host is
            folder = {"dir_name": ""}
        if below:
            folder.pop("dir_perms", None)  # whose the container's is, is not for the image to say
            for item in folder.get("properties") or []:
                item.pop("perms", None)
            kept.append(folder)
    controller["dirs"] = kept


def _check_member(member: dict[str, Any], top: str) -> None:
    """CRIU cuts as many bytes off the names of both. Raises StateError where that is not whole names."""
    if not top and member["path"] == "/" and member.get("cgns_prefix") in (None, 0, 1):
        return
    names = [os.fsencode(f"{name}/") for name in (member["path"], top)]
    cut = member.get("cgns_prefix") or len(names[1]) - 1
    if not 0 < cut < len(names[1]) or any(name[cut : cut + 1] != b"/" for name in names):
        raise StateError(
            f"the checkpoint has a cgroup {member['path']!r} that is not below {top!r}"
        )


def _check(folder: dict[str, Any]) -> None:
    """Raises StateError."""
    left = [folder]
    while left:
        one = left.pop()
        images.check_path(one["dir_name"], "cgroup")
        for item in one.get("properties") or []:
            if "/" in item["name"] or item["name"] in _FORBIDDEN:
                raise StateError(f"the checkpoint has a property {item['name']!r} of a cgroup")
        left += one.get("children") or []
