#![expect(clippy::indexing_slicing, reason = "a test that fails is a test that fails")]

use super::{Architecture, Comparison, Condition, Filter, Program, Rule, Verdict, compile, number};

const EPERM: Verdict = Verdict::errno(1);
const ENOSYS: Verdict = Verdict::errno(38);
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_X86: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

/// Runs a program as the kernel does.
fn run(program: &Program, audit: u32, number: u32, arguments: [u64; 6]) -> Verdict {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(audit.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let code = program.instructions();
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let instruction = code[at];
        at += 1;
        let operand = instruction.operand;
        let mut jump = |holds: bool| {
            at += usize::from(if holds { instruction.jump_true } else { instruction.jump_false });
        };
        match instruction.code {
            0x20 => {
                let offset = operand as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x05 => at += operand as usize,
            0x15 => jump(accumulator == operand),
            0x25 => jump(accumulator > operand),
            0x35 => jump(accumulator >= operand),
            0x54 => accumulator &= operand,
            0x06 => return Verdict(operand),
            other => panic!("unexpected instruction {other:#x}"),
        }
    }
}

fn rule<'a>(name: &'a str, conditions: &[(u8, Comparison, u64)], verdict: Verdict) -> Rule<'a> {
    let conditions = conditions
        .iter()
        .map(|&(argument, comparison, value)| Condition { argument, comparison, value })
        .collect();
    Rule { name, conditions, verdict }
}

