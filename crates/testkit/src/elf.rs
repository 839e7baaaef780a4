//! Programs of a few bytes that make system calls by number, to see what a filter lets through.

/// A static x86-64 program that makes each call of `numbers` with all six arguments -1, and writes
/// the results to standard output as little-endian 32-bit numbers, in order.
///
/// The arguments are as invalid as arguments can be, so a call that is let through fails with
/// EFAULT, EBADF or EINVAL and changes nothing; see [`harmless_calls`].
#[must_use]
pub fn system_calls(numbers: &[u16]) -> Vec<u8> {
    let count = u32::try_from(numbers.len()).expect("a few hundred calls");
    let mut code = Assembler::default();
    code.bytes(&[0x48, 0x8d, 0x1d]).relative("table"); // lea rbx, [rip + table]
    code.bytes(&[0x48, 0x8d, 0x2d]).relative("results"); // lea rbp, [rip + results]
    code.bytes(&[0x41, 0xbc]).number(count); // mov r12d, count
    code.label("again");
    for register in [
        [0x48, 0xc7, 0xc7], // mov rdi, -1
        [0x48, 0xc7, 0xc6], // mov rsi, -1
        [0x48, 0xc7, 0xc2], // mov rdx, -1
        [0x49, 0xc7, 0xc2], // mov r10, -1
        [0x49, 0xc7, 0xc0], // mov r8, -1
        [0x49, 0xc7, 0xc1], // mov r9, -1
    ] {
        code.bytes(&register).number(u32::MAX);
    }
    code.bytes(&[0x0f, 0xb7, 0x03]); // movzx eax, word [rbx]
    code.bytes(&[0x0f, 0x05]); // syscall
    code.bytes(&[0x89, 0x45, 0x00]); // mov [rbp], eax
    code.bytes(&[0x48, 0x83, 0xc5, 0x04]); // add rbp, 4
    code.bytes(&[0x48, 0x83, 0xc3, 0x02]); // add rbx, 2
    code.bytes(&[0x41, 0xff, 0xcc]); // dec r12d
    code.bytes(&[0x0f, 0x85]).relative("again"); // jnz again
    code.bytes(&[0xb8]).number(1); // mov eax, write
    code.bytes(&[0xbf]).number(1); // mov edi, stdout
    code.bytes(&[0x48, 0x8d, 0x35]).relative("results"); // lea rsi, [rip + results]
    code.bytes(&[0xba]).number(count * 4); // mov edx, size
    code.bytes(&[0x0f, 0x05]); // syscall
    code.bytes(&[0xb8]).number(231); // mov eax, exit_group
    code.bytes(&[0x31, 0xff, 0x0f, 0x05]); // xor edi, edi; syscall
    code.label("table");
    for number in numbers {
        code.bytes(&number.to_le_bytes());
    }
    code.label("results");
    let room = code.code.len() + numbers.len() * 4;
    elf(&code.finish(), room)
}

/// A static x86-64 program that makes one call and exits with its negated result: 0 when it
/// succeeded, else the error's number.
#[must_use]
pub fn one_call(number: u32, arguments: [u32; 3]) -> Vec<u8> {
    let mut code = Assembler::default();
    code.bytes(&[0xb8]).number(number); // mov eax, number
    code.bytes(&[0xbf]).number(arguments[0]); // mov edi, ...
    code.bytes(&[0xbe]).number(arguments[1]); // mov esi, ...
    code.bytes(&[0xba]).number(arguments[2]); // mov edx, ...
    code.bytes(&[0x45, 0x31, 0xd2, 0x0f, 0x05]); // xor r10d, r10d; syscall
    code.bytes(&[0x31, 0xff]); // xor edi, edi
    code.bytes(&[0x85, 0xc0]); // test eax, eax
    code.bytes(&[0x79, 0x04]); // jns +4: a result, not an error
    code.bytes(&[0xf7, 0xd8]); // neg eax
    code.bytes(&[0x89, 0xc7]); // mov edi, eax
    code.bytes(&[0xb8]).number(231); // mov eax, exit_group
    code.bytes(&[0x0f, 0x05]); // syscall
    let code = code.finish();
    elf(&code, code.len())
}

/// The calls of x86-64 below `end` that come back, with invalid arguments, and do no harm.
#[must_use]
pub fn harmless_calls(end: u16) -> Vec<u16> {
    // rt_sigreturn, pause, fork, vfork, exit, sync, exit_group, restart_syscall, and those that
    // succeed with -1 and would disturb the loop: alarm, setsid, vhangup, umask.
    const EXCLUDED: &[u16] = &[15, 34, 37, 57, 58, 60, 95, 112, 153, 162, 219, 231];
    // 335 to 423 are not numbers of x86-64.
    (0..end).filter(|number| !EXCLUDED.contains(number) && !(335..=423).contains(number)).collect()
}

#[derive(Default)]
struct Assembler {
    code: Vec<u8>,
    labels: Vec<(&'static str, usize)>,
    references: Vec<(&'static str, usize)>,
}

impl Assembler {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.code.extend_from_slice(bytes);
        self
    }

    fn number(&mut self, number: u32) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }

    fn relative(&mut self, label: &'static str) -> &mut Self {
        self.references.push((label, self.code.len()));
        self.number(0)
    }

    fn label(&mut self, label: &'static str) {
        self.labels.push((label, self.code.len()));
    }

    fn finish(mut self) -> Vec<u8> {
        for (label, at) in self.references {
            let target = self.labels.iter().find(|(name, _)| *name == label);
            let (_, target) = target.expect("every label is set");
            let distance = i64::try_from(*target).expect("a short program")
                - i64::try_from(at + 4).expect("a short program");
            let distance = i32::try_from(distance).expect("a short program");
            self.code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        self.code
    }
}

/// One loadable, writable and executable segment at 4 MiB, entered at its first instruction.
fn elf(code: &[u8], room: usize) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut out = Vec::new();
    out.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2_u16, 62] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(&1_u32.to_le_bytes());
    for long in [BASE + HEADERS, 64, 0] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    out.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    for word in [1_u32, 7] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let in_file = HEADERS + code.len() as u64;
    for long in [0, BASE, BASE, in_file, HEADERS + room as u64, 0x1000] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    out.extend_from_slice(code);
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_programs_run() {
        let folder = std::env::temp_dir().join(format!("ferry-elf-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            crate::Invocation::new(path).run()
        };
        // close(-1) is EBADF (9), getpid() is no error, kill(-1, -1) is EINVAL (22).
        let out = run("many", &system_calls(&[3, 39, 62]));
        let results: Vec<i32> =
            out.stdout.chunks(4).map(|four| i32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!((out.code, results[0], results[2]), (0, -9, -22), "{results:?}");
        assert_eq!(run("bad", &one_call(3, [u32::MAX, 0, 0])).code, 9);
        assert_eq!(run("good", &one_call(39, [0, 0, 0])).code, 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
