/* What Python cannot call. Every function returns a value >= 0, or -errno.
 *
 * tools/build_shim.py gives cffi the part between the two marks below: there is no
 * second declaration of these functions.
 */
#ifndef OCIRT_SHIM_H
#define OCIRT_SHIM_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/* cdef: begin */

/* The machine, a static ELF, in a new sealed memfd that can be executed. EACCES where
 * vm.memfd_noexec forbids that. */
int ocirt_machine_fd(void);
const unsigned char *ocirt_machine_bytes(void);
size_t ocirt_machine_size(void);

/* Starts exe_fd in a new process, as vfork and execveat do; returns its pid and, in *pidfd,
 * a pidfd. clone_flags: CLONE_NEW*. cgroup_fd: the cgroup v2 folder to be born in, or -1.
 * The child has the descriptors below first_fd as they are and control_fd at first_fd,
 * nothing else; its argv is {"ocirt-machine", "<first_fd>"}, its environment empty, and all
 * its signals are blocked. user_namespace: one to enter before it is executed, as uid and gid, with
 * all capabilities there; or -1. */
int ocirt_spawn(uint64_t clone_flags, int cgroup_fd, int exe_fd, int control_fd, int first_fd,
                int user_namespace, uint32_t uid, uint32_t gid, int *pidfd);

/* SOCK_SEQPACKET messages with descriptors. recv takes one descriptor at most: *fd is it, or
 * -1; EMSGSIZE if the message or its descriptors did not fit, EMFILE if we can have none. connect: to a SOCK_STREAM socket, and
 * what is sent to it, within seconds; else ETIMEDOUT, for sending EAGAIN. */
int ocirt_socketpair(int pair[2]);
int ocirt_connect(const char *path);
int ocirt_send(int socket, const void *data, size_t size, const int *fds, unsigned int count);
int ocirt_recv(int socket, void *data, size_t size, int *fd);

int ocirt_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int ocirt_open_tree(int dir, const char *path, unsigned int flags);
int ocirt_move_mount(int from_dir, const char *from, int to_dir, const char *to,
                     unsigned int flags);
int ocirt_mount_setattr(int dir, const char *path, unsigned int flags, uint64_t set,
                        uint64_t clear, uint64_t propagation, int userns);
int ocirt_fsopen(const char *type, unsigned int flags);
int ocirt_fsconfig(int fs, unsigned int command, const char *key, const char *value, int aux);
int ocirt_fsmount(int fs, unsigned int flags, unsigned int attributes);
int ocirt_umount(const char *path, int flags);
int64_t ocirt_fs_type(int fd);
/* The number of a descriptor's mount that is never used again; ENOSYS before Linux 6.8. Of such a
 * mount, that of the one it is on, and its path; EOVERFLOW if it does not fit. */
int64_t ocirt_mount_id(int fd);
int ocirt_statmount(uint64_t id, uint64_t *parent, char *path, size_t size);

int ocirt_setns(int fd, int flags);
int ocirt_unshare(int flags);
int ocirt_ioctl(int fd, unsigned long request, unsigned long argument);
int ocirt_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
/* The session keyring of that name, new if there is none (keyctl(2)). */
int ocirt_join_keyring(const char *name);
int ocirt_prlimit(int pid, int resource, uint64_t soft, uint64_t hard);
int ocirt_sched_setattr(int pid, uint32_t policy, uint64_t flags, int32_t nice, uint32_t priority,
                        uint64_t runtime, uint64_t deadline, uint64_t period, uint32_t util_min,
                        uint32_t util_max);
int ocirt_ioprio_set(int pid, int value);
int ocirt_pidfd_open(int pid, unsigned int flags);
int ocirt_pidfd_send_signal(int pidfd, int signal);
int ocirt_pidfd_getfd(int pidfd, int fd);
/* Does the kernel know this action, these flags of a filter? 1 or 0; ENOSYS without seccomp. */
int ocirt_seccomp_has_action(uint32_t action);
int ocirt_seccomp_has_flags(unsigned int flags);

/* bpf(2) for the device programs of a cgroup v2 folder. load: size bytes of instructions; a
 * descriptor of the program; what the verifier says is in log (0-terminated) unless log_size is
 * 0. attach: beside others, or in the place of the program replace if that is not -1. list: the
 * ids of the programs attached to this very cgroup; returns how many, ENOSPC if they are more
 * than room. open: a descriptor of program id. */
int ocirt_device_program_load(const void *instructions, size_t size, char *log, uint32_t log_size);
int ocirt_device_program_attach(int cgroup, int program, int replace);
int ocirt_device_program_detach(int cgroup, int program);
int ocirt_device_program_list(int cgroup, uint32_t *ids, uint32_t room);
int ocirt_device_program_open(uint32_t id);

/* cdef: end */

/* -errno of a failed libc call. */
static inline int result(long value)
{
    return value < 0 ? -errno : (int)value;
}

#endif
