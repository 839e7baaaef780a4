//! The C library's allocator: told to be modest, and to give back what it keeps.
//!
//! It makes an arena for each thread that allocates, up to eight per processor, and keeps what was
//! freed in each of them. A program that is busy now and then on many threads stays as large as it
//! ever was. Where the C library is another one there is nothing to tell.

/// Limits how many arenas there are; to be called before there are threads.
///
/// Returns whether it was understood.
pub fn limit_arenas(count: i32) -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt(3) only sets a parameter of the allocator; it is given no pointers, and
        // the allocator takes its own lock.
        let understood = unsafe { libc::mallopt(libc::M_ARENA_MAX, count) };
        understood == 1
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _unused = count;
        false
    }
}

/// Gives memory that is free back to the kernel; takes some milliseconds, so not on a hot path.
///
/// Returns whether there was any.
pub fn trim() -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim(3) releases free memory only, under the allocator's own locks.
        let released = unsafe { libc::malloc_trim(0) };
        released == 1
    }
    #[cfg(not(target_env = "gnu"))]
    {
        false
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_understands() {
        assert!(limit_arenas(2));
        // Many small blocks with a last one that stays keep the heap from shrinking by itself.
        let blocks: Vec<Box<[u8; 4096]>> = (0..4096).map(|_| Box::new([1; 4096])).collect();
        let last = Box::new([2_u8; 64]);
        drop(blocks);
        assert!(trim());
        assert_eq!(last.first(), Some(&2));
    }
}
