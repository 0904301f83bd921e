"""The instruction set of the machine, written down once.

``tools/generate_isa.py`` makes ``csrc/isa.h`` from this file; a test fails if
the two differ. Both sides verify a program against the same table.

Wire form (all integers little-endian, in one buffer called a *segment*)::

    u32 op_count, u32 text_size
    op_count records of 56 bytes: u16 code, u16 over, u16 skip_errno[2], u64 operand[6]
    text: NUL-terminated strings, 8-aligned lists and data; its last byte is NUL

Operand kinds, one u64 each:

NUM       a number
STR       offset in text of a NUL-terminated string
STRS      8-aligned offset of a list: u64 count, count u64 string offsets, u64 0
DATA      bytes: low 32 bits the 8-aligned offset, high 32 bits the length
SLOT      a slot that is defined; slots are numbered file descriptors
SLOT_OPT  the same, or NO_SLOT
SLOT_OUT  the slot that the operation defines (what it held before is closed)

Error policy: an operation whose errno is one of ``skip_errno`` (0 is none) does
not fail the program: it and the next ``over`` operations are skipped. Never
backwards, so every program ends.

``steps`` names what an operation does, in order; a failure reports the index of
the step that failed. ``text`` is the sentence of ``describe()``.
"""

from __future__ import annotations

NUM, STR, STRS, DATA, SLOT, SLOT_OPT, SLOT_OUT = range(7)
KIND_NAMES = ("NUM", "STR", "STRS", "DATA", "SLOT", "SLOT_OPT", "SLOT_OUT")

OPERANDS = 6
SLOTS = 1024
NO_SLOT = 0xFFFFFFFF
SEGMENT_MAX = 4 << 20
CHUNK_MAX = 64 << 10
FDS_MAX = 250  # SCM_MAX_FD of the kernel is 253

# Messages to the machine (SOCK_SEQPACKET): u32 magic, u16 type, u16 flags, u32 a, u32 b.
MAGIC = 0x5452434F  # "OCRT"
MSG_FDS = 1  # a: first slot, b: count; the descriptors come with it (SCM_RIGHTS)
MSG_SEGMENT = 2  # a: index of its first operation, b: bytes; chunks of <= CHUNK_MAX follow
FLAG_TRACE = 1  # report every operation before it runs

# Reports from the machine: u32 kind, u32 op, u32 step, i32 errno, i64 value, text (no NUL needed).
REPORT_DONE = 1  # the segment ended; the machine waits for the next message
REPORT_FAILED = 2  # op, step, errno, text; the machine exits
REPORT_FORKED = 3  # value: pid of the child, as the old process sees it; the old one exits
REPORT_FD = 4  # value: tag; one descriptor comes with it
REPORT_PARKED = 5  # the machine waits on the wake slot and has closed the control socket
REPORT_TRACE = 6  # op is about to run
REPORT_EXEC = 7  # execve follows: what ends the process from here on is not the set-up
REPORT_LISTENER = 8  # value: the number that a listener is about to have; see SECCOMP
REPORT_HEADER = 24
REPORT_TEXT_MAX = 1024

# TARGET
KIND_DIR, KIND_FILE, KIND_LIKE = range(3)  # KIND_LIKE: a folder if slot `like` is one, else a file
TARGET_NO_PROC = 1  # refuse (EXDEV) a target that lies on procfs: CVE-2019-16884
TARGET_ORDINARY = 2  # no component may be a symlink (ELOOP): CVE-2019-19921
TARGET_NO_CREATE = 4  # a missing target is an error
TARGET_NO_SYS = 8  # refuse (EXDEV) a target that lies on sysfs or in a cgroup hierarchy

# SECCOMP
FILTER_STEP = 8  # bytes of an instruction, struct sock_filter
FILTER_STEPS_MAX = 4096


class Op:
    """One instruction: its code, operands ((name, kind), ...), steps and sentence."""

    __slots__ = ("code", "name", "operands", "steps", "text")

    def __init__(
        self,
        code: int,
        name: str,
        operands: tuple[tuple[str, int], ...],
        steps: tuple[str, ...],
        text: str,
    ) -> None:
        self.code = code
        self.name = name
        self.operands = operands
        self.steps = steps
        self.text = text


