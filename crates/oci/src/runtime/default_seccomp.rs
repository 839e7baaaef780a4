//! Docker's default system call filter, as data.
//!
//! Equal in effect to the profile of Docker 28: what follows is a list of facts about which calls it
//! allows, to whom. The kernel may know calls that are not in it: they get `EPERM`, but for `clone3`,
//! which gets `ENOSYS` so that the C library falls back to `clone`, whose flags can be looked at.

use super::seccomp::{Action, Arch, Argument, Comparison, Seccomp, SyscallRule};

/// `EPERM` of Linux, on every architecture.
const EPERM: u32 = 1;
/// `ENOSYS` of Linux, on x86 and arm.
const ENOSYS: u32 = 38;
/// The flags of `clone` that make a namespace, all but time: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER,
/// NEWPID and NEWNET.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// `AF_VSOCK`: reaches the hypervisor, and knows no network namespace.
const AF_VSOCK: u64 = 40;
/// Personalities that do not weaken anything: none, `PER_LINUX32`, `UNAME26`, both, and the query.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Calls that every container may make.
const ALWAYS: &str = "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 \
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 \
    dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 \
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat \
    fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 \
    fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 \
    futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 \
    geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp \
    getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit \
    get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday \
    getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 \
    inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 \
    ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr \
    listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise \
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock \
    mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget \
    msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect \
    open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free \
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease \
    pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv \
    recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename \
    renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending \
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max \
    sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select \
    semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg \
    sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer \
    setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
    setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid \
    setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 \
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx \
    symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate \
    truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 \
    utimes vfork vmsplice wait4 waitid waitpid write writev";

/// Calls that need no capability, since Linux 4.8 checks the filter again after a tracer changed them.
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// Calls that come with a capability: the kernel checks it again, by name of the capability.
const WITH_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
         umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// The filter for a container that will hold `capabilities` (`CAP_…`), on the machine this was
/// compiled for.
#[must_use]
pub fn default_profile(capabilities: &[String]) -> Seccomp {
    let holds = |name: &str| capabilities.iter().any(|capability| capability == name);
    let mut syscalls = vec![allow(ALWAYS), allow(TRACING)];
    syscalls.push(SyscallRule {
        args: vec![compare(0, Comparison::NotEqual, AF_VSOCK)],
        ..allow("socket")
    });
    syscalls.extend(PERSONALITIES.map(|personality| SyscallRule {
        args: vec![compare(0, Comparison::Equal, personality)],
        ..allow("personality")
    }));
    if cfg!(target_arch = "x86_64") {
        syscalls.extend([allow("arch_prctl"), allow("modify_ldt")]);
    } else if cfg!(target_arch = "aarch64") {
        syscalls.push(allow(
            "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        ));
    }
    for (capability, names) in WITH_CAPABILITY {
        if holds(capability) {
            syscalls.push(allow(names));
        }
    }
    if !holds("CAP_SYS_ADMIN") {
        // With the mask as value and zero as the second one: none of these flags is set.
        syscalls.push(SyscallRule {
            args: vec![compare(0, Comparison::MaskedEqual, CLONE_NAMESPACES)],
            ..allow("clone")
        });
        syscalls.push(SyscallRule {
            names: vec!["clone3".to_owned()],
            action: Action::Errno,
            errno_ret: Some(ENOSYS),
            args: Vec::new(),
        });
    }
    Seccomp {
        default_action: Action::Errno,
        default_errno_ret: Some(EPERM),
        architectures: architectures(),
        flags: Vec::new(),
        listener_path: String::new(),
        listener_metadata: String::new(),
        syscalls,
    }
}

/// The native architecture and those whose programs its kernel runs too.
fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "x86_64") {
        vec![Arch::X86_64, Arch::X86, Arch::X32]
    } else if cfg!(target_arch = "aarch64") {
        vec![Arch::Aarch64, Arch::Arm]
    } else {
        Vec::new()
    }
}

fn allow(names: &str) -> SyscallRule {
    SyscallRule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: Action::Allow,
        errno_ret: None,
        args: Vec::new(),
    }
}

fn compare(index: u32, op: Comparison, value: u64) -> Argument {
    Argument { index, value, value_two: 0, op }
}

#[cfg(test)]
mod tests;
