"""An ordinary user of the host: with a home, a runtime directory, and further ids to map.

The user is known in a mount namespace of each command's own, where the files that say so are others.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAME, UID = "ocirt-test", 62_345
FIRST, COUNT = 700_000, 65_536  # in /etc/subuid and /etc/subgid
_FILES = ("passwd", "group", "subuid", "subgid")
# A checkout may lie in a folder that is root's alone: then it is shown without that folder.
_SCRIPT = """
etc=$1 checkout=$2 shift_root=$3 uid=$4
shift 4
for file in passwd group subuid subgid; do
    mount --bind "$etc/$file" "/etc/$file"
done
if [ "$shift_root" ]; then
    mount --bind "$checkout" "$etc/checkout"
    mount -t tmpfs -o mode=755 tmpfs "$shift_root"
    mkdir -p "$checkout"
    mount --move "$etc/checkout" "$checkout"
fi
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all "$@"
"""


class OrdinaryUser:
    """``folder``: where all that is the user's lies; ``home``, ``runtime``: folders in it."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder = folder
        self.checkout = checkout
        self.home = folder / "home"
        self.runtime = folder / "runtime"
        self._etc = folder / "etc"
        folder.chmod(0o711)
        for path in (self.home, self.runtime, self._etc, self._etc / "checkout"):
            path.mkdir()
        for path in (self.home, self.runtime):
            self.give(path)
        self.runtime.chmod(0o700)
        lines = {
            "passwd": f"{NAME}:x:{UID}:{UID}::{self.home}:/bin/sh",
            "group": f"{NAME}:x:{UID}:",
            "subuid": f"{NAME}:{FIRST}:{COUNT}",
            "subgid": f"{NAME}:{FIRST}:{COUNT}",
        }
        for name in _FILES:
            file = Path("/etc") / name
            file.touch()
            (self._etc / name).write_text(f"{file.read_text()}{lines[name]}\n")

    def give(self, path: Path) -> None:
        """``path`` and all below it are the user's."""
        for where, _folders, files in os.walk(path):
            for name in (".", *files):
                os.chown(os.path.join(where, name), UID, UID, follow_symlinks=False)

    def command(self, *words: str, **environment: str) -> list[str]:
        """``words`` as the user, with nothing of the caller's environment."""
        wanted = {"PATH": os.environ["PATH"], "HOME": str(self.home), "USER": NAME}
        wanted["XDG_RUNTIME_DIR"] = str(self.runtime)
        wanted.update(environment)
        assert shutil.which("setpriv")
        begin = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _SCRIPT, "sh"]
        begin += [str(self._etc), str(self.checkout), self._closed(), str(UID)]
        return [*begin, "env", "-i", *(f"{k}={v}" for k, v in wanted.items()), *words]

    def _closed(self) -> str:
        """The first folder on the way to the checkout that others may not enter, or ""."""
        for folder in reversed((*self.checkout.parents, self.checkout)):
            if not folder.stat().st_mode & 0o001:
                return str(folder)
        return ""
