# Sourced by tools/test and tools/demo: everything that a bare Debian lacks. Run from the checkout.
#
# need PACKAGE...   installs Debian packages, or stops
# wish PACKAGE...   installs those that this Debian has; tests that use the others are skipped
# install_ocirt X   an editable install with the extra dependencies X ("" or "[test]") in .venv

python=/usr/bin/python3

say() { printf '\n== %s\n' "$*"; }

missing() {
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

apt() {
    [ "$(id -u)" = 0 ] || { echo "not installed, and only root can do that: $*" >&2; return 1; }
    [ -n "${apt_updated:-}" ] || apt-get -qq update
    apt_updated=1
    DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends install "$@" > /dev/null
}

need() {
    local packages
    packages=$(missing "$@")
    [ -z "$packages" ] || { say "apt-get install" $packages; apt $packages; }
}

wish() {
    local package
    for package in $(missing "$@"); do
        say "apt-get install $package"
        apt "$package" || echo "$package can't be had here: what needs it is skipped"
    done
}

install_ocirt() {
    say "install ocirt$1 in .venv"
    [ -x .venv/bin/pip ] || $python -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --editable ".$1"
    .venv/bin/ocirt --version
}
