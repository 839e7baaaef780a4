//! Which devices a version 2 group may use: a small program for the kernel, made from rules.
//!
//! Version 1 has files for this (`devices.allow`, `devices.deny`).

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::error::SysError;

/// What kind of device a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both kinds.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Character,
}

bitflags::bitflags! {
    /// What is done to a device, as of `BPF_DEVCG_ACC_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DeviceAccess: i32 {
        /// Making a node of it.
        const MKNOD = 1;
        /// Opening it to read.
        const READ = 2;
        /// Opening it to write.
        const WRITE = 4;
    }
}

/// Devices that are allowed or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allowed, or denied.
    pub allow: bool,
    /// Of which kind.
    pub kind: DeviceKind,
    /// Major number; any if absent.
    pub major: Option<u32>,
    /// Minor number; any if absent.
    pub minor: Option<u32>,
    /// Which accesses.
    pub access: DeviceAccess,
}

/// One instruction of a BPF program. [Documentation/bpf/standardization/instruction-set.rst]
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const BPF_LDX_W: u8 = 0x61;
const BPF_ALU32_AND_K: u8 = 0x54;
const BPF_ALU32_RSH_K: u8 = 0x74;
const BPF_ALU64_MOV_X: u8 = 0xbf;
const BPF_ALU64_MOV_K: u8 = 0xb7;
const BPF_JNE32_K: u8 = 0x56;
const BPF_JEQ32_K: u8 = 0x16;
const BPF_EXIT: u8 = 0x95;