fn filter(rules: Vec<Rule<'_>>) -> Filter<'_> {
    Filter {
        default: EPERM,
        other_architectures: Verdict::KILL_THREAD,
        unknown: None,
        architectures: vec![Architecture::X86_64, Architecture::X86, Architecture::X32],
        rules,
    }
}

#[test]
fn the_table_is_sorted_and_knows_the_kernels_numbers() {
    let names: Vec<&str> =
        include_str!("syscalls.tsv").lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert!(names.is_sorted() && names.len() > 470);
    assert_eq!(number("openat", Architecture::X86_64), Some(257));
    assert_eq!(number("openat", Architecture::X86), Some(295));
    assert_eq!(number("openat", Architecture::Aarch64), Some(56));
    assert_eq!(number("execve", Architecture::X32), Some(520 | X32_BIT));
    assert_eq!(number("socketcall", Architecture::X86_64), None);
    assert_eq!(number("no_such_call", Architecture::X86), None);
}

#[test]
fn each_architecture_has_its_own_numbers() {
    let program = compile(&filter(vec![rule("openat", &[], Verdict::ALLOW)]));
    assert_eq!(run(&program, AUDIT_X86_64, 257, [0; 6]), Verdict::ALLOW);
    assert_eq!(run(&program, AUDIT_X86_64, 257 | X32_BIT, [0; 6]), Verdict::ALLOW);
    assert_eq!(run(&program, AUDIT_X86, 295, [0; 6]), Verdict::ALLOW);
    assert_eq!(run(&program, AUDIT_X86, 257, [0; 6]), EPERM);
    assert_eq!(run(&program, AUDIT_X86_64, 256, [0; 6]), EPERM);
    assert_eq!(run(&program, AUDIT_X86_64, 258, [0; 6]), EPERM);
    assert_eq!(run(&program, 0xc000_00b7, 257, [0; 6]), Verdict::KILL_THREAD);
}

#[test]
fn x32_is_another_architecture_when_it_is_not_listed() {
    let mut filter = filter(vec![rule("openat", &[], Verdict::ALLOW)]);
    filter.architectures = vec![Architecture::X86_64];
    let program = compile(&filter);
    assert_eq!(run(&program, AUDIT_X86_64, 257, [0; 6]), Verdict::ALLOW);
    assert_eq!(run(&program, AUDIT_X86_64, 257 | X32_BIT, [0; 6]), Verdict::KILL_THREAD);
}

#[test]
fn calls_newer_than_the_rules_have_their_own_answer() {
    let mut filter = filter(vec![rule("openat", &[], Verdict::ALLOW)]);
    filter.unknown = Some(ENOSYS);
    let program = compile(&filter);
    assert_eq!(run(&program, AUDIT_X86_64, 256, [0; 6]), EPERM);
    assert_eq!(run(&program, AUDIT_X86_64, 258, [0; 6]), ENOSYS);
    assert_eq!(run(&program, AUDIT_X86_64, 256 | X32_BIT, [0; 6]), EPERM);
    assert_eq!(run(&program, AUDIT_X86_64, 258 | X32_BIT, [0; 6]), ENOSYS);
    assert_eq!(run(&program, AUDIT_X86, 294, [0; 6]), EPERM);
    assert_eq!(run(&program, AUDIT_X86, 296, [0; 6]), ENOSYS);
}

/// What a comparison means, of an argument and the value.
type Meaning = fn(u64, u64) -> bool;

/// Each comparison against the meaning of its Rust counterpart, around halves and edges.
#[test]
fn comparisons_are_of_64_bits() {
    let values = [0, 1, 41, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x2_0000_0000, u64::MAX];
    let comparisons: [(Comparison, Meaning); 7] = [
        (Comparison::NotEqual, |a, b| a != b),
        (Comparison::Less, |a, b| a < b),
        (Comparison::LessOrEqual, |a, b| a <= b),
        (Comparison::Equal, |a, b| a == b),
        (Comparison::GreaterOrEqual, |a, b| a >= b),
        (Comparison::Greater, |a, b| a > b),
        (Comparison::MaskedEqual { mask: 0x1_0000_0001 }, |a, b| {
            a & 0x1_0000_0001 == b & 0x1_0000_0001
        }),
    ];
    for (comparison, holds) in comparisons {
        for value in values {
            // Behind a first condition, and before another rule, so that distances matter.
            let rules = vec![
                rule(
                    "socket",
                    &[(1, Comparison::Equal, 7), (0, comparison, value), (2, Comparison::Less, 9)],
                    Verdict::ALLOW,
                ),
                rule("socket", &[(5, Comparison::Equal, 5)], Verdict::TRAP),
            ];
            let program = compile(&filter(rules));
            for argument in values {
                let verdict = run(&program, AUDIT_X86_64, 41, [argument, 7, 3, 0, 0, 5]);
                let expected = if holds(argument, value) { Verdict::ALLOW } else { Verdict::TRAP };
                assert_eq!(verdict, expected, "{argument:#x} {comparison:?} {value:#x}");
                let verdict = run(&program, AUDIT_X86_64, 41, [argument, 7, 9, 0, 0, 0]);
                assert_eq!(verdict, EPERM);
            }
        }
    }
}

#[test]
fn comparisons_of_narrow_architectures_are_of_32_bits() {
    let rules = vec![rule("socket", &[(0, Comparison::Equal, 7)], Verdict::ALLOW)];
    let program = compile(&filter(rules));
    let high = [0x1_0000_0007, 0, 0, 0, 0, 0];
    assert_eq!(run(&program, AUDIT_X86_64, 41, high), EPERM);
    assert_eq!(run(&program, AUDIT_X86_64, 41 | X32_BIT, high), Verdict::ALLOW);
    assert_eq!(run(&program, AUDIT_X86, 359, high), Verdict::ALLOW);
}

#[test]
fn a_rule_without_conditions_wins_over_those_with() {
    let conditional = || rule("socket", &[(0, Comparison::Equal, 1)], Verdict::TRAP);
    let plain = || rule("socket", &[], Verdict::ALLOW);
    for rules in [vec![conditional(), plain()], vec![plain(), conditional()]] {
        let program = compile(&filter(rules));
        assert_eq!(run(&program, AUDIT_X86_64, 41, [1, 0, 0, 0, 0, 0]), Verdict::ALLOW);
    }
}

/// Alternating verdicts over all calls make the longest possible search tree.
#[test]
fn jumps_reach_over_long_programs() {
    let names: Vec<&str> =
        include_str!("syscalls.tsv").lines().map(|line| line.split('\t').next().unwrap()).collect();
    let verdict = |number: u32| Verdict::errno(u16::try_from(number % 1000).unwrap());
    let rules = names
        .iter()
        .filter_map(|name| Some(rule(name, &[], verdict(number(name, Architecture::X86_64)?))))
        .collect();
    let mut filter = filter(rules);
    filter.architectures = vec![Architecture::X86_64];
    let program = compile(&filter);
    assert!(program.instructions().len() < 4096);
    for name in names {
        if let Some(number) = number(name, Architecture::X86_64) {
            assert_eq!(run(&program, AUDIT_X86_64, number, [0; 6]), verdict(number), "{name}");
        }
    }
}
