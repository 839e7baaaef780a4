//! From rules to instructions.

use std::collections::BTreeMap;

use super::table::{Row, Table, X32_BIT};
use super::{Architecture, Comparison, Condition, Filter, Instruction, Program, Rule, Verdict};

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_OR_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What happens to a number.
#[derive(Debug, Clone, PartialEq)]
enum Leaf<'a> {
    /// Always the same.
    Plain(Verdict),
    /// Alternatives, tried in order, and what happens if none matches.
    Chain(Vec<(&'a [Condition], Verdict)>, Verdict),
}

/// Compiles a filter.
#[must_use]
pub fn compile(filter: &Filter<'_>) -> Program {
    let table = Table::parse();
    let rules: Vec<_> =
        filter.rules.iter().filter_map(|rule| Some((table.row(rule.name)?, rule))).collect();
    let mut by_audit: BTreeMap<u32, Vec<Architecture>> = BTreeMap::new();
    for &architecture in &filter.architectures {
        let group = by_audit.entry(architecture.audit()).or_default();
        if !group.contains(&architecture) {
            group.push(architecture);
        }
    }
    let mut code = vec![instruction(LOAD, ARCHITECTURE)];
    // The native architecture first: nearly every call is its.
    let native = Architecture::NATIVE.audit();
    let mut groups: Vec<_> = by_audit.into_iter().collect();
    groups.sort_by_key(|(audit, _)| *audit != native);
    for (audit, group) in groups {
        let mut body = vec![instruction(LOAD, NUMBER)];
        body.extend(tree(&intervals(filter, &rules, &group), &|start, leaf| {
            // x32 shares its architecture with x86-64; its numbers tell it apart.
            let x32 = group.contains(&Architecture::X32) && start >= X32_BIT;
            chain(leaf, !x32 && group.iter().any(|architecture| architecture.is_wide()))
        }));
        code.extend(unless(JUMP_EQUAL, audit, body));
    }
    code.push(instruction(RETURN, filter.other_architectures.0));
    Program(code)
}

/// Instructions that are skipped unless a comparison with the accumulator holds.
fn unless(comparison: u16, operand: u32, body: Vec<Instruction>) -> Vec<Instruction> {
    let mut code = branch(comparison, operand, 0, body.len());
    code.extend(body);
    code
}

/// A conditional jump over one of two distances; one of them must be 0.
fn branch(code: u16, operand: u32, on_true: usize, on_false: usize) -> Vec<Instruction> {
    if let (Ok(jump_true), Ok(jump_false)) = (u8::try_from(on_true), u8::try_from(on_false)) {
        return vec![Instruction { code, jump_true, jump_false, operand }];
    }
    // Conditional jumps reach 255 instructions; an unconditional one any number.
    let far = u32::try_from(on_true.max(on_false)).unwrap_or(u32::MAX);
    let (jump_true, jump_false) = if on_true > on_false { (0, 1) } else { (1, 0) };
    vec![Instruction { code, jump_true, jump_false, operand }, instruction(JUMP, far)]
}

fn instruction(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

/// The ranges of numbers treated alike, each by its first number; the first begins at 0.
fn intervals<'a>(
    filter: &Filter<'_>,
    rules: &[(Row, &'a Rule<'_>)],
    group: &[Architecture],
) -> Vec<(u32, Leaf<'a>)> {
    let mut hits: Vec<(u32, &Rule<'_>)> = Vec::with_capacity(rules.len() * group.len());
    // Beyond the numbers of an architecture comes what the filter says of newer calls.
    let mut ground: Vec<(u32, Verdict)> = Vec::new();
    for &architecture in group {
        let known = hits.len();
        hits.extend(
            rules.iter().filter_map(|(row, rule)| Some((row.number(architecture)?, *rule))),
        );
        let last = hits.iter().skip(known).map(|(number, _)| *number).max();
        let base = if architecture == Architecture::X32 { X32_BIT } else { 0 };
        ground.push((base, filter.default));
        if let (Some(last), Some(unknown)) = (last, filter.unknown) {
            ground.push((last.saturating_add(1), unknown));
        }
    }
    if group.contains(&Architecture::X86_64) && !group.contains(&Architecture::X32) {
        ground.push((X32_BIT, filter.other_architectures));
    } else if group == [Architecture::X32] {
        ground.push((0, filter.other_architectures));
    }
    ground.sort_by_key(|(start, _)| *start);
    // Stable, so that the rules of one call stay in their order.
    hits.sort_by_key(|(number, _)| *number);
    merge(filter.default, &hits, &ground)
}

/// Puts single numbers and the ground beneath them together.
fn merge<'a>(
    default: Verdict,
    hits: &[(u32, &'a Rule<'_>)],
    ground: &[(u32, Verdict)],
) -> Vec<(u32, Leaf<'a>)> {
    let beneath = |number: u32| {
        let found = ground.iter().rev().find(|(start, _)| *start <= number);
        found.map_or(default, |(_, verdict)| *verdict)
    };
    let mut merged: Vec<(u32, Leaf<'a>)> = vec![(0, Leaf::Plain(beneath(0)))];
    let mut put = |start: u32, leaf: Leaf<'a>| {
        merged.pop_if(|(last, _)| *last == start);
        if merged.last().is_none_or(|(_, last)| *last != leaf) {
            merged.push((start, leaf));
        }
    };
    let mut starts = ground.iter().map(|(start, _)| *start).peekable();
    let mut after = 0;
    for same in hits.chunk_by(|(a, _), (b, _)| a == b) {
        let number = same.first().map_or(0, |(number, _)| *number);
        while let Some(start) = starts.next_if(|start| *start <= number) {
            put(start.max(after), Leaf::Plain(beneath(start.max(after))));
        }
        put(number, leaf(same, beneath(number)));
        after = number.saturating_add(1);
        put(after, Leaf::Plain(beneath(after)));
    }
    for start in starts {
        put(start.max(after), Leaf::Plain(beneath(start.max(after))));
    }
    merged
}

/// What the rules of one call make of it.
fn leaf<'a>(rules: &[(u32, &'a Rule<'_>)], otherwise: Verdict) -> Leaf<'a> {
    // One without conditions replaces all.
    if let Some((_, rule)) = rules.iter().find(|(_, rule)| rule.conditions.is_empty()) {
        return Leaf::Plain(rule.verdict);
    }
    let alternatives = rules.iter().map(|(_, rule)| (rule.conditions.as_slice(), rule.verdict));
    Leaf::Chain(alternatives.collect(), otherwise)
}

/// Binary search for the range the accumulator is in.
fn tree<'a>(
    ranges: &[(u32, Leaf<'a>)],
    leaf: &dyn Fn(u32, &Leaf<'a>) -> Vec<Instruction>,
) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [(start, only)] => leaf(*start, only),
        ranges => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let low = tree(low, leaf);
            let start = high.first().map_or(0, |(start, _)| *start);
            let mut code = branch(JUMP_GREATER_OR_EQUAL, start, low.len(), 0);
            code.extend(low);
            code.extend(tree(high, leaf));
            code
        }
    }
}

