/* bpf(2): device programs of cgroups of version 2. */
#define _GNU_SOURCE
#include "shim.h"

#include <sys/syscall.h>
#include <unistd.h>

/* Of linux/bpf.h. */
enum {
    PROG_LOAD = 5,
    PROG_ATTACH = 8,
    PROG_DETACH = 9,
    PROG_GET_FD_BY_ID = 13,
    PROG_QUERY = 16,
    TYPE_CGROUP_DEVICE = 15,
    ATTACH_CGROUP_DEVICE = 6,
    F_ALLOW_MULTI = 2,
    F_REPLACE = 4,
};

int ocirt_device_program_load(const void *instructions, size_t size, char *log, uint32_t log_size)
{
    struct {
        uint32_t type, count;
        uint64_t instructions, license;
        uint32_t log_level, log_size;
        uint64_t log;
        uint32_t version, flags;
        char name[16];
    } attributes = {
        .type = TYPE_CGROUP_DEVICE,
        .count = (uint32_t)(size / 8),
        .instructions = (uintptr_t)instructions,
        .license = (uintptr_t)"Apache-2.0",
        .log_level = log_size > 0,
        .log_size = log_size,
        .log = log_size ? (uintptr_t)log : 0,
        .name = "ocirt_devices",
    };
    long fd;

    if (!size || size % 8 || size / 8 > 1000000 /* BPF_COMPLEXITY_LIMIT_INSNS */)
        return -EINVAL;
    /* EAGAIN: a signal came while the verifier was at work. */
    for (int tries = 0; tries < 32; tries++) {
        fd = syscall(SYS_bpf, PROG_LOAD, &attributes, sizeof attributes);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    return result(fd);
}

int ocirt_device_program_attach(int cgroup, int program, int replace)
{
    struct {
        int32_t target, program;
        uint32_t type, flags;
        int32_t replace;
    } attributes = {
        .target = cgroup,
        .program = program,
        .type = ATTACH_CGROUP_DEVICE,
        .flags = F_ALLOW_MULTI | (replace < 0 ? 0 : F_REPLACE),
        .replace = replace < 0 ? 0 : replace,
    };

    return result(syscall(SYS_bpf, PROG_ATTACH, &attributes, sizeof attributes));
}

int ocirt_device_program_detach(int cgroup, int program)
{
    struct {
        int32_t target, program;
        uint32_t type;
    } attributes = {cgroup, program, ATTACH_CGROUP_DEVICE};

    return result(syscall(SYS_bpf, PROG_DETACH, &attributes, sizeof attributes));
}

int ocirt_device_program_list(int cgroup, uint32_t *ids, uint32_t room)
{
    struct {
        int32_t target;
        uint32_t type, query_flags, flags;
        uint64_t ids;
        uint32_t count, padding;
        /* Unused; but Linux 6.17 to 7.1 write revision whatever size they are told. */
        uint64_t program_flags, link_ids, link_flags, revision;
    } attributes = {
        .target = cgroup,
        .type = ATTACH_CGROUP_DEVICE,
        .ids = (uintptr_t)ids,
        .count = room,
    };

    if (syscall(SYS_bpf, PROG_QUERY, &attributes, sizeof attributes) < 0)
        return -errno;
    return attributes.count > room ? -ENOSPC : (int)attributes.count;
}

int ocirt_device_program_open(uint32_t id)
{
    return result(syscall(SYS_bpf, PROG_GET_FD_BY_ID, &id, sizeof id));
}
