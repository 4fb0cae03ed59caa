//! Giving memory back: what the allocator keeps, what code stays mapped and what stack was touched in a busy time.

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

/// How far below a frame the stack is left alone: more than what the frames that are active meanwhile take.
const STACK_IN_USE: usize = 4 << 10;

/// Returns the pages of the main thread's stack that a deeper call has touched and that nobody uses any more.
///
/// Another thread's stack is left as it is. Errors are the kernel's, for `/proc/self/maps` or the call.
#[inline(never)]
pub fn release_stack() -> std::io::Result<()> {
    const READ: rustix::fs::OFlags = rustix::fs::OFlags::RDONLY.union(rustix::fs::OFlags::CLOEXEC);
    // The list is read into the stack: an allocation would be what is to be avoided here.
    let mut buffer = [0_u8; 4096];
    let maps = rustix::fs::open("/proc/self/maps", READ, rustix::fs::Mode::empty())?;
    let mut length = 0;
    while length < buffer.len() {
        match rustix::io::read(&maps, &mut buffer[length..])? {
            0 => break,
            count => length += count,
        }
    }
    let here = buffer.as_ptr().addr();
    let lines =
        buffer[..length].split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let Some((start, end)) = lines.filter_map(stack_of).next() else { return Ok(()) };
    let unused = here.saturating_sub(STACK_IN_USE) & !(PAGE - 1);
    if !(start..end).contains(&here) || unused <= start {
        return Ok(());
    }
    // SAFETY: the range lies in the main thread's stack, which is this thread's, since `here` is an address of its own
    // frame in that mapping. It ends well below that frame: this function and what it calls take less than
    // `STACK_IN_USE`, the buffer itself included, so no live frame is in the range, and what is below the live frames
    // holds no object. The next call that reaches there finds zeros, which it never relies on.
    let result = unsafe {
        libc::madvise(std::ptr::without_provenance_mut(start), unused - start, libc::MADV_DONTNEED)
    };
    crate::syscall::check(result.into())?;
    Ok(())
}

/// Smallest page of all architectures.
const PAGE: usize = 4096;

/// Start and end of the main thread's stack, if the line describes it.
fn stack_of(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.strip_suffix("[stack]")?.split_ascii_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
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
    fn only_the_main_thread_s_stack_is_meant() {
        let line = "7ffe64a58000-7ffe64a79000 rw-p 00000000 00:00 0                          [stack]";
        assert_eq!(stack_of(line), Some((0x7ffe_64a5_8000, 0x7ffe_64a7_9000)));
        assert_eq!(stack_of("1000-2000 rw-p 00000000 00:00 0 [heap]"), None);
        // A test runs on another thread, whose stack stays.
        let deep = [7_u8; 64 << 10];
        release_stack().unwrap();
        assert!(deep.iter().all(|&byte| byte == 7));
    }

    #[test]
    fn code_goes_on_working_without_its_pages() {
        release_code().unwrap();
        assert_eq!("still here".len(), 10);
    }
}
