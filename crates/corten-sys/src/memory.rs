//! Giving memory back: what the C library's allocator keeps after a busy time.

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
