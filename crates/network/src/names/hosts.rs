//! `/etc/hosts` and `/etc/hostname`.

use std::fmt::Write as _;
use std::net::IpAddr;

/// What `/etc/hosts` of a container is made of.
#[derive(Debug, Clone, Copy)]
pub struct HostsFile<'a> {
    /// Whether IPv6 is enabled in its network namespace; the lines of IPv6 are left out if not.
    /// Docker has it enabled for `none` and the default bridge too, since loopback has `::1`.
    pub ipv6: bool,
    /// `--add-host`, in order, with `host-gateway` resolved to [`crate::Description::gateway`].
    pub extra: &'a [(String, IpAddr)],
    /// The container's addresses; none in the modes `none` and `host`.
    pub addresses: &'a [IpAddr],
    /// The container's host name.
    pub hostname: &'a str,
    /// The container's domain name, or empty.
    pub domainname: &'a str,
}

/// `/etc/hosts` of a container with a network namespace of its own.
///
/// In mode `host` without `--add-host`, Docker's container gets a copy of the host's file instead;
/// with it, this with no addresses.
#[must_use]
pub fn hosts_file(file: &HostsFile<'_>) -> String {
    let HostsFile { ipv6, extra, addresses, hostname, domainname } = *file;
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    if ipv6 {
        text.push_str(
            "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    for (name, address) in extra {
        // Writing to a string does not fail.
        _ = writeln!(text, "{address}\t{name}");
    }
    let names = names(hostname, domainname);
    for address in addresses {
        _ = writeln!(text, "{address}\t{names}");
    }
    text
}

/// The whole name and, if it has a domain, its first part: `web.example.org web`.
fn names(hostname: &str, domainname: &str) -> String {
    let whole = match domainname {
        "" => hostname.to_owned(),
        domain => format!("{hostname}.{domain}"),
    };
    match whole.split_once('.') {
        Some((first, _)) => format!("{whole} {first}"),
        None => whole,
    }
}

/// `/etc/hostname` of a container. The domain name is not in it.
#[must_use]
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

#[cfg(test)]
mod tests;
