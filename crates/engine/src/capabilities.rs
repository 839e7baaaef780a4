//! Which capabilities a container has.

/// The fourteen that Docker gives, in its order.
pub(crate) const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const ALL: &str = "ALL";

/// Upper case, with `CAP_` before; `ALL` stays.
///
/// # Errors
/// The first name that no kernel knows.
pub(crate) fn normalise(names: &[String]) -> Result<Vec<String>, String> {
    names
        .iter()
        .map(|name| {
            let mut name = name.to_ascii_uppercase();
            if name == ALL || name == "CAP_ALL" {
                return Ok(ALL.to_owned());
            }
            if !name.starts_with("CAP_") {
                name.insert_str(0, "CAP_");
            }
            match ferry_sys::capabilities::number(&name) {
                Some(_) => Ok(name),
                None => Err(name),
            }
        })
        .collect()
}

/// What a container has, by Docker's rules; `all` is what the kernel knows.
///
/// # Errors
/// The first name that no kernel knows.
pub(crate) fn choose(
    add: &[String],
    drop: &[String],
    privileged: bool,
    all: &[String],
) -> Result<Vec<String>, String> {
    let (add, drop) = (normalise(add)?, normalise(drop)?);
    let dropped = |name: &str| drop.iter().any(|dropped| dropped == name);
    let mut chosen: Vec<String> = if privileged {
        all.to_vec()
    } else if add.iter().any(|name| name == ALL) {
        all.iter().filter(|name| !dropped(name)).cloned().collect()
    } else if dropped(ALL) {
        add
    } else {
        let kept = DEFAULT.iter().filter(|name| !dropped(name)).map(|name| (*name).to_owned());
        kept.chain(add).collect()
    };
    let mut seen = std::collections::BTreeSet::new();
    chosen.retain(|name| all.contains(name) && seen.insert(name.clone()));
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(add: &str, drop: &str, privileged: bool, expect: &str) {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut all: Vec<String> = DEFAULT.iter().map(|name| (*name).to_owned()).collect();
        all.push("CAP_SYS_ADMIN".into());
        let chosen = choose(&list(add), &list(drop), privileged, &all);
        let said = match chosen {
            Ok(names) if names.len() > 3 => {
                format!("{} with {}", names.len(), names[names.len() - 1])
            }
            Ok(names) => names.join(" "),
            Err(name) => format!("unknown {name}"),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn capabilities_are_added_and_dropped_as_in_docker() {
        check("", "", false, "14 with CAP_AUDIT_WRITE");
        check("sys_admin", "", false, "15 with CAP_SYS_ADMIN");
        check("CAP_CHOWN", "", false, "14 with CAP_AUDIT_WRITE");
        check("", "all", false, "");
        check("chown Kill", "ALL", false, "CAP_CHOWN CAP_KILL");
        check("ALL", "SYS_ADMIN", false, "14 with CAP_AUDIT_WRITE");
        check("", "ALL", true, "15 with CAP_SYS_ADMIN");
        check("XXX", "", false, "unknown CAP_XXX");
    }
}
