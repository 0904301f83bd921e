"""The checks of `cri`: pods and containers by containerd's CRI (runtime.v1), in Kubernetes' words.

Usage: cri.py SOCKET IMAGE FOLDER CGROUP. FOLDER is where logs and volumes may lie, CGROUP the parent.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import time

import grpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of k8s.io/cri-api's api.proto, what is used here: message, then field=number, or
# field=number:message. "?" repeats: a list.
API = """
RunPodSandbox config=1:PodSandboxConfig
PodSandboxConfig metadata=1:Metadata hostname=2 log_directory=3 linux=8:LinuxPodSandbox
Metadata name=1 uid=2 namespace=3
LinuxPodSandbox cgroup_parent=1 security_context=2:SandboxSecurity
SandboxSecurity namespace_options=1:Namespaces privileged=6 seccomp=9:Profile
Namespaces network=1 pid=2 ipc=3 userns_options=5:UserNamespace
UserNamespace mode=1 uids=2:IdMapping gids=3:IdMapping
IdMapping host_id=1 container_id=2 length=3
Profile profile_type=1
CreateContainer pod_sandbox_id=1 config=2:ContainerConfig sandbox_config=3:PodSandboxConfig
ContainerConfig metadata=1:ContainerMetadata image=2:Image command=3 envs=6:KeyValue mounts=7:Mount log_path=11 tty=14 linux=15:LinuxContainer
ContainerMetadata name=1
Image image=1
KeyValue key=1 value=2
Mount container_path=1 host_path=2 readonly=3
LinuxContainer resources=1:Resources security_context=2:ContainerSecurity
Resources cpu_period=1 cpu_quota=2 cpu_shares=3 memory_limit_in_bytes=4
ContainerSecurity capabilities=1:Capability privileged=2 namespace_options=3:Namespaces run_as_user=5:Int64 readonly_rootfs=7 no_new_privs=11 run_as_group=12:Int64 masked_paths=13 readonly_paths=14 seccomp=15:Profile
Capability add_capabilities=1 drop_capabilities=2
Int64 value=1
StartContainer container_id=1
StopContainer container_id=1 timeout=2
RemoveContainer container_id=1
ContainerStatus container_id=1
ContainerStats container_id=1
ExecSync container_id=1 cmd=2 timeout=3
UpdateContainerResources container_id=1 linux=2:Resources
PodSandboxStatus pod_sandbox_id=1
StopPodSandbox pod_sandbox_id=1
RemovePodSandbox pod_sandbox_id=1
"""
FIELDS = {
    name: dict(field.split("=") for field in fields)
    for name, *fields in (line.split() for line in API.split("\n") if line)
}
POD, CONTAINER = 0, 1  # NamespaceMode
CREATED, RUNNING, EXITED = 0, 1, 2  # ContainerState


def varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def encode(message: str, values: dict[str, Any]) -> bytes:
    """Protocol buffers: https://protobuf.dev/programming-guides/encoding."""
    data = b""
    for name, value in values.items():
        number, _, kind = FIELDS[message][name].partition(":")
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                data += varint(int(number) << 3) + varint(one)
                continue
            raw = encode(kind, one) if isinstance(one, dict) else one.encode()
            data += varint(int(number) << 3 | 2) + varint(len(raw)) + raw
    return data


def decode(data: bytes) -> dict[int, Any]:
    """The last value of each field, by its number: an int or bytes, which may be a message."""
    values: dict[int, Any] = {}
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        key = number()
        value: Any = number()
        if key & 7 == 2:
            place += value
            value = data[place - value : place]
        values[key >> 3] = value
    return values


