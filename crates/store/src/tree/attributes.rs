//! Extended attributes that the kernel reads itself: what it would not take is refused here, so that
//! both layer stores refuse the same.

use super::NodeKind;

/// Length of a capability's value, by the version in its first word. Version 1 is not taken any more.
/// capabilities(7), "File capability extended attribute versioning".
const CAPABILITIES: [(u32, usize); 2] = [(0x0200_0000, 20), (0x0300_0000, 24)];

/// What is wrong with an attribute, if anything is.
pub(super) fn fault(kind: &NodeKind, name: &[u8], value: &[u8]) -> Option<&'static str> {
    let is_link = matches!(kind, NodeKind::Symlink(_));
    match name {
        b"security.capability" => (!is_capability(value)).then_some("no capabilities"),
        // Links have none: it is left out.
        b"system.posix_acl_access" | b"system.posix_acl_default" if is_link => None,
        b"system.posix_acl_default" if !matches!(kind, NodeKind::Directory(_)) => {
            Some("only directories have it")
        }
        b"system.posix_acl_access" | b"system.posix_acl_default" => {
            (!is_acl(value)).then_some("no access control list")
        }
        _ => None,
    }
}

fn is_capability(value: &[u8]) -> bool {
    let version = value.first_chunk().map(|word| u32::from_le_bytes(*word) & 0xff00_0000);
    CAPABILITIES.iter().any(|&(known, length)| version == Some(known) && value.len() == length)
}

/// The kernel's `posix_acl_from_xattr` and `posix_acl_valid`: the owner, users, the group, groups, the
/// mask that users and groups need, and others, in this order.
fn is_acl(value: &[u8]) -> bool {
    const OWNER: u16 = 1;
    const USER: u16 = 2;
    const GROUP: u16 = 4;
    const NAMED_GROUP: u16 = 8;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;
    let Some((version, entries)) = value.split_first_chunk::<4>() else { return false };
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !rest.is_empty() {
        return false;
    }
    // An empty one is none.
    if entries.is_empty() {
        return true;
    }
    let (mut last, mut needs_mask) = (0, false);
    for entry in entries {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        let follows = match tag {
            OWNER => last == 0,
            USER => matches!(last, OWNER | USER),
            GROUP => matches!(last, OWNER | USER),
            NAMED_GROUP => matches!(last, GROUP | NAMED_GROUP),
            MASK => matches!(last, GROUP | NAMED_GROUP),
            OTHER => last == MASK || (matches!(last, GROUP | NAMED_GROUP) && !needs_mask),
            _ => false,
        };
        if !follows || permissions > 7 {
            return false;
        }
        needs_mask |= matches!(tag, USER | NAMED_GROUP);
        last = tag;
    }
    last == OTHER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Directory;

    fn acl(tags: &[u16]) -> Vec<u8> {
        let entry = |tag: &u16| [tag.to_le_bytes(), [7, 0], [0, 0], [0, 0]].concat();
        [2_u32.to_le_bytes().to_vec(), tags.iter().flat_map(entry).collect()].concat()
    }

    #[test]
    fn lists_are_in_order_and_whole() {
        for good in [&[1, 4, 0x20][..], &[1, 2, 2, 4, 8, 0x10, 0x20], &[1, 4, 0x10, 0x20], &[]] {
            assert!(is_acl(&acl(good)), "{good:?}");
        }
        for bad in [&[1][..], &[1, 4], &[4, 1, 0x20], &[1, 2, 4, 0x20], &[1, 4, 0x20, 0x20], &[3]] {
            assert!(!is_acl(&acl(bad)), "{bad:?}");
        }
        assert!(!is_acl(b"") && !is_acl(b"\x01\0\0\0") && !is_acl(&acl(&[1, 4, 0x20])[..27]));
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused() {
        let (file, directory) = (NodeKind::Fifo, NodeKind::Directory(Directory::default()));
        let list = acl(&[1, 4, 0x20]);
        let capability = [&0x0200_0001_u32.to_le_bytes()[..], &[0; 16]].concat();
        assert_eq!(fault(&file, b"security.capability", &capability), None);
        assert!(fault(&file, b"security.capability", &capability[..12]).is_some());
        assert_eq!(fault(&file, b"system.posix_acl_access", &list), None);
        assert_eq!(fault(&directory, b"system.posix_acl_default", &list), None);
        assert!(fault(&file, b"system.posix_acl_default", &list).is_some());
        assert!(fault(&file, b"system.posix_acl_access", b"x").is_some());
        assert_eq!(
            fault(&NodeKind::Symlink(b"x".to_vec()), b"system.posix_acl_access", b"x"),
            None
        );
        assert_eq!(fault(&file, b"user.anything", b"x"), None);
    }
}
