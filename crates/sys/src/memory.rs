//! The memory of this process.

use std::ffi::c_void;

use rustix::io::Errno;
use rustix::mm::Advice;

use crate::error::SysError;

/// Lets go of all pages of program files that were never written, to be read again when needed.
///
/// For a process that sleeps most of its life: the kernel maps a program's file generously around each
/// place that is executed, and what only the start needed would stay resident. Gives the bytes let go.
///
/// # Errors
/// The call that failed.
pub fn release_program_pages() -> Result<usize, SysError> {
    let path = "/proc/self/smaps";
    let text = std::fs::read_to_string(path).map_err(|error| {
        SysError::new("read", path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    let mut released = 0;
    for range in clean_program_ranges(&text) {
        let pointer = std::ptr::with_exposed_provenance_mut::<c_void>(range.start);
        // SAFETY: The range is a private mapping of a file of which this process has written no page,
        // and which it may not write; a page that is let go comes back from the file with the same
        // bytes. The list was read just now and no mapping of a program file is removed while it runs.
        let advised = unsafe { rustix::mm::madvise(pointer, range.len(), Advice::LinuxDontNeed) };
        advised.map_err(|errno| SysError::new("madvise", "program", errno))?;
        released += range.len();
    }
    Ok(released)
}

/// The mappings of files that can be read or executed but not written, and hold no page of our own.
fn clean_program_ranges(smaps: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        if let Some((start, end)) = first.split_once('-') {
            let is_file = words.next().is_some() && words.nth(1).is_some_and(|inode| inode != "0");
            let range = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16));
            current = match range {
                (Ok(start), Ok(end)) if is_file && matches!(second, "r-xp" | "r--p") => {
                    Some(start..end)
                }
                _ => None,
            };
        } else if first == "Anonymous:" && second == "0" {
            ranges.extend(current.take());
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn only_what_was_never_written_is_let_go() {
        let text = "\
00400000-00402000 r--p 00000000 00:01 77 /memfd:x (deleted)
Rss:                   8 kB
Anonymous:             0 kB
00402000-00500000 r-xp 00002000 00:01 77 /memfd:x (deleted)
Anonymous:             0 kB
00500000-00510000 r--p 00100000 00:01 77 /memfd:x (deleted)
Anonymous:            64 kB
00510000-00520000 rw-p 00110000 00:01 77 /memfd:x (deleted)
Anonymous:             0 kB
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
";
        assert_eq!(
            clean_program_ranges(text),
            [0x0040_0000..0x0040_2000, 0x0040_2000..0x0050_0000]
        );
    }

    #[test]
    fn the_program_goes_on() {
        let before = clean_program_ranges(&std::fs::read_to_string("/proc/self/smaps").unwrap());
        assert!(!before.is_empty());
        assert!(release_program_pages().unwrap() > 0);
        assert_eq!(format!("{:?}", [1, 2]), "[1, 2]");
    }
}