// Registers: what is asked for, as the program goes.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Makes the program that answers as the rules say.
///
/// For each access the last rule that fits it counts, as if the rules had been written one after
/// another to the files of version 1; what no rule fits is denied.
///
/// The program goes through the rules from the last to the first. An allowing rule takes its accesses
/// out of those asked for, and nothing left is a yes; a denying rule with one of those left is a no.
#[must_use]
pub fn assemble(rules: &[DeviceRule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx { access_type: access << 16 | kind, major, minor }
    let mut program = vec![
        instruction(BPF_LDX_W, KIND, CONTEXT, 0, 0),
        instruction(BPF_ALU64_MOV_X, ACCESS, KIND, 0, 0),
        instruction(BPF_ALU32_AND_K, KIND, 0, 0, 0xffff),
        instruction(BPF_ALU32_RSH_K, ACCESS, 0, 0, 16),
        instruction(BPF_LDX_W, MAJOR, CONTEXT, 4, 0),
        instruction(BPF_LDX_W, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut block = Vec::new();
        let actions = act(rule);
        let mut conditions: Vec<(u8, i32)> = Vec::new();
        match rule.kind {
            DeviceKind::All => {}
            // BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
            DeviceKind::Block => conditions.push((KIND, 1)),
            DeviceKind::Character => conditions.push((KIND, 2)),
        }
        conditions.extend(rule.major.map(|major| (MAJOR, major.cast_signed())));
        conditions.extend(rule.minor.map(|minor| (MINOR, minor.cast_signed())));
        for (index, (register, value)) in conditions.iter().enumerate() {
            // Over the conditions left and the actions, if it does not fit.
            let skip = conditions.len() - index - 1 + actions.len();
            let skip = i16::try_from(skip).unwrap_or(i16::MAX);
            block.push(instruction(BPF_JNE32_K, *register, 0, skip, *value));
        }
        program.extend(block);
        program.extend(actions);
    }
    program.extend(answer(0));
    program
}

/// What a rule does that fits.
fn act(rule: &DeviceRule) -> Vec<Instruction> {
    let bits = rule.access.bits();
    let [yes_or_no, exit] = answer(i32::from(rule.allow));
    let mut actions = if rule.allow {
        vec![
            instruction(BPF_ALU32_AND_K, ACCESS, 0, 0, !bits),
            instruction(BPF_JNE32_K, ACCESS, 0, 2, 0),
        ]
    } else {
        vec![
            instruction(BPF_ALU64_MOV_X, SCRATCH, ACCESS, 0, 0),
            instruction(BPF_ALU32_AND_K, SCRATCH, 0, 0, bits),
            instruction(BPF_JEQ32_K, SCRATCH, 0, 2, 0),
        ]
    };
    actions.extend([yes_or_no, exit]);
    actions
}

fn answer(value: i32) -> [Instruction; 2] {
    [instruction(BPF_ALU64_MOV_K, RESULT, 0, 0, value), instruction(BPF_EXIT, 0, 0, 0, 0)]
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | (from << 4), offset, immediate }
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` of Linux 4.15 knows.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The part of `union bpf_attr` that `BPF_PROG_ATTACH` of Linux 4.15 knows.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_QUERY` of Linux 4.16 knows.
#[repr(C)]
struct QueryAttributes {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// Hands a program of [`assemble`] to the kernel. [bpf(2), Linux 4.15]
///
/// # Errors
/// What the kernel's verifier or permission check says.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, SysError> {
    let mut name = [0_u8; 16];
    for (to, from) in name.iter_mut().zip(b"ferry_devices") {
        *to = *from;
    }
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).unwrap_or(u32::MAX),
        instructions: program.as_ptr().addr() as u64,
        license: c"Apache".as_ptr().addr() as u64,
        name,
        ..LoadAttributes::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &attributes, "load device program")?;
    let fd =
        RawFd::try_from(fd).map_err(|_overflow| SysError::new("bpf", "descriptor", Errno::BADF))?;
    // SAFETY: BPF_PROG_LOAD succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets a program answer for a version 2 group, in place of those that did before.
///
/// # Errors
/// What the kernel says.
pub fn attach_device_program(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> Result<(), SysError> {
    let before = attached(group)?;
    // Order: the new one first, so that there is no moment without any; all must say yes.
    let attributes = attach_attributes(group, program.as_raw_fd(), BPF_F_ALLOW_MULTI);
    let _zero = bpf(BPF_PROG_ATTACH, &attributes, "attach device program")?;
    for id in before {
        let old = program_by_id(id)?;
        let attributes = attach_attributes(group, old.as_raw_fd(), 0);
        let _zero = bpf(BPF_PROG_DETACH, &attributes, "detach device program")?;
    }
    Ok(())
}

fn attach_attributes(group: BorrowedFd<'_>, program: RawFd, flags: u32) -> AttachAttributes {
    AttachAttributes {
        target: group.as_raw_fd().unsigned_abs(),
        program: program.unsigned_abs(),
        attach_type: BPF_CGROUP_DEVICE,
        flags,
    }
}

fn attached(group: BorrowedFd<'_>) -> Result<Vec<u32>, SysError> {
    let mut ids = [0_u32; 64];
    let mut attributes = QueryAttributes {
        target: group.as_raw_fd().unsigned_abs(),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr().addr() as u64,
        count: 64,
        padding: 0,
    };
    let pointer = &raw mut attributes;
    // SAFETY: The attributes and the array they point to live through the call and have the sizes given.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, pointer, size_of::<QueryAttributes>())
    };
    crate::process::check(result, "bpf", || "query device programs")?;
    let count = usize::try_from(attributes.count).unwrap_or(0);
    Ok(ids.into_iter().take(count).collect())
}

fn program_by_id(id: u32) -> Result<OwnedFd, SysError> {
    let attributes = [id, 0, 0];
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &attributes, "open device program")?;
    let fd =
        RawFd::try_from(fd).map_err(|_overflow| SysError::new("bpf", "descriptor", Errno::BADF))?;
    // SAFETY: The call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One bpf(2) call that reads its attributes only.
fn bpf<T>(
    command: libc::c_long,
    attributes: &T,
    subject: &'static str,
) -> Result<libc::c_long, SysError> {
    let pointer = std::ptr::from_ref(attributes);
    // SAFETY: The attributes, and what they point to, live through the call; the size is theirs, and
    // the commands used with this write nothing through them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    crate::process::check(result, "bpf", || subject)?;
    Ok(result)
}