def _table() -> dict[str, Op]:
    rows: tuple[tuple[str, tuple[tuple[str, int], ...], tuple[str, ...], str], ...] = (
        # ---- process and namespaces
        ("SETSID", (), ("setsid",), "become leader of a new session"),
        ("SETNS", (("ns", SLOT), ("flags", NUM)), ("setns",), "join the {flags} namespace {ns}"),
        ("UNSHARE", (("flags", NUM),), ("unshare",), "enter new namespaces: {flags}"),
        # Forks with CLONE_PARENT: the child goes on with the program, the old process
        # sends REPORT_FORKED and exits. Needed to enter a pid or time namespace.
        ("FORK", (), ("clone",), "fork; the child goes on as a sibling"),
        ("PRCTL", (("option", NUM), ("value", NUM)), ("prctl",), "prctl {option} {value}"),
        # keyctl(KEYCTL_JOIN_SESSION_KEYRING, name), then possessor/user permissions as
        # runc sets them (so that the container's user may search it).
        ("KEYRING", (("name", STR),), ("join", "permissions"), "join session keyring {name}"),
        ("HOSTNAME", (("name", STR),), ("sethostname",), "set the host name to {name}"),
        ("DOMAINNAME", (("name", STR),), ("setdomainname",), "set the domain name to {name}"),
        ("PERSONALITY", (("persona", NUM),), ("personality",), "set personality {persona}"),
        # set_mempolicy(policy: MPOL_* with its flags, nodes: a bit for each, in 64-bit words).
        (
            "MEMORY_POLICY",
            (("policy", NUM), ("nodes", DATA)),
            ("set_mempolicy",),
            "set memory policy {policy} {nodes}",
        ),
        ("UMASK", (("mask", NUM),), ("umask",), "set umask {mask}"),
        ("LOOPBACK_UP", (), ("socket", "get flags", "set flags"), "bring the loopback device up"),
        # ---- files
        # The namespace's own "/" (before PIVOT that is a copy of the host's).
        ("OPEN_ROOT", (("out", SLOT_OUT),), ("open",), "open the namespace's / as {out}"),
        # openat2(dir, path, flags | O_CLOEXEC, resolve)
        (
            "OPEN",
            (("dir", SLOT), ("path", STR), ("flags", NUM), ("resolve", NUM), ("out", SLOT_OUT)),
            ("openat2",),
            "open {path} in {dir} as {out}",
        ),
        # Opens (O_PATH) path inside root (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), makes
        # missing folders (0755) and the missing last component (folder 0755 or empty file
        # 0644) component by component on verified fds, never through a swapped link
        # (CVE-2024-45310). kind: KIND_*, like: the slot for KIND_LIKE, flags: TARGET_*.
        # With TARGET_NO_CREATE a target of any kind will do. The path is relative, "." for
        # the root itself.
        (
            "TARGET",
            (
                ("root", SLOT),
                ("path", STR),
                ("kind", NUM),
                ("like", SLOT_OPT),
                ("flags", NUM),
                ("out", SLOT_OUT),
            ),
            ("source", "open", "create", "reopen", "verify"),
            "find or make the {kind} {path} in {root} as {out}",
        ),
        # fstatfs(slot).f_type must be magic, else EXDEV.
        (
            "CHECK_FS",
            (("slot", SLOT), ("magic", NUM)),
            ("fstatfs", "compare"),
            "check that {slot} is on file system type {magic}",
        ),
        # Makes node `name` (one component) in folder dir; mode includes the S_IF type.
        # An existing node is reused only if its type and number are the same (else EEXIST).
        # Sets mode and owner on what it verified, through an O_PATH fd.
        (
            "MKNOD",
            (
                ("dir", SLOT),
                ("name", STR),
                ("mode", NUM),
                ("device", NUM),
                ("uid", NUM),
                ("gid", NUM),
            ),
            ("mknodat", "open", "verify", "chmod", "chown"),
            "make device {name} in {dir}: {device}",
        ),
        # An existing name is left as it is.
        (
            "SYMLINK",
            (("dir", SLOT), ("name", STR), ("target", STR)),
            ("symlinkat",),
            "link {name} in {dir} to {target}",
        ),
        # Opens path (O_WRONLY, RESOLVE_BENEATH | NO_XDEV | NO_MAGICLINKS) in dir and writes
        # data with one write(2).
        (
            "WRITE",
            (("dir", SLOT), ("path", STR), ("data", DATA)),
            ("open", "write"),
            "write {data} to {path} of {dir}",
        ),
        # Sets the extended attribute `name` of the folder dir.
        (
            "XATTR",
            (("dir", SLOT), ("name", STR), ("value", DATA)),
            ("open", "fsetxattr"),
            "set attribute {name} of {dir} to {value}",
        ),
        ("CLOSE", (("slot", SLOT),), ("close",), "close {slot}"),
        # Closes every slot but these (and the control socket).
        (
            "KEEP",
            (("a", SLOT_OPT), ("b", SLOT_OPT), ("c", SLOT_OPT), ("d", SLOT_OPT)),
            ("close",),
            "close every slot but {a} {b} {c} {d}",
        ),
        # chdir, then getcwd must be an absolute path (CVE-2024-21626): else EXDEV.
        ("CHDIR", (("path", STR),), ("chdir", "verify"), "go to folder {path}"),
        # ---- mounts (new mount API only; every target is a verified fd)
        ("FSOPEN", (("type", STR), ("out", SLOT_OUT)), ("fsopen",), "open file system {type}"),
        (
            "FSCONFIG",
            (("fs", SLOT), ("key", STR), ("value", STR)),
            ("fsconfig",),
            "set {key}={value} on {fs}",
        ),
        ("FSFLAG", (("fs", SLOT), ("key", STR)), ("fsconfig",), "set {key} on {fs}"),
        # mode= of the folder that is there, if it is. No failure of finding it is one.
        (
            "FSMODE",
            (("fs", SLOT), ("root", SLOT), ("path", STR)),
            ("fsconfig",),
            "set mode on {fs} to that of {path} in {root}, if it exists",
        ),
        # fsconfig(CMD_CREATE), fsmount(attributes: MOUNT_ATTR_*). Closes fs.
        (
            "FSMOUNT",
            (("fs", SLOT), ("attributes", NUM), ("out", SLOT_OUT)),
            ("create", "fsmount"),
            "make a detached mount of {fs} as {out} {attributes}",
        ),
        # open_tree(source, OPEN_TREE_CLONE [| AT_RECURSIVE])
        (
            "CLONE_TREE",
            (("source", SLOT), ("recursive", NUM), ("out", SLOT_OUT)),
            ("open_tree",),
            "copy the mount {source} as {out}",
        ),
        # mount_setattr; flags: 0 or AT_RECURSIVE; propagation: 0 or MS_*.
        (
            "SETATTR",
            (
                ("mount", SLOT),
                ("set", NUM),
                ("clear", NUM),
                ("propagation", NUM),
                ("flags", NUM),
                ("userns", SLOT_OPT),
            ),
            ("mount_setattr",),
            "set {set} clear {clear} {propagation} on {mount} {flags}",
        ),
        # move_mount(mount -> target). A mount slot used a second time is cloned first
        # (AT_RECURSIVE not set), so one mount can be put on many targets.
        (
            "ATTACH",
            (("mount", SLOT), ("target", SLOT)),
            ("open_tree", "move_mount"),
            "attach {mount} at {target}",
        ),
        # Opens path (O_PATH, in root, no magic links): a folder gets `folder` attached, any
        # other file gets `file`, as ATTACH does.
        (
            "MASK",
            (("root", SLOT), ("path", STR), ("file", SLOT), ("folder", SLOT)),
            ("open", "stat", "open_tree", "move_mount"),
            "mask {path} in {root}",
        ),
        # Opens path the same way, clones it (recursive), sets MOUNT_ATTR_RDONLY
        # (recursive), attaches the clone there.
        (
            "READONLY",
            (("root", SLOT), ("path", STR)),
            ("open", "open_tree", "mount_setattr", "move_mount"),
            "make {path} in {root} read-only",
        ),
        # fchdir(root), pivot_root(".", "."), umount2(".", MNT_DETACH), chdir("/"). The old root
        # was made a slave when it was opened: the umount stays in this namespace.
        (
            "PIVOT",
            (("root", SLOT),),
            ("fchdir", "pivot_root", "umount", "chdir"),
            "make {root} the root, detach the old one",
        ),
        ("CHROOT", (("root", SLOT),), ("fchdir", "chroot", "chdir"), "change root to {root}"),
        # fchdir(dir), umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW); name: one component.
        (
            "UMOUNT",
            (("dir", SLOT), ("name", STR)),
            ("fchdir", "umount"),
            "unmount {name} in {dir}",
        ),
        # ---- console
        # Sees that dev/pts inside root is a devpts, opens its own ptmx, unlocks it, and opens
        # the peer with TIOCGPTPEER: no path in /dev/pts is followed (CVE-2025-52565).
        (
            "PTY",
            (("root", SLOT), ("master", SLOT_OUT), ("slave", SLOT_OUT)),
            ("find", "verify", "open", "unlock", "peer"),
            "make a pseudoterminal: {master}, {slave}",
        ),
        # Sends the descriptor to the host (REPORT_FD with the tag).
        ("SEND", (("slot", SLOT), ("tag", NUM)), ("sendmsg",), "hand {slot} to the host"),
        ("STDIO", (("slot", SLOT),), ("dup2",), "make {slot} stdin, stdout and stderr"),
        ("CTTY", (("slot", SLOT),), ("ioctl",), "make {slot} the controlling terminal"),
        # fchown of 0, 1, 2 to uid (gid kept); /dev/null, EPERM, EROFS, EINVAL and closed fds are
        # passed over.
        ("OWN_STDIO", (("uid", NUM),), ("fchown",), "give stdin, stdout, stderr to uid {uid}"),
        # ---- privileges
        ("BOUNDING", (("keep", NUM),), ("prctl",), "limit the bounding set to {keep}"),
        ("GROUPS", (("groups", DATA),), ("setgroups",), "set supplementary groups {groups}"),
        ("SETGID", (("gid", NUM),), ("setresgid",), "become gid {gid}"),
        ("SETUID", (("uid", NUM),), ("setresuid",), "become uid {uid}"),
        (
            "CAPSET",
            (("effective", NUM), ("permitted", NUM), ("inheritable", NUM)),
            ("capset",),
            "set capabilities: effective {effective}, permitted {permitted}, "
            "inheritable {inheritable}",
        ),
        # Clears the ambient set, then raises each bit.
        ("AMBIENT", (("raise", NUM),), ("clear", "raise"), "set ambient capabilities {raise}"),
        # seccomp(SECCOMP_SET_MODE_FILTER, flags), filter: struct sock_filter, 1 to 4096 of 8 bytes.
        # What comes after it may need no more calls than any program: write for reports, read,
        # close, rt_sigaction, rt_sigprocmask, execve.
        # With SECCOMP_FILTER_FLAG_NEW_LISTENER the machine says before (REPORT_LISTENER) which
        # number the listener will have, and waits afterwards for a message, whatever it says, to
        # close it. So the host can take the listener (pidfd_getfd) without a call of the machine's,
        # each of which may already be for the agent to decide.
        (
            "SECCOMP",
            (("filter", DATA), ("flags", NUM)),
            ("listener", "load", "wait"),
            "load {filter} {flags}",
        ),
        # close_range(first_fd.., CLOEXEC)
        (
            "CLOEXEC",
            (("first_fd", NUM),),
            ("close_range",),
            "close on execute what is open from {first_fd} on",
        ),
        # ---- the end
        # Picks the first path that is a regular file and may be executed (statx, then
        # faccessat2 AT_EACCESS). Fails with the most telling errno: EACCES over EISDIR over
        # ENOTDIR over ENOENT; the report's text is the path that it is about.
        ("FIND_EXEC", (("paths", STRS),), ("find",), "find the program among {paths}"),
        # SIGHUP, SIGINT and SIGTERM end the machine, also as the first process of a pid namespace,
        # which signals without a handler do not reach (pid_namespaces(7)).
        ("MORTAL", (), ("sigaction",), "end at SIGHUP, SIGINT or SIGTERM"),
        # Sends REPORT_PARKED, closes the control socket, then read(wake) of one byte: EOF
        # ends the machine. From now on reports go to slot `report` (a FIFO).
        ("PARK", (("wake", SLOT), ("report", SLOT)), ("read",), "wait for start on {wake}"),
        # CLOEXEC (unless first_fd is NO_SLOT), default signal dispositions, empty signal mask,
        # execve(the path that FIND_EXEC chose, argv, env).
        (
            "EXEC",
            (("argv", STRS), ("env", STRS), ("first_fd", NUM)),
            ("close_range", "execve"),
            "execute {argv}",
        ),
    )
    return {row[0]: Op(code, *row) for code, row in enumerate(rows, start=1)}


OPS = _table()
