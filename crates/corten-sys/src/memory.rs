//! Giving memory back: what the allocator keeps and what code stays mapped after a busy time.

/// Bounds how many arenas the allocator makes: each keeps what its threads freed. Call before threads start.
///
/// Does nothing with a C library that has no arenas.
pub fn bound_arenas(most: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt sets a number of the allocator; it takes the allocator's own lock and no pointer.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, most);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = most;
}

/// Returns free pages of all arenas to the kernel. Takes about a millisecond for each 10 MB in use.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim walks the allocator's own lists under its locks; live allocations stay where they are.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Unmaps the pages of this program's code that were touched once and may never be again (start-up, a burst of work).
/// They stay in the page cache and come back with a minor fault each.
///
/// Errors are the kernel's, for `/proc/self/maps` or the call.
pub fn release_code() -> std::io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for (start, length) in maps.lines().filter_map(|line| code_of(line, &program.to_string_lossy())) {
        // SAFETY: the range is executable and not writable, mapped from the program's file: nothing ever wrote to its
        // pages (position-independent code has no relocations in its text), so what a later access reads from the
        // file is what was there. It holds no Rust object.
        let result =
            unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED) };
        crate::syscall::check(result.into())?;
    }
    Ok(())
}

/// Start and length of the mapping that a line of `/proc/<pid>/maps` describes, if it is `program`'s code.
fn code_of(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp" && words.nth(3)? == program;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    is_code.then_some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_unwritable_code_is_meant() {
        let line = |rights: &str, path: &str| format!("1000-3000 {rights} 00001000 fe:00 42      {path}");
        assert_eq!(code_of(&line("r-xp", "/bin/corten"), "/bin/corten"), Some((0x1000, 0x2000)));
        for (rights, path) in
            [("r--p", "/bin/corten"), ("rwxp", "/bin/corten"), ("r-xp", "/lib/libc.so.6"), ("r-xp", "")]
        {
            assert_eq!(code_of(&line(rights, path), "/bin/corten"), None, "{rights} {path}");
        }
    }

    #[test]
    fn code_goes_on_working_without_its_pages() {
        release_code().unwrap();
        assert_eq!("still here".len(), 10);
    }
}