/// Alternatives one after the other, each ending in its verdict.
fn chain(leaf: &Leaf<'_>, wide: bool) -> Vec<Instruction> {
    let (alternatives, otherwise) = match leaf {
        Leaf::Plain(verdict) => return vec![instruction(RETURN, verdict.0)],
        Leaf::Chain(alternatives, otherwise) => (alternatives, otherwise),
    };
    let mut code = Vec::new();
    for (conditions, verdict) in alternatives {
        // From the last condition to the first, each knowing how far the next alternative is.
        let mut alternative = vec![instruction(RETURN, verdict.0)];
        for condition in conditions.iter().rev() {
            let mut with = test(condition, wide, alternative.len());
            with.extend(alternative);
            alternative = with;
        }
        code.extend(alternative);
    }
    code.push(instruction(RETURN, otherwise.0));
    code
}

/// A test that goes on with the next instruction if it holds, else skips `rest` more.
///
/// Each is at most six instructions, and a rule has at most six conditions, so distances are short.
fn test(condition: &Condition, wide: bool, rest: usize) -> Vec<Instruction> {
    let rest = u8::try_from(rest).unwrap_or(u8::MAX);
    let (high, low) = halves(condition.value);
    let at = ARGUMENTS + 8 * u32::from(condition.argument);
    let jump =
        |code, operand, jump_true, jump_false| Instruction { code, jump_true, jump_false, operand };
    let load_low = instruction(LOAD, at);
    let load_high = instruction(LOAD, at + 4);
    let ordered = |code: u16, negated: bool| {
        // Is the argument greater (or equal)? Negated: is it not?
        let (yes, no) = if negated { (rest, 0) } else { (0, rest) };
        if !wide {
            return vec![load_low, jump(code, low, yes, no)];
        }
        vec![
            load_high,
            jump(JUMP_GREATER, high, yes + 3, 0),
            jump(JUMP_EQUAL, high, 0, no + 2),
            load_low,
            jump(code, low, yes, no),
        ]
    };
    match condition.comparison {
        Comparison::Equal if wide => vec![
            load_high,
            jump(JUMP_EQUAL, high, 0, rest + 2),
            load_low,
            jump(JUMP_EQUAL, low, 0, rest),
        ],
        Comparison::Equal => vec![load_low, jump(JUMP_EQUAL, low, 0, rest)],
        Comparison::NotEqual if wide => {
            vec![load_high, jump(JUMP_EQUAL, high, 0, 2), load_low, jump(JUMP_EQUAL, low, rest, 0)]
        }
        Comparison::NotEqual => vec![load_low, jump(JUMP_EQUAL, low, rest, 0)],
        Comparison::Greater => ordered(JUMP_GREATER, false),
        Comparison::GreaterOrEqual => ordered(JUMP_GREATER_OR_EQUAL, false),
        Comparison::Less => ordered(JUMP_GREATER_OR_EQUAL, true),
        Comparison::LessOrEqual => ordered(JUMP_GREATER, true),
        Comparison::MaskedEqual { mask } => {
            let (mask_high, mask_low) = halves(mask);
            let low_half =
                [load_low, instruction(AND, mask_low), jump(JUMP_EQUAL, low & mask_low, 0, rest)];
            if !wide {
                return low_half.to_vec();
            }
            let mut code = vec![
                load_high,
                instruction(AND, mask_high),
                jump(JUMP_EQUAL, high & mask_high, 0, rest + 3),
            ];
            code.extend(low_half);
            code
        }
    }
}

/// The high and the low half of a value.
#[expect(clippy::cast_possible_truncation, reason = "that is what halves are")]
fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}
