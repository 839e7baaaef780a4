//! Who runs a program: names of users and groups, as the container's own files have them.

use std::io::Read as _;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{EngineError, Result};

/// The most that is read of a container's `passwd` or `group`.
const MAXIMUM_FILE: u64 = 16 << 20;

/// Who runs a program, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The group and all further ones.
    pub additional_gids: Vec<u32>,
    /// The home directory.
    pub home: String,
}

/// Finds a user (`user`, `uid`, `user:group`, …) and further groups in the files of a tree.
///
/// # Errors
/// `Invalid` in Docker's words when a name is not there.
pub(crate) fn resolve(root: BorrowedFd<'_>, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let passwd = read_in_root(root, "etc/passwd");
    let group = read_in_root(root, "etc/group");
    lookup(user, groups, &passwd, &group)
}

/// A file of a container's; a missing one is empty, as is what is no regular file.
fn read_in_root(root: BorrowedFd<'_>, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let opened = ferry_sys::path::open_in_root(root, Path::new(path), flags, Mode::empty());
    let Ok(file) = opened.map(std::fs::File::from) else { return String::new() };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    match file.take(MAXIMUM_FILE).read_to_end(&mut bytes) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// The same on the files' texts.
fn lookup(user: &str, groups: &[String], passwd: &str, group: &str) -> Result<ResolvedUser> {
    let (user_part, group_part) = user.split_once(':').unwrap_or((user, ""));
    let uid_asked = number(user_part)?;
    let entry = passwd.lines().filter_map(PasswdEntry::parse).find(|entry| match user_part {
        "" => entry.uid == 0,
        name => entry.name == name || uid_asked == Some(entry.uid),
    });
    let (uid, mut gid, home, name) = match (&entry, uid_asked) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home, entry.name),
        (None, Some(uid)) => (uid, 0, "/", ""),
        (None, None) if user_part.is_empty() => (0, 0, "/", ""),
        (None, None) => return Err(missing("user", user_part, "passwd")),
    };
    let entries: Vec<GroupEntry<'_>> = group.lines().filter_map(GroupEntry::parse).collect();
    let mut more = Vec::new();
    if group_part.is_empty() {
        more.extend(entries.iter().filter(|group| group.has(name)).map(|group| group.gid));
    } else {
        gid = find_group(&entries, group_part)?;
    }
    for group in groups {
        more.push(find_group(&entries, group)?);
    }
    let mut additional_gids = vec![gid];
    for gid in more {
        if !additional_gids.contains(&gid) {
            additional_gids.push(gid);
        }
    }
    let home = if home.is_empty() { "/" } else { home };
    Ok(ResolvedUser { uid, gid, additional_gids, home: home.to_owned() })
}

fn find_group(entries: &[GroupEntry<'_>], asked: &str) -> Result<u32> {
    let gid = number(asked)?;
    let entry = entries.iter().find(|entry| entry.name == asked || gid == Some(entry.gid));
    match (entry, gid) {
        (Some(entry), _) => Ok(entry.gid),
        (None, Some(gid)) => Ok(gid),
        (None, None) => Err(missing("group", asked, "group")),
    }
}

/// A number, when it is one at all.
fn number(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if i32::try_from(id).is_ok() => Ok(Some(id)),
        _ => Err(EngineError::Invalid("uids and gids must be in range 0-2147483647".to_owned())),
    }
}

fn missing(what: &str, name: &str, file: &str) -> EngineError {
    EngineError::Invalid(format!(
        "unable to find {what} {name}: no matching entries in {file} file"
    ))
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdEntry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.trim().split(':').collect();
        match *fields.as_slice() {
            [name, _, uid, gid, ref rest @ ..] if !name.is_empty() => Some(Self {
                name,
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: rest.get(1).copied().unwrap_or_default(),
            }),
            _ => None,
        }
    }
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupEntry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        let members = fields.next().unwrap_or_default();
        (!name.is_empty()).then_some(Self { name, gid: gid.parse().ok()?, members })
    }

    fn has(&self, user: &str) -> bool {
        !user.is_empty() && self.members.split(',').any(|member| member == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
        bad line\n\
        www-data:x:33:33:www-data:/var/www:/bin/false\n\
        app:x:1000:1001::/home/app\n\
        homeless:x:7:7:::\n";
    const GROUP: &str =
        "root:x:0:\ndaemon:x:1:\nadm:x:4:app,www-data\nwheel:x:10:root\napp:x:1001:\n";

    #[track_caller]
    fn check(user: &str, groups: &str, expect: &str) {
        let groups: Vec<String> = groups.split_whitespace().map(str::to_owned).collect();
        let said = match lookup(user, &groups, PASSWD, GROUP) {
            Ok(ResolvedUser { uid, gid, additional_gids, home }) => {
                format!("{uid}:{gid} {additional_gids:?} {home}")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        check("", "", "0:0 [0, 10] /root");
        check("root", "", "0:0 [0, 10] /root");
        check("app", "", "1000:1001 [1001, 4] /home/app");
        check("1000", "", "1000:1001 [1001, 4] /home/app");
        check("33:adm", "", "33:4 [4] /var/www");
        check("app:77", "", "1000:77 [77] /home/app");
        check("4242", "", "4242:0 [0] /");
        check("1000:50", "20 adm 50", "1000:50 [50, 20, 4] /home/app");
        check("homeless", "", "7:7 [7] /");
    }

    #[test]
    fn what_is_not_there_is_told_in_dockers_words() {
        check("nouser", "", "unable to find user nouser: no matching entries in passwd file");
        check("root:nogr", "", "unable to find group nogr: no matching entries in group file");
        check("", "nogr", "unable to find group nogr: no matching entries in group file");
        check("9999999999", "", "uids and gids must be in range 0-2147483647");
        check("-1", "", "uids and gids must be in range 0-2147483647");
    }

    #[test]
    fn an_image_without_files_has_root_only() {
        assert_eq!(
            lookup("", &[], "", "").unwrap(),
            ResolvedUser { uid: 0, gid: 0, additional_gids: vec![0], home: "/".into() }
        );
    }
}