class Cri:
    """containerd's RuntimeService, and what the checks say of containers."""

    def __init__(self, socket: str, image: str, folder: str, cgroup: str) -> None:
        self.channel = grpc.insecure_channel(f"unix://{socket}")
        self.image, self.folder, self.cgroup = image, folder, cgroup
        self.config: dict[str, Any] = {}
        self.pod = ""

    def call(self, method: str, **values: Any) -> dict[int, Any]:
        """Raises grpc.RpcError."""
        rpc = self.channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}", response_deserializer=decode
        )
        reply: dict[int, Any] = rpc(encode(method, values), timeout=60)
        return reply

    def run_pod(self, name: str, privileged: int = 0, **namespaces: Any) -> None:
        os.makedirs(f"{self.folder}/{name}")
        options = {"pid": CONTAINER, **namespaces}
        security = {"namespace_options": options, "privileged": privileged, "seccomp": {}}
        self.config = {
            "metadata": {"name": name, "uid": name, "namespace": "test"},
            "hostname": name,
            "log_directory": f"{self.folder}/{name}",
            "linux": {"cgroup_parent": self.cgroup, "security_context": security},
        }
        self.pod = self.call("RunPodSandbox", config=self.config)[1].decode()

    def run(self, name: str, *command: str, linux: Any = None, **values: Any) -> str:
        """The id of a container in the pod that runs ``command``."""
        options = self.config["linux"]["security_context"]["namespace_options"]
        security = {"namespace_options": options, "seccomp": {}}
        linux = linux or {}
        config = {
            "metadata": {"name": name},
            "image": {"image": self.image},
            "command": list(command),
            "log_path": name,
            "linux": {**linux, "security_context": security | linux.get("security_context", {})},
            **values,
        }
        reply = self.call(
            "CreateContainer", pod_sandbox_id=self.pod, config=config, sandbox_config=self.config
        )
        container = str(reply[1].decode())
        self.call("StartContainer", container_id=container)
        return container

    def exec(self, container: str, script: str) -> tuple[int, str]:
        """Exit status and standard output of a shell in the container."""
        reply = self.call("ExecSync", container_id=container, cmd=["sh", "-c", script])
        return reply.get(3, 0), reply.get(1, b"").decode()

    def status(self, container: str) -> tuple[int, int, str]:
        """State, exit status and reason."""
        status = decode(self.call("ContainerStatus", container_id=container)[1])
        return status.get(3, 0), status.get(7, 0), status.get(10, b"").decode()

    def wait(self, container: str, reason: str = "") -> tuple[int, int, str]:
        """The same, when it has exited; the notice of a lack of memory may come after that."""
        for _ in range(100):
            status = self.status(container)
            if status[0] == EXITED and reason in status[2]:
                break
            time.sleep(0.1)
        return self.status(container)

    def log(self, name: str) -> str:
        """What the container of this name has said."""
        with open(f"{self.config['log_directory']}/{name}") as file:
            return "".join(line.split(" ", 3)[3] for line in file)

    def remove_pod(self) -> None:
        self.call("StopPodSandbox", pod_sandbox_id=self.pod)
        self.call("RemovePodSandbox", pod_sandbox_id=self.pod)


def check(what: str, got: object, expected: object) -> None:
    """Both are alike, or ``expected`` is a pattern; else this ends."""
    if isinstance(got, str) and isinstance(expected, str):
        alike = fnmatch.fnmatchcase(got, expected)
    else:
        alike = got == expected
    if not alike:
        print(f"not ok: {what}: {got!r}, expected {expected!r}")
        sys.exit(1)
    print(f"ok: {what}", flush=True)


LIMIT = (
    "cat /sys/fs/cgroup/memory.max 2> /dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
)
NAMESPACES = "for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done"


def check_pod(cri: Cri) -> None:
    cri.run_pod("pod")
    pod = decode(cri.call("PodSandboxStatus", pod_sandbox_id=cri.pod)[1])
    check("a pod is ready", pod.get(3, 0), 0)
    volume = f"{cri.folder}/page"
    os.mkdir(volume)
    with open(f"{volume}/index.html", "w") as file:
        file.write("page")
    mount = {"container_path": "/www", "host_path": volume, "readonly": 1}
    resources = {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512}
    server = cri.run(
        "server", *"httpd -f -h /www".split(), mounts=[mount], linux={"resources": resources}
    )
    client = cri.run("client", "sleep", "1000")
    check("its containers run", [cri.status(one)[0] for one in (server, client)], [RUNNING] * 2)
    check("they share the network", cri.exec(client, "wget -q -O - http://127.0.0.1/"), (0, "page"))
    one, other = (cri.exec(id, NAMESPACES)[1].split() for id in (server, client))
    same = [a == b for a, b in zip(one, other)]
    check("they share network, ipc and uts namespaces", same, [True, True, True, False, False])
    check("the host name is the pod's", cri.exec(client, "hostname"), (0, "pod\n"))
    check("a mount is read-only", cri.exec(server, "touch /www/x"), (1, ""))
    check("a memory limit", cri.exec(server, LIMIT), (0, f"{64 << 20}\n"))
    resources["memory_limit_in_bytes"] = 96 << 20
    cri.call("UpdateContainerResources", container_id=server, linux=resources)
    check("another one, later", cri.exec(server, LIMIT), (0, f"{96 << 20}\n"))
    memory = decode(decode(cri.call("ContainerStats", container_id=server)[1])[3])
    check("statistics of memory", decode(memory[2])[1] > 4096, True)
    check("exec, exit status", cri.exec(client, "exit 3"), (3, ""))
    check("seccomp", cri.exec(client, "grep ^Seccomp: /proc/self/status"), (0, "Seccomp:\t2\n"))
    try:
        cri.call("ExecSync", container_id=client, cmd=["missing"])
        said = ""
    except grpc.RpcError as error:
        said = error.details()
    check("exec of a missing program", said, "*executable file not found in $PATH*")
    cri.call("StopContainer", container_id=client, timeout=0)
    check("stop", cri.status(client), (EXITED, 137, "Error"))
    cri.call("RemoveContainer", container_id=client)


