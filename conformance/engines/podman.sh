# Sourced by Podman's scripts after lib.sh.

# Podman with storage and configuration of this script alone, and an image of busybox: ocirt-test.
# Sets: podman (the command), run ("podman run" in the script's cgroup).
podman_alone() {
    local controllers=/sys/fs/cgroup/cgroup.controllers # of version 2; conformance/cgroup-v2 has few
    mount -t tmpfs tmpfs /etc/containers
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' > /etc/containers/policy.json
    # no*groups: Podman believes it of crun alone, by its name. infra: not everybody has catatonit.
    cat > /etc/containers/containers.conf << 'TOML'
[containers]
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime_supports_nocgroup = ["crun", "ocirt"]
infra_image = "localhost/ocirt-infra"
stop_timeout = 1
TOML
    export PODMAN_IGNORE_CGROUPSV1_WARNING=1
    mkdir "$work/root"
    mount -t tmpfs tmpfs "$work/root"
    podman=(podman --root "$work/root" --runroot /run/podman-runroot --tmpdir /run/podman-tmp
        --storage-driver overlay --events-backend file --cgroup-manager cgroupfs --runtime "$runtime")
    tar -C "$rootfs" -c . | "${podman[@]}" import --quiet --change 'ENV PATH=/bin' - ocirt-test > /dev/null
    run=("${podman[@]}" run --network none --cgroup-parent "$cgroup")
    [ -e $controllers ] && ! grep -qw pids $controllers || run+=(--pids-limit 100)
}

# Can memory and processes be limited here?
has_limits() {
    [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ] || grep -qw memory /sys/fs/cgroup/cgroup.controllers 2> /dev/null
}

# older_than N: is this a Podman of a major version before N?
older_than() {
    local version
    version=$(podman --version)
    version=${version##* }
    [ "${version%%.*}" -lt "$1" ]
}

# quiet COMMAND...: without its output, unless it fails; the check that follows says the rest.
quiet() { "$@" > "$work/id" 2> "$work/stderr" || cat "$work/stderr"; }
