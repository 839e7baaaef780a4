//! Devices.

use ferry_oci::runtime::DeviceRule as Asked;
use ferry_sys::cgroup::{DeviceAccess, DeviceKind, DeviceRule, Version};

use super::{Facts, LimitError, Step, Steps};

/// What every container may use, whatever its configuration says, as with runc: nodes may be made;
/// `null`, `zero`, `full`, `random`, `urandom`, `tty`, pseudo-terminals may be used.
const ALWAYS: [(DeviceKind, Option<u32>, Option<u32>, &str); 10] = [
    (DeviceKind::Character, None, None, "m"),
    (DeviceKind::Block, None, None, "m"),
    (DeviceKind::Character, Some(1), Some(3), "rwm"),
    (DeviceKind::Character, Some(1), Some(8), "rwm"),
    (DeviceKind::Character, Some(1), Some(7), "rwm"),
    (DeviceKind::Character, Some(5), Some(0), "rwm"),
    (DeviceKind::Character, Some(1), Some(5), "rwm"),
    (DeviceKind::Character, Some(1), Some(9), "rwm"),
    (DeviceKind::Character, Some(136), None, "rwm"),
    (DeviceKind::Character, Some(5), Some(2), "rwm"),
];

/// Plans what a group's processes may use. A group for which nothing is asked may use [`ALWAYS`] and no
/// more: what a new group has is what its parent has, which may be all there is.
pub(super) fn plan<F: Facts>(steps: &mut Steps<'_, F>, asked: &[Asked]) -> Result<(), LimitError> {
    let mut rules = asked.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    rules.extend(ALWAYS.iter().map(|(kind, major, minor, access)| DeviceRule {
        allow: true,
        kind: *kind,
        major: *major,
        minor: *minor,
        access: self::access(access).unwrap_or(DeviceAccess::all()),
    }));
    let rules = simplify(rules);
    if steps.facts.version_of("devices") == Some(Version::One) {
        // A new group has what its parent has; both versions shall begin with nothing.
        steps.write("devices", "devices", "devices.deny", "a")?;
        for rule in &rules {
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            for line in lines(rule) {
                steps.write("devices", "devices", file, line)?;
            }
        }
        return Ok(());
    }
    if !steps.facts.unified() {
        return Err(super::missing("devices", "the devices controller"));
    }
    steps.steps.push(Step::Devices(rules));
    Ok(())
}

/// Drops what comes before a rule for everything, and what was just said.
fn simplify(rules: Vec<DeviceRule>) -> Vec<DeviceRule> {
    let everything = |rule: &DeviceRule| {
        rule.kind == DeviceKind::All
            && rule.major.is_none()
            && rule.minor.is_none()
            && rule.access == DeviceAccess::all()
    };
    let mut simple: Vec<DeviceRule> = Vec::with_capacity(rules.len());
    for rule in rules {
        if everything(&rule) {
            simple.clear();
            if !rule.allow {
                continue;
            }
        }
        // Permission for all of it makes every later permission superfluous.
        let covered = simple.first().is_some_and(|first| first.allow && everything(first))
            && simple.iter().all(|other| other.allow);
        if !(covered && rule.allow || simple.last() == Some(&rule)) {
            simple.push(rule);
        }
    }
    simple
}

fn rule(asked: &Asked) -> Result<DeviceRule, LimitError> {
    let Asked { allow, kind, major, minor, access } = asked;
    let invalid = |what: &str| LimitError::Invalid(format!("invalid device rule: {what}"));
    let number = |value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_overflow| LimitError::Invalid(format!("invalid device number: {value}"))),
    };
    Ok(DeviceRule {
        allow: *allow,
        kind: match kind.as_deref() {
            None | Some("" | "a") => DeviceKind::All,
            Some("b") => DeviceKind::Block,
            // An unbuffered device is a character device.
            Some("c" | "u") => DeviceKind::Character,
            Some(other) => return Err(invalid(&format!("type {other:?}"))),
        },
        major: number(*major)?,
        minor: number(*minor)?,
        access: match access.as_deref() {
            None | Some("") => DeviceAccess::all(),
            Some(text) => self::access(text).ok_or_else(|| invalid(&format!("access {text:?}")))?,
        },
    })
}

fn access(text: &str) -> Option<DeviceAccess> {
    text.chars().try_fold(DeviceAccess::empty(), |access, letter| {
        Some(
            access
                | match letter {
                    'r' => DeviceAccess::READ,
                    'w' => DeviceAccess::WRITE,
                    'm' => DeviceAccess::MKNOD,
                    _ => return None,
                },
        )
    })
}

/// A rule in the words of version 1, whose `a` stands for everything whatever comes after it.
fn lines(rule: &DeviceRule) -> Vec<String> {
    let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut access = String::new();
    for (bit, letter) in
        [(DeviceAccess::READ, 'r'), (DeviceAccess::WRITE, 'w'), (DeviceAccess::MKNOD, 'm')]
    {
        if rule.access.contains(bit) {
            access.push(letter);
        }
    }
    let rest = format!("{}:{} {access}", number(rule.major), number(rule.minor));
    match rule.kind {
        DeviceKind::All if rest == "*:* rwm" => vec!["a".to_owned()],
        DeviceKind::All => vec![format!("b {rest}"), format!("c {rest}")],
        DeviceKind::Block => vec![format!("b {rest}")],
        DeviceKind::Character => vec![format!("c {rest}")],
    }
}