def check_containers(cri: Cri) -> None:
    said = cri.run("said", "sh", "-c", "echo $A; exit 7", envs=[{"key": "A", "value": "x"}])
    check("exit status", cri.wait(said), (EXITED, 7, "Error"))
    check("log", cri.log("said"), "x\n")
    security = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 1001},
        "readonly_rootfs": 1,
        "no_new_privs": 1,
        "capabilities": {"drop_capabilities": ["ALL"]},
        "masked_paths": ["/proc/uptime"],
        "readonly_paths": ["/dev/shm"],
    }
    script = (
        "echo $(id -u) $(id -g) $(cat /proc/uptime); grep -E '^(NoNew|CapBnd)' /proc/self/status;"
        "touch /tmp/x 2> /dev/null || echo read-only; touch /dev/shm/x 2> /dev/null || echo read-only"
    )
    locked = cri.run("locked", "sh", "-c", script, linux={"security_context": security})
    cri.wait(locked)
    rights = "1000 1001\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nread-only\nread-only\n"
    check("user, rights and paths", cri.log("locked"), rights)
    resources = {"memory_limit_in_bytes": 16 << 20}
    # On cgroup v1 containerd begins to watch only when the program runs already.
    script = "sleep 1; exec dd if=/dev/zero of=/dev/null bs=64M count=1"
    hungry = cri.run("hungry", "sh", "-c", script, linux={"resources": resources})
    check("too much memory", cri.wait(hungry, "OOMKilled"), (EXITED, 137, "OOMKilled"))
    tty = cri.run("tty", "tty", tty=1)
    cri.wait(tty)
    check("a terminal", cri.log("tty"), "/dev/pts/0*")
    try:
        cri.run("missing", "missing")
        text = ""
    except grpc.RpcError as error:
        text = error.details()
    check("a missing program", text, "*executable file not found in $PATH*")


def main() -> None:
    cri = Cri(*sys.argv[1:])
    check_pod(cri)
    check_containers(cri)
    cri.remove_pod()
    print("ok: remove the pod")

    cri.run_pod("processes", pid=POD, privileged=1)
    one = cri.run("one", "sleep", "1001")
    two = cri.run("two", "sleep", "1002")
    ran = cri.exec(two, "ps | grep -c 'sleep [1]00'")
    check("containers that share their processes see each other", ran, (0, "3\n"))
    check("and not as process 1", cri.exec(one, "[ $(pidof sleep | wc -w) = 3 ]"), (0, ""))
    privileged = cri.run(
        "privileged", "sleep", "1003", linux={"security_context": {"privileged": 1}}
    )
    ran = cri.exec(privileged, "mount -t tmpfs x /tmp && test -e /dev/kmsg && echo mounted")
    check("a privileged container", ran, (0, "mounted\n"))
    cri.remove_pod()
    print("ok: remove that pod")

    ids = [{"host_id": 300000, "container_id": 0, "length": 65536}]
    cri.run_pod("mapped", userns_options={"mode": POD, "uids": ids, "gids": ids})
    mapped = cri.run("mapped", "sleep", "1000")
    ran = cri.exec(mapped, "echo $(cat /proc/self/uid_map) $(stat -c %u /bin/busybox)")
    check("a pod in a user namespace", ran, (0, "0 300000 65536 0\n"))
    cri.remove_pod()
    print("ok: remove that one")


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as failure:
        sys.exit(f"not ok: {failure.details()}")
