"""Tells cffi how to make ``ocirt.seccomp._libseccomp`` (setup.py: ``cffi_modules``).

In cffi's out-of-line ABI mode, as tools/build_systemd.py: neither a header nor the library is
needed to build it; libseccomp.so.2 is looked for when it is used (ocirt/seccomp/library.py).

    python3 tools/build_libseccomp.py    writes the module into a checkout
"""

from __future__ import annotations

import os

import cffi

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# seccomp.h of libseccomp 2.5 (2020).
DECLARATIONS = """
typedef void *scmp_filter_ctx;
struct scmp_version { unsigned int major, minor, micro; };
struct scmp_arg_cmp { unsigned int arg; int op; uint64_t datum_a, datum_b; };

const struct scmp_version *seccomp_version(void);
scmp_filter_ctx seccomp_init(uint32_t default_action);
void seccomp_release(scmp_filter_ctx context);
uint32_t seccomp_arch_resolve_name(const char *name);
uint32_t seccomp_arch_native(void);
int seccomp_arch_add(scmp_filter_ctx context, uint32_t arch);
int seccomp_attr_set(scmp_filter_ctx context, int attribute, uint32_t value);
int seccomp_syscall_resolve_name_arch(uint32_t arch, const char *name);
int seccomp_rule_add_array(scmp_filter_ctx context, uint32_t action, int call,
    unsigned int count, const struct scmp_arg_cmp *arguments);
int seccomp_export_bpf(scmp_filter_ctx context, int fd);
"""

ffi = cffi.FFI()
ffi.cdef(DECLARATIONS)
ffi.set_source("ocirt.seccomp._libseccomp", None)

if __name__ == "__main__":
    ffi.compile(tmpdir=ROOT)
