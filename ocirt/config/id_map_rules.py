"""What the schema can't say about uidMappings and gidMappings (config-linux.md, "User namespace
mappings"): what the kernel would refuse, and runc's validator."""

from __future__ import annotations

from ocirt.config import id_map_option
from ocirt.config.report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mappings = list[dict[str, Any]]

ROWS_MAX = 340  # UID_GID_MAP_MAX_EXTENTS
_ID_END = (1 << 32) - 1  # the last one, -1, is no id
KEYS = ("uidMappings", "gidMappings")


def check_namespace(document: dict[str, Any], namespace: dict[str, Any], report: Report) -> None:
    """The mappings of linux; ``namespace``: the one of type user."""
    linux, before = document["linux"], len(report.problems)
    for key in KEYS:
        check_mappings(linux.get(key) or [], f"/linux/{key}", report)
        if not linux.get(key) and not namespace.get("path"):
            report.wrong(f"/linux/{key}", "is required for a new user namespace", hint=_EXAMPLE)
    if len(report.problems) == before and report.intact("/process"):
        _process_ids(document.get("process") or {}, linux, report)


_EXAMPLE = 'such as [{"containerID": 0, "hostID": 100000, "size": 65536}]'


def check_mappings(mappings: Mappings, at: str, report: Report) -> None:
    """One list of them."""
    if len(mappings) > ROWS_MAX:
        report.wrong(at, f"has {len(mappings)} mappings, the kernel takes {ROWS_MAX}")
        return
    for index, mapping in enumerate(mappings):
        if not mapping["size"]:
            report.wrong(f"{at}/{index}/size", "must not be 0")
        for key in ("containerID", "hostID"):
            first = mapping[key]
            if first + mapping["size"] > _ID_END:
                report.wrong(f"{at}/{index}/{key}", f"with its size it goes over {_ID_END - 1}")
            for other, before in enumerate(mappings[:index]):
                end = before[key] + before["size"]
                if before[key] < first + mapping["size"] and first < end:
                    report.wrong(f"{at}/{index}/{key}", f"overlaps with that of mapping {other}")


def _process_ids(process: dict[str, Any], linux: dict[str, Any], report: Report) -> None:
    user = process.get("user") or {}
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    ids = [("uid", user.get("uid") or 0, uids), ("gid", user.get("gid") or 0, gids)]
    for index, gid in enumerate(user.get("additionalGids") or []):
        ids.append((f"additionalGids/{index}", gid, gids))
    for name, id, mappings in ids:
        if mappings and not is_mapped(id, mappings):
            kind = "uid" if mappings is uids else "gid"
            text = f"{kind} {id} is not mapped in linux.{kind}Mappings"
            report.wrong(f"/process/user/{name}", text)


def is_mapped(id: int, mappings: Mappings) -> bool:
    """Is the id inside of a user namespace also one outside?"""
    return any(m["containerID"] <= id < m["containerID"] + m["size"] for m in mappings)


def check_mount(
    mount: dict[str, Any], at: str, linux: dict[str, Any], own: bool, report: Report
) -> None:
    """The mappings of one mount; ``own``: the container has a user namespace."""
    options = mount.get("options") or []
    given = [key for key in KEYS if mount.get(key)]
    wanted = [f"{at}/{key}" for key in given]
    for key in given:
        check_mappings(mount[key], f"{at}/{key}", report)
    if len(given) == 1:
        missing = KEYS[1 - KEYS.index(given[0])]
        report.wrong(f"{at}/{missing}", f"is required with {given[0]}")
    for position, option in enumerate(options):
        name, equals, value = option.partition("=")
        if name in id_map_option.NAMES:
            wanted.append(f"{at}/options/{position}")
            if equals:
                _option_mappings(value, wanted[-1], linux, report)
            if equals and given:
                report.wrong(wanted[-1], "the mount has mappings already")
            elif not equals and not given and not own:
                hint = "give the mount uidMappings and gidMappings"
                report.wrong(wanted[-1], "there are no mappings and no user namespace", hint)
    bind = mount.get("type") == "bind" or "bind" in options or "rbind" in options
    if wanted and not bind:
        report.wrong(wanted[0], "only a bind mount can be id-mapped")


def _option_mappings(value: str, at: str, linux: dict[str, Any], report: Report) -> None:
    try:
        for mappings in id_map_option.parse(value, linux).values():
            found = Report([], [])
            check_mappings(mappings, "", found)
            for problem in found.problems:
                report.wrong(at, f"mapping {(problem.at or '').lstrip('/')}: {problem.message}")
    except ValueError as error:
        report.wrong(at, str(error))
