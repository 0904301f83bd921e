# Sourced by the engines' scripts, as: . lib.sh; isolated "$@".

# An engine leaves daemons, mounts, sockets under /run and its database: all in namespaces that
# end with this script, whatever happens, and in one folder. Sets: runtime, work, rootfs, cgroup.
isolated() {
    local here status=0
    here=$(realpath "$(dirname "$0")")
    if [ -z "${OCIRT_ENGINE_WORK:-}" ]; then
        [ "$(id -u)" = 0 ] || die "needs root"
        runtime=$(command -v "$1") || die "no runtime $1"
        OCIRT_ENGINE_WORK=$(mktemp -d /tmp/ocirt-engine-XXXXXX)
        export OCIRT_ENGINE_WORK
        trap clean EXIT
        unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc \
            "$0" "$(realpath -s "$runtime")" || status=$?
        exit "$status"
    fi
    runtime=$1
    work=$OCIRT_ENGINE_WORK
    rootfs=$work/bundle/rootfs
    cgroup=/${work##*/}
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -m 1777 /run/lock
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

# check WHAT STATUS OUTPUT COMMAND...: COMMAND must end with STATUS and print OUTPUT (both: patterns of bash).
check() {
    local what=$1 status=$2 output=$3 got=0 said
    shift 3
    said=$(timeout 60 "$@" 2> "$work/stderr" < /dev/null) || got=$?
    if [[ $got = $status && $said = $output ]]; then
        echo "ok: $what"
        return
    fi
    echo "not ok: $what: exit status $got, expected $status; output '$said', expected '$output'"
    cat "$work/stderr"
    exit 1
}
