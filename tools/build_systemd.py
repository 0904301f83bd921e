"""Tells cffi how to make ``ocirt.cgroup._systemd`` (setup.py: ``cffi_modules``).

cffi's out-of-line ABI mode: the module is Python that holds the declarations in compact form. No
header and no library is needed to build it; libsystemd.so.0 is looked for when it is used
(ocirt/cgroup/systemd_bus.py). Functions with a variable number of arguments are left out, their
siblings without do.

    python3 tools/build_systemd.py    writes the module into a checkout
"""

from __future__ import annotations

import os

import cffi

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# sd-bus.h of systemd; sd_bus_is_ready came last, in version 237 (2018).
DECLARATIONS = """
typedef struct sd_bus sd_bus;
typedef struct sd_bus_message sd_bus_message;
typedef struct { const char *name; const char *message; int need_free; } sd_bus_error;

int sd_bus_open_system(sd_bus **bus);
int sd_bus_open_user(sd_bus **bus);
int sd_bus_new(sd_bus **bus);
int sd_bus_set_address(sd_bus *bus, const char *address);
int sd_bus_start(sd_bus *bus);
int sd_bus_is_open(sd_bus *bus);
int sd_bus_is_ready(sd_bus *bus);
void sd_bus_close(sd_bus *bus);
sd_bus *sd_bus_unref(sd_bus *bus);
int sd_bus_send(sd_bus *bus, sd_bus_message *message, uint64_t *cookie);
int sd_bus_process(sd_bus *bus, sd_bus_message **message);
int sd_bus_wait(sd_bus *bus, uint64_t microseconds);

int sd_bus_message_new_method_call(sd_bus *bus, sd_bus_message **message, const char *destination,
    const char *path, const char *interface, const char *member);
sd_bus_message *sd_bus_message_unref(sd_bus_message *message);
int sd_bus_message_set_expect_reply(sd_bus_message *message, int yes);
int sd_bus_message_append_basic(sd_bus_message *message, char type, const void *value);
int sd_bus_message_append_array(sd_bus_message *message, char type, const void *data, size_t size);
int sd_bus_message_open_container(sd_bus_message *message, char type, const char *contents);
int sd_bus_message_close_container(sd_bus_message *message);
int sd_bus_message_enter_container(sd_bus_message *message, char type, const char *contents);
int sd_bus_message_read_basic(sd_bus_message *message, char type, void *value);
int sd_bus_message_get_reply_cookie(sd_bus_message *message, uint64_t *cookie);
int sd_bus_message_is_signal(sd_bus_message *message, const char *interface, const char *member);
const char *sd_bus_message_get_sender(sd_bus_message *message);
const sd_bus_error *sd_bus_message_get_error(sd_bus_message *message);
"""

ffi = cffi.FFI()
ffi.cdef(DECLARATIONS)
ffi.set_source("ocirt.cgroup._systemd", None)

if __name__ == "__main__":
    ffi.compile(tmpdir=ROOT)
