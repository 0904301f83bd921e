# Sourced by Docker's scripts after lib.sh.

unrouted=(--bridge none --iptables=false --ip6tables=false) # for a dockerd without a network

# start_docker NAME [OPTION...]: a dockerd, and in $docker, $run and $start how to call it. Needs
# start_containerd.
start_docker() {
    local name=$1
    shift
    # BuildKit, which is part of it, calls what is named runc.
    mkdir -p "$work/bin"
    ln -sf "$runtime" "$work/bin/runc"
    # The default of open files would be more than a process without CAP_SYS_RESOURCE may set.
    ulimit -n 1024
    PATH=$work/bin:$PATH dockerd --host "unix:///run/$name.sock" --pidfile "/run/$name.pid" \
        --exec-root "/run/$name" --data-root "$work/$name" --storage-driver overlay2 \
        --containerd /run/containerd/containerd.sock --containerd-namespace "$name" \
        --cgroup-parent "$cgroup" --add-runtime "tested=$runtime" --default-runtime tested "$@" \
        > "$work/$name.log" 2>&1 &
    export DOCKER_CONFIG=$work/config
    docker=("$(type -P docker)" --host "unix:///run/$name.sock")
    run=("${docker[@]}" run --rm --network none)
    start=("${docker[@]}" run --detach --network none)
    wait_for "${docker[@]}" version
    tar -C "$rootfs" -c . | "${docker[@]}" import - ocirt-test > "$work/imported"
}
