"""Made by tools/generate_validator.py from spec-schemas/. Do not edit."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# ("object", {member: node}, required members, node of every other member or None)
# ("array", node of its items, least length)
# ("string", allowed words or None, pattern or None)
# ("integer", least or None, greatest or None)
# ("boolean",)
# A node is its index here. A pattern is its text and its parts, each of them
# (characters, are these the ones that must not be, least number, greatest or None).
# fmt: off
NODES: tuple[tuple[Any, ...], ...] = (
    ('string', None, None),  # 0
    ('array', 0, 0),  # 1
    ('integer', 1, None),  # 2
    ('object', {'path': 0, 'args': 1, 'env': 1, 'timeout': 2}, ('path',), None),  # 3
    ('array', 3, 0),  # 4
    ('object', {'prestart': 4, 'createRuntime': 4, 'createContainer': 4, 'startContainer': 4, 'poststart': 4, 'poststop': 4}, (), None),  # 5
    ('object', {}, (), 0),  # 6
    ('integer', 0, 4294967295),  # 7
    ('object', {'containerID': 7, 'hostID': 7, 'size': 7}, ('containerID', 'hostID', 'size'), None),  # 8
    ('array', 8, 0),  # 9
    ('object', {'source': 0, 'destination': 0, 'options': 1, 'type': 0, 'uidMappings': 9, 'gidMappings': 9}, ('destination',), None),  # 10
    ('array', 10, 0),  # 11
    ('boolean',),  # 12
    ('object', {'path': 0, 'readonly': 12}, ('path',), None),  # 13
    ('integer', 0, 18446744073709551615),  # 14
    ('object', {'height': 14, 'width': 14}, ('height', 'width'), None),  # 15
    ('array', 7, 0),  # 16
    ('object', {'uid': 7, 'gid': 7, 'umask': 7, 'additionalGids': 16, 'username': 0}, (), None),  # 17
    ('object', {'bounding': 1, 'permitted': 1, 'effective': 1, 'inheritable': 1, 'ambient': 1}, (), None),  # 18
    ('integer', None, None),  # 19
    ('string', ('IOPRIO_CLASS_RT', 'IOPRIO_CLASS_BE', 'IOPRIO_CLASS_IDLE'), None),  # 20
    ('integer', -2147483648, 2147483647),  # 21
    ('object', {'class': 20, 'priority': 21}, ('class',), None),  # 22
    ('string', ('SCHED_OTHER', 'SCHED_FIFO', 'SCHED_RR', 'SCHED_BATCH', 'SCHED_ISO', 'SCHED_IDLE', 'SCHED_DEADLINE'), None),  # 23
    ('string', ('SCHED_FLAG_RESET_ON_FORK', 'SCHED_FLAG_RECLAIM', 'SCHED_FLAG_DL_OVERRUN', 'SCHED_FLAG_KEEP_POLICY', 'SCHED_FLAG_KEEP_PARAMS', 'SCHED_FLAG_UTIL_CLAMP_MIN', 'SCHED_FLAG_UTIL_CLAMP_MAX'), None),  # 24
    ('array', 24, 0),  # 25
    ('object', {'policy': 23, 'nice': 21, 'priority': 21, 'flags': 25, 'runtime': 14, 'deadline': 14, 'period': 14}, ('policy',), None),  # 26
    ('string', None, ('^RLIMIT_[A-Z]+$', (('R', False, 1, 1), ('L', False, 1, 1), ('I', False, 1, 1), ('M', False, 1, 1), ('I', False, 1, 1), ('T', False, 1, 1), ('_', False, 1, 1), ('ABCDEFGHIJKLMNOPQRSTUVWXYZ', False, 1, None)))),  # 27
    ('object', {'hard': 14, 'soft': 14, 'type': 27}, ('type', 'soft', 'hard'), None),  # 28
    ('array', 28, 0),  # 29
    ('string', None, ('^[0-9, -]*$', (('0123456789, -', False, 0, None),))),  # 30
    ('object', {'initial': 30, 'final': 30}, (), None),  # 31
    ('object', {'args': 1, 'commandLine': 0, 'consoleSize': 15, 'cwd': 0, 'env': 1, 'terminal': 12, 'user': 17, 'capabilities': 18, 'apparmorProfile': 0, 'oomScoreAdj': 19, 'selinuxLabel': 0, 'ioPriority': 22, 'noNewPrivileges': 12, 'scheduler': 26, 'rlimits': 29, 'execCPUAffinity': 31}, ('cwd',), None),  # 32
    ('string', None, ('^[cbup]$', (('cbup', False, 1, 1),))),  # 33
    ('integer', 0, 65535),  # 34
    ('integer', -9223372036854775808, 9223372036854775807),  # 35
    ('object', {'type': 33, 'path': 0, 'fileMode': 34, 'major': 35, 'minor': 35, 'uid': 7, 'gid': 7}, ('type', 'path'), None),  # 36
    ('array', 36, 0),  # 37
    ('object', {'name': 0}, (), None),  # 38
    ('object', {}, (), 38),  # 39
    ('string', ('mount', 'pid', 'network', 'uts', 'ipc', 'user', 'cgroup', 'time'), None),  # 40
    ('object', {'type': 40, 'path': 0}, ('type',), None),  # 41
    ('array', 41, 0),  # 42
    ('object', {'allow': 12, 'type': 0, 'major': 35, 'minor': 35, 'access': 0}, ('allow',), None),  # 43
    ('array', 43, 0),  # 44
    ('object', {'limit': 35}, ('limit',), None),  # 45
    ('object', {'major': 35, 'minor': 35, 'rate': 14}, ('major', 'minor'), None),  # 46
    ('array', 46, 0),  # 47
    ('object', {'major': 35, 'minor': 35, 'weight': 34, 'leafWeight': 34}, ('major', 'minor'), None),  # 48
    ('array', 48, 0),  # 49
    ('object', {'weight': 34, 'leafWeight': 34, 'throttleReadBpsDevice': 47, 'throttleWriteBpsDevice': 47, 'throttleReadIOPSDevice': 47, 'throttleWriteIOPSDevice': 47, 'weightDevice': 49}, (), None),  # 50
    ('object', {'cpus': 0, 'mems': 0, 'period': 14, 'quota': 35, 'burst': 14, 'realtimePeriod': 14, 'realtimeRuntime': 35, 'shares': 14, 'idle': 35}, (), None),  # 51
    ('string', None, ('^[1-9][0-9]*[KMG]B$', (('123456789', False, 1, 1), ('0123456789', False, 0, None), ('KMG', False, 1, 1), ('B', False, 1, 1)))),  # 52
    ('object', {'pageSize': 52, 'limit': 14}, ('pageSize', 'limit'), None),  # 53
    ('array', 53, 0),  # 54
    ('object', {'kernel': 35, 'kernelTCP': 35, 'limit': 35, 'reservation': 35, 'swap': 35, 'swappiness': 14, 'disableOOMKiller': 12, 'useHierarchy': 12, 'checkBeforeUpdate': 12}, (), None),  # 55
    ('object', {'name': 0, 'priority': 7}, ('name', 'priority'), None),  # 56
    ('array', 56, 0),  # 57
    ('object', {'classID': 7, 'priorities': 57}, (), None),  # 58
    ('object', {'hcaHandles': 7, 'hcaObjects': 7}, (), None),  # 59
    ('object', {}, (), 59),  # 60
    ('object', {'unified': 6, 'devices': 44, 'pids': 45, 'blockIO': 50, 'cpu': 51, 'hugepageLimits': 54, 'memory': 55, 'network': 58, 'rdma': 60}, (), None),  # 61
    ('string', ('private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave', 'unbindable', 'runbindable'), None),  # 62
    ('string', ('SCMP_ACT_KILL', 'SCMP_ACT_KILL_PROCESS', 'SCMP_ACT_KILL_THREAD', 'SCMP_ACT_TRAP', 'SCMP_ACT_ERRNO', 'SCMP_ACT_TRACE', 'SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_NOTIFY'), None),  # 63
    ('string', ('SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW', 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV'), None),  # 64
    ('array', 64, 0),  # 65
    ('string', ('SCMP_ARCH_X86', 'SCMP_ARCH_X86_64', 'SCMP_ARCH_X32', 'SCMP_ARCH_ARM', 'SCMP_ARCH_AARCH64', 'SCMP_ARCH_LOONGARCH64', 'SCMP_ARCH_M68K', 'SCMP_ARCH_MIPS', 'SCMP_ARCH_MIPS64', 'SCMP_ARCH_MIPS64N32', 'SCMP_ARCH_MIPSEL', 'SCMP_ARCH_MIPSEL64', 'SCMP_ARCH_MIPSEL64N32', 'SCMP_ARCH_PPC', 'SCMP_ARCH_PPC64', 'SCMP_ARCH_PPC64LE', 'SCMP_ARCH_S390', 'SCMP_ARCH_S390X', 'SCMP_ARCH_SH', 'SCMP_ARCH_SHEB', 'SCMP_ARCH_PARISC', 'SCMP_ARCH_PARISC64', 'SCMP_ARCH_RISCV64'), None),  # 66
    ('array', 66, 0),  # 67
    ('array', 0, 1),  # 68
    ('string', ('SCMP_CMP_NE', 'SCMP_CMP_LT', 'SCMP_CMP_LE', 'SCMP_CMP_EQ', 'SCMP_CMP_GE', 'SCMP_CMP_GT', 'SCMP_CMP_MASKED_EQ'), None),  # 69
    ('object', {'index': 7, 'value': 14, 'valueTwo': 14, 'op': 69}, ('index', 'value', 'op'), None),  # 70
    ('array', 70, 0),  # 71
    ('object', {'names': 68, 'action': 63, 'errnoRet': 7, 'args': 71}, ('names', 'action'), None),  # 72
    ('array', 72, 0),  # 73
    ('object', {'defaultAction': 63, 'defaultErrnoRet': 7, 'flags': 65, 'listenerPath': 0, 'listenerMetadata': 0, 'architectures': 67, 'syscalls': 73}, ('defaultAction',), None),  # 74
    ('string', None, ('^MB:[^\\n]*$', (('M', False, 1, 1), ('B', False, 1, 1), (':', False, 1, 1), ('\n', True, 0, None)))),  # 75
    ('object', {'closID': 0, 'schemata': 1, 'l3CacheSchema': 0, 'memBwSchema': 75, 'enableMonitoring': 12}, (), None),  # 76
    ('string', ('MPOL_DEFAULT', 'MPOL_BIND', 'MPOL_INTERLEAVE', 'MPOL_WEIGHTED_INTERLEAVE', 'MPOL_PREFERRED', 'MPOL_PREFERRED_MANY', 'MPOL_LOCAL'), None),  # 77
    ('string', ('MPOL_F_NUMA_BALANCING', 'MPOL_F_RELATIVE_NODES', 'MPOL_F_STATIC_NODES'), None),  # 78
    ('array', 78, 0),  # 79
    ('object', {'mode': 77, 'nodes': 0, 'flags': 79}, (), None),  # 80
    ('string', ('LINUX', 'LINUX32'), None),  # 81
    ('object', {'domain': 81, 'flags': 1}, (), None),  # 82
    ('object', {'secs': 35, 'nanosecs': 7}, (), None),  # 83
    ('object', {'boottime': 83, 'monotonic': 83}, (), None),  # 84
    ('object', {'devices': 37, 'netDevices': 39, 'uidMappings': 9, 'gidMappings': 9, 'namespaces': 42, 'resources': 61, 'cgroupsPath': 0, 'rootfsPropagation': 62, 'seccomp': 74, 'sysctl': 6, 'maskedPaths': 1, 'readonlyPaths': 1, 'mountLabel': 0, 'intelRdt': 76, 'memoryPolicy': 80, 'personality': 82, 'timeOffsets': 84}, (), None),  # 85
    ('object', {'ncpus': 0}, (), None),  # 86
    ('object', {'physical': 0, 'swap': 0}, (), None),  # 87
    ('object', {'linkname': 0, 'lowerLink': 0, 'allowedAddress': 0, 'configureAllowedAddress': 0, 'defrouter': 0, 'macAddress': 0, 'linkProtection': 0}, (), None),  # 88
    ('array', 88, 0),  # 89
    ('object', {'milestone': 0, 'limitpriv': 0, 'maxShmMemory': 0, 'cappedCPU': 86, 'cappedMemory': 87, 'anet': 89}, (), None),  # 90
    ('string', ('class',), None),  # 91
    ('object', {'id': 0, 'idType': 91}, ('id', 'idType'), None),  # 92
    ('array', 92, 0),  # 93
    ('object', {'limit': 14}, (), None),  # 94
    ('object', {'mask': 14, 'group': 7}, (), None),  # 95
    ('object', {'count': 14, 'shares': 34, 'maximum': 34, 'affinity': 95}, (), None),  # 96
    ('object', {'iops': 14, 'bps': 14, 'sandboxSize': 14}, (), None),  # 97
    ('object', {'memory': 94, 'cpu': 96, 'storage': 97}, (), None),  # 98
    ('object', {'endpointList': 1, 'allowUnqualifiedDNSQuery': 12, 'DNSSearchList': 1, 'networkSharedContainerName': 0, 'networkNamespace': 0}, (), None),  # 99
    ('object', {}, (), None),  # 100
    ('object', {'utilityVMPath': 0}, (), None),  # 101
    ('object', {'layerFolders': 68, 'devices': 93, 'resources': 98, 'network': 99, 'credentialSpec': 100, 'servicing': 12, 'ignoreFlushesDuringBoot': 12, 'hyperv': 101}, ('layerFolders',), None),  # 102
    ('object', {'path': 0, 'parameters': 1}, ('path',), None),  # 103
    ('object', {'path': 0, 'parameters': 1, 'initrd': 0}, ('path',), None),  # 104
    ('string', ('raw', 'qcow2', 'vdi', 'vmdk', 'vhd'), None),  # 105
    ('object', {'path': 0, 'format': 105}, ('path', 'format'), None),  # 106
    ('object', {'firstGFN': 14, 'firstMFN': 14, 'nrMFNs': 14}, ('firstMFN', 'nrMFNs'), None),  # 107
    ('array', 107, 0),  # 108
    ('object', {'deviceTree': 0, 'vcpus': 7, 'memory': 14, 'dtdevs': 1, 'iomems': 108, 'irqs': 16}, (), None),  # 109
    ('object', {'hypervisor': 103, 'kernel': 104, 'image': 106, 'hwConfig': 109}, ('kernel',), None),  # 110
    ('string', ('mount', 'pid', 'uts', 'ipc'), None),  # 111
    ('object', {'type': 111, 'path': 0}, ('type',), None),  # 112
    ('array', 112, 0),  # 113
    ('object', {'namespaces': 113}, (), None),  # 114
    ('object', {'path': 0, 'mode': 34}, (), None),  # 115
    ('array', 115, 0),  # 116
    ('string', ('new', 'inherit'), None),  # 117
    ('string', ('disable', 'new', 'inherit'), None),  # 118
    ('integer', 0, 255),  # 119
    ('object', {'setHostname': 12, 'rawSockets': 12, 'chflags': 12, 'mount': 1, 'quotas': 12, 'socketAf': 12, 'mlock': 12, 'reservedPorts': 12, 'suser': 12}, (), None),  # 120
    ('object', {'parent': 0, 'host': 117, 'ip4': 118, 'ip4Addr': 1, 'ip6': 118, 'ip6Addr': 1, 'vnet': 117, 'interface': 0, 'vnetInterfaces': 1, 'sysvmsg': 118, 'sysvsem': 118, 'sysvshm': 118, 'enforceStatfs': 119, 'allow': 120}, (), None),  # 121
    ('object', {'devices': 116, 'jail': 121}, (), None),  # 122
    ('object', {'ociVersion': 0, 'hooks': 5, 'annotations': 6, 'hostname': 0, 'domainname': 0, 'mounts': 11, 'root': 13, 'process': 32, 'linux': 85, 'solaris': 90, 'windows': 102, 'vm': 110, 'zos': 114, 'freebsd': 122}, ('ociVersion',), None),  # 123
)
CONFIG = 123
PROCESS = 32
