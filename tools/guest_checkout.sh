# Sourced by tools/test-vm and conformance/runc-suite/run, from the checkout: installs it for the
# testbed and its guests, with the testbed's own packages.
#
# Sets $place, where the command must be seen there (it knows where its sources are), and $copy, the
# folder of this machine to share as $place: a copy of the checkout, with what is not committed, in
# $OCIRT_TESTBED_CACHE/guest-checkouts. It is made in the testbed, at the host's speed, and anew when
# a file has changed. Descriptor 8, which a program that is executed inherits, keeps it from going.

place=/opt/ocirt
copies=${OCIRT_TESTBED_CACHE:-/var/cache/ocirt-testbed}/guest-checkouts
rootfs=$(conformance/testbed path --guest)
mkdir -p "$copies"
exec 9> "$copies/lock"
flock 9
# Everything but what is made; names, rights and contents.
tar --create --file "$copies/tar" --sort=name --owner=0 --group=0 --mtime=@0 \
    --exclude-vcs --exclude=./.venv --exclude=./build --exclude=./dist --exclude='*.egg-info' \
    --exclude=__pycache__ --exclude='.*_cache' --exclude=.hypothesis --exclude='*.so' .
copy=$copies/$(sha256sum "$copies/tar" tools/guest_checkout.sh "$rootfs/.ocirt-testbed" |
    sha256sum | cut -c1-16)
if [ ! -e "$copy/.venv/made" ]; then
    rm -rf "$copy"
    mkdir "$copy"
    tar --extract --file "$copies/tar" --directory "$copy"
    conformance/testbed enter --share "$copy:$place" --chdir "$place" -- sh -euc '
        python3 -m venv --system-site-packages --without-pip .venv
        .venv/bin/python -m pip install --quiet --root-user-action=ignore --no-index --no-deps \
            --no-build-isolation --editable .
        # Bytecode takes the guests long.
        python3 -m compileall -q ocirt tests
        touch .venv/made'
fi
# Copies that nobody uses go.
exec 8< "$copy"
flock --shared 8
for old in "$copies"/*/; do flock --nonblock "$old" rm -rf "$old" || true; done
rm "$copies/tar"
exec 9>&-
