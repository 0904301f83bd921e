"""The messages of CRIU's RPC (images/rpc.proto of CRIU), with the fields that ocirt uses."""

from __future__ import annotations

from ocirt.criu.protobuf import BOOL, INT, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.criu.protobuf import Schema

# criu_req_type
DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10

# criu_cg_mode, by the words of --manage-cgroups-mode
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}

PAGE_SERVER: Schema = {"address": (1, TEXT), "port": (2, INT)}
EXTERNAL_MOUNT: Schema = {"key": (1, TEXT), "val": (2, TEXT)}
JOIN: Schema = {"ns": (1, TEXT), "ns_file": (2, TEXT)}
INHERIT: Schema = {"key": (1, TEXT), "fd": (2, INT)}
CGROUP_ROOT: Schema = {"ctrl": (1, TEXT), "path": (2, TEXT)}

OPTIONS: Schema = {
    "images_dir_fd": (1, INT),
    "pid": (2, INT),
    "leave_running": (3, BOOL),
    "ext_unix_sk": (4, BOOL),
    "tcp_established": (5, BOOL),
    "evasive_devices": (6, BOOL),
    "shell_job": (7, BOOL),
    "file_locks": (8, BOOL),
    "log_level": (9, INT),
    "log_file": (10, TEXT),
    "ps": (11, PAGE_SERVER),
    "notify_scripts": (12, BOOL),
    "root": (13, TEXT),
    "parent_img": (14, TEXT),
    "track_mem": (15, BOOL),
    "auto_dedup": (16, BOOL),
    "work_dir_fd": (17, INT),
    "link_remap": (18, BOOL),
    "ext_mnt": (23, [EXTERNAL_MOUNT]),
    "manage_cgroups": (24, BOOL),
    "cg_root": (25, [CGROUP_ROOT]),
    "rst_sibling": (26, BOOL),
    "inherit_fd": (27, [INHERIT]),
    "manage_cgroups_mode": (34, INT),
    "external": (37, [TEXT]),
    "empty_ns": (38, INT),
    "join_ns": (39, [JOIN]),
    "cgroup_dump_controller": (43, [TEXT]),
    "freeze_cgroup": (44, TEXT),
    "tcp_skip_in_flight": (46, BOOL),
    "lazy_pages": (48, BOOL),
    "orphan_pts_master": (50, BOOL),
    "config_file": (51, TEXT),
    "tcp_close": (52, BOOL),
    "lsm_profile": (53, TEXT),
    "lsm_mount_context": (63, TEXT),
}

FEATURES: Schema = {"mem_track": (1, BOOL), "lazy_pages": (2, BOOL)}

REQUEST: Schema = {
    "type": (1, INT),
    "opts": (2, OPTIONS),
    "notify_success": (3, BOOL),
    "features": (5, FEATURES),
}

NOTICE: Schema = {"script": (1, TEXT), "pid": (2, INT)}

RESPONSE: Schema = {
    "type": (1, INT),
    "success": (2, BOOL),
    "restore": (4, {"pid": (1, INT)}),
    "notify": (5, NOTICE),
    "cr_errno": (7, INT),
    "features": (8, FEATURES),
    "cr_errmsg": (9, TEXT),
    "version": (10, {"major_number": (1, INT), "minor_number": (2, INT)}),
}
