//! What the allocator keeps of memory that was given back to it.

/// Gives freed memory back to the system. glibc keeps what lies below anything still in use, so a process that has built
/// and dropped one large tree stays as large as it was then; after such a thing, this is worth its millisecond.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
