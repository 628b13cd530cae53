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

/// One heap for all threads instead of one each, which grows by quarters of a megabyte and keeps a megabyte that is free: for a
/// process whose threads pass their work on, so that what one allocates another frees. To be called before there are threads.
pub fn share_heap() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in [(libc::M_ARENA_MAX, 1), (libc::M_TOP_PAD, 256 << 10), (libc::M_TRIM_THRESHOLD, 1 << 20)] {
        // SAFETY: mallopt takes numbers only; what it does not know it leaves alone.
        unsafe {
            libc::mallopt(setting, value);
        }
    }
}
