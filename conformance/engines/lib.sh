# Sourced by the engines' scripts, as: . lib.sh; isolated "$@".

# An engine leaves daemons, mounts, sockets under /run, network devices and its database: all in
# namespaces that end with this script, whatever happens, and in one folder. Sets: runtime, work,
# rootfs, cgroup.
isolated() {
    local here status=0
    here=$(realpath "$(dirname "$0")")
    if [ -z "${OCIRT_ENGINE_WORK:-}" ]; then
        [ "$(id -u)" = 0 ] || die "needs root"
        runtime=$(command -v "$1") || die "no runtime $1"
        OCIRT_ENGINE_WORK=$(mktemp -d /tmp/ocirt-engine-XXXXXX)
        chmod 711 "$OCIRT_ENGINE_WORK" # The root of a user namespace goes through it.
        export OCIRT_ENGINE_WORK
        trap clean EXIT
        shift
        unshare --mount --propagation private --net --pid --fork --kill-child=KILL --mount-proc \
            "$0" "$(realpath -s "$runtime")" "$@" || status=$?
        [ ! -e "$OCIRT_ENGINE_WORK/failed" ] || status=1
        exit "$status"
    fi
    runtime=$1
    work=$OCIRT_ENGINE_WORK
    rootfs=$work/bundle/rootfs
    cgroup=/${work##*/}
    # crun gives its standard streams to the container's user: not the host's /dev/null.
    mknod -m 666 "$work/null" c 1 3
    mount --bind "$work/null" /dev/null
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -m 1777 /run/lock
    busybox ip link set lo up
    "$here/../bundle.py" "$work/bundle"
}

# All processes have ended with their namespace; the deepest cgroup goes first.
clean() {
    rm -rf --one-file-system "$OCIRT_ENGINE_WORK"
    # Those of others may go meanwhile: find complains of that.
    { find /sys/fs/cgroup -depth -type d -path "*/${OCIRT_ENGINE_WORK##*/}*" 2> /dev/null || true; } |
        xargs --no-run-if-empty rmdir
}

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# A containerd of this script alone, with the settings of standard input. Its CRI is not needed
# by all, and does no harm.
start_containerd() {
    {
        printf 'version = 2\nroot = "%s"\nstate = "/run/containerd"\n' "$work/containerd"
        printf 'disabled_plugins = ["io.containerd.internal.v1.opt"]\n'
        cat
    } > "$work/containerd.toml"
    containerd --config "$work/containerd.toml" > "$work/containerd.log" 2>&1 &
    wait_for ctr version
}

# Of the daemons whose logs are in $work, what may have been the reason; for a trap at the end.
say_why() {
    local status=$? log
    [ $status != 0 ] || [ -e "$work/failed" ] || return 0
    for log in "$work"/*.log; do
        echo "--- ${log##*/}:"
        grep -vE "level=(debug|info)" "$log" | tail -n 20
    done
}

# subordinate_ids USER: a user who has 655360 ids from 300000 on, for this script alone.
subordinate_ids() {
    local file
    echo "$1:300000:655360" | tee "$work/subuid" > "$work/subgid"
    { grep -v "^$1:" /etc/passwd; echo "$1:x:61000:61000::/:/bin/false"; } > "$work/passwd"
    { grep -v "^$1:" /etc/group; echo "$1:x:61000:"; } > "$work/group"
    for file in subuid subgid passwd group; do
        mount --bind "$work/$file" "/etc/$file"
    done
}

# wait_for COMMAND...: until it succeeds, ten seconds at most; the check that follows says the rest.
wait_for() {
    local _
    for _ in $(seq 100); do
        ! "$@" > /dev/null 2>&1 || return 0
        sleep 0.1
    done
}

# check WHAT STATUS OUTPUT COMMAND...: COMMAND must end with STATUS and print OUTPUT (both: patterns
# of bash). If not, the script goes on, and fails in the end.
check() {
    local what=$1 status=$2 output=$3 got=0 said
    shift 3
    # A guest of conformance/vm is slow.
    said=$(timeout "$([ -n "${OCIRT_VM:-}" ] && echo 300 || echo 60)" "$@" 2> "$work/stderr" < /dev/null) || got=$?
    if [[ $got = $status && $said = $output ]]; then
        echo "ok: $what"
        return
    fi
    echo "not ok: $what: exit status $got, expected $status; output '$said', expected '$output'"
    cat "$work/stderr"
    touch "$work/failed"
}

# check_cgroups [TEST...]: below $cgroup there are none, but for those that find(1)'s TEST leaves out.
check_cgroups() {
    local folders=() folder
    for folder in "/sys/fs/cgroup$cgroup" /sys/fs/cgroup/*"$cgroup"; do # of version 2; of 1
        [ ! -d "$folder" ] || folders+=("$folder")
    done
    local left=(find "${folders[@]}" -mindepth 1 -type d "$@")
    wait_for sh -c '[ -z "$("$@")" ]' sh "${left[@]}" # engines end some of their work later
    check "nothing is left in the cgroups" 0 "" \
        "${left[@]}" -printf '%p, of %CT, with processes: ' -exec cat {}/cgroup.procs \;
}
