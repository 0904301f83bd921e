"""linux.seccomp to a program for the kernel (config-linux.md, "Seccomp"). Imported only for a
config that has it.

filter    what create and exec ask for: a Filter, from the cache if it is there
cache     programs by the content of their profile, below the state root
compile   a profile to a program, by libseccomp
library   libseccomp, through cffi
bpf       the instructions that ocirt writes itself
exact     rules that libseccomp gets wrong
enosys    what makes calls that are newer than the profile fail with ENOSYS
names     the specification's words and the kernel's numbers
"""
