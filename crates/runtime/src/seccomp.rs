//! From the specification's system call filter to the one that is compiled.

use ferry_oci::runtime::{Action, Arch, Argument, Comparison as Op, Seccomp, SyscallRule};
use ferry_sys::seccomp::{
    Architecture, Comparison, Condition, Filter, LoadFlags, Program, Rule, Verdict, compile,
};

use crate::error::RuntimeError;

const EPERM: u32 = 1;

/// A filter ready to be loaded.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) program: Program,
    pub(crate) flags: LoadFlags,
}

/// Compiles a filter.
pub(crate) fn prepare(seccomp: &Seccomp) -> Result<Prepared, RuntimeError> {
    let filter = filter(seccomp)?;
    Ok(Prepared { program: compile(&filter), flags: flags(seccomp)? })
}

/// The filter in the words of the compiler.
pub(crate) fn filter(seccomp: &Seccomp) -> Result<Filter<'_>, RuntimeError> {
    let default = verdict(seccomp.default_action, seccomp.default_errno_ret)?;
    let mut rules = Vec::new();
    for rule in &seccomp.syscalls {
        let verdict = verdict(rule.action, rule.errno_ret)?;
        // A rule that says what the default says is none; as libseccomp's callers do.
        if verdict != default {
            add(&mut rules, rule, verdict)?;
        }
    }
    let mut architectures = vec![Architecture::NATIVE];
    architectures.extend(seccomp.architectures.iter().filter_map(|arch| architecture(*arch)));
    Ok(Filter {
        default,
        // As libseccomp does.
        other_architectures: Verdict::KILL_THREAD,
        unknown: unknown(seccomp, default),
        architectures,
        rules,
    })
}

/// Calls newer than the rules fail as if the kernel did not have them, so that programs try the older
/// ones; where the default denies at all. Compat: as runc does.
fn unknown(seccomp: &Seccomp, default: Verdict) -> Option<Verdict> {
    let permissive = matches!(
        seccomp.default_action,
        Action::Allow | Action::Log | Action::Trace | Action::Notify
    );
    let enosys = Verdict::errno(38);
    (!permissive && default != enosys).then_some(enosys)
}

fn add<'a>(
    rules: &mut Vec<Rule<'a>>,
    rule: &'a SyscallRule,
    verdict: Verdict,
) -> Result<(), RuntimeError> {
    let conditions: Vec<_> = rule.args.iter().map(condition).collect::<Result<_, _>>()?;
    // Compat: two conditions on one argument are alternatives, as runc and libseccomp take them.
    let twice = |c: &Condition| conditions.iter().filter(|o| o.argument == c.argument).count() > 1;
    let alternatives: Vec<Vec<Condition>> = if conditions.iter().any(twice) {
        conditions.iter().map(|condition| vec![*condition]).collect()
    } else {
        vec![conditions]
    };
    for name in &rule.names {
        rules.extend(alternatives.iter().map(|conditions| Rule {
            name,
            conditions: conditions.clone(),
            verdict,
        }));
    }
    Ok(())
}

fn condition(argument: &Argument) -> Result<Condition, RuntimeError> {
    let index = u8::try_from(argument.index).ok().filter(|index| *index < 6).ok_or_else(|| {
        RuntimeError::invalid(format!("seccomp: there is no argument {}", argument.index))
    })?;
    let (comparison, value) = match argument.op {
        Op::NotEqual => (Comparison::NotEqual, argument.value),
        Op::Less => (Comparison::Less, argument.value),
        Op::LessOrEqual => (Comparison::LessOrEqual, argument.value),
        Op::Equal => (Comparison::Equal, argument.value),
        Op::GreaterOrEqual => (Comparison::GreaterOrEqual, argument.value),
        Op::Greater => (Comparison::Greater, argument.value),
        Op::MaskedEqual => (Comparison::MaskedEqual { mask: argument.value }, argument.value_two),
    };
    Ok(Condition { argument: index, comparison, value })
}

fn verdict(action: Action, errno: Option<u32>) -> Result<Verdict, RuntimeError> {
    let value = errno.unwrap_or(EPERM);
    let value = u16::try_from(value).map_err(|_too_great| {
        RuntimeError::invalid(format!("seccomp: errnoRet {value} is too great"))
    })?;
    Ok(match action {
        Action::Kill | Action::KillThread => Verdict::KILL_THREAD,
        Action::KillProcess => Verdict::KILL_PROCESS,
        Action::Trap => Verdict::TRAP,
        Action::Errno => Verdict::errno(value),
        Action::Trace => Verdict::trace(value),
        Action::Allow => Verdict::ALLOW,
        Action::Log => Verdict::LOG,
        Action::Notify => {
            return Err(RuntimeError::invalid("seccomp: SCMP_ACT_NOTIFY is not supported"));
        }
    })
}

/// The architecture, if calls of it can happen on this machine; those of others can not.
fn architecture(arch: Arch) -> Option<Architecture> {
    Some(match arch {
        Arch::Native => Architecture::NATIVE,
        Arch::X86_64 => Architecture::X86_64,
        Arch::X86 => Architecture::X86,
        Arch::X32 => Architecture::X32,
        Arch::Aarch64 => Architecture::Aarch64,
        Arch::Arm => Architecture::Arm,
        _ => return None,
    })
}

fn flags(seccomp: &Seccomp) -> Result<LoadFlags, RuntimeError> {
    // Compat: without flags, speculation is left as it is, as runc does.
    if seccomp.flags.is_empty() {
        return Ok(LoadFlags::SPECULATION_ALLOW);
    }
    let mut flags = LoadFlags::empty();
    for flag in &seccomp.flags {
        flags |= match flag.as_str() {
            // The init has one thread.
            "SECCOMP_FILTER_FLAG_TSYNC" => LoadFlags::empty(),
            "SECCOMP_FILTER_FLAG_LOG" => LoadFlags::LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => LoadFlags::SPECULATION_ALLOW,
            other => {
                return Err(RuntimeError::invalid(format!(
                    "seccomp: flag {other} is not supported"
                )));
            }
        };
    }
    Ok(flags)
}

#[cfg(test)]
mod tests;
