//! What a process keeps of memory that it does not need any more: the allocator of what was given back to it, the kernel of the
//! program's pages that have run.

use std::ffi::{c_int, c_void};
use std::io;

/// Gives freed memory back to the system. glibc keeps what lies below anything still in use, so a process that has built
/// and dropped one large tree stays as large as it was then; after such a thing, this is worth its millisecond.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// So many heaps for all threads instead of one each, which grow by quarters of a megabyte and keep a megabyte that is free: for a
/// process whose threads pass their work on, so that what one allocates another frees. With fewer heaps than threads that work at
/// once, they wait for each other: a tenth of the time of small writes. To be called before there are threads.
pub fn share_heaps(heaps: u8) {
    #[cfg(target_env = "gnu")]
    for (setting, value) in
        [(libc::M_ARENA_MAX, heaps.into()), (libc::M_TOP_PAD, 256 << 10), (libc::M_TRIM_THRESHOLD, 1 << 20)]
    {
        // SAFETY: mallopt takes numbers only; what it does not know it leaves alone.
        unsafe {
            libc::mallopt(setting, value);
        }
    }
}

/// Lets go of the program's own pages, code and constants: a server runs much of its program once, at its start, and has it
/// mapped for ever. What is used again comes back from the page cache, sixteen pages at a fault of a microsecond.
///
/// # Errors
/// The kernel's, which refuses this for locked memory alone.
pub fn release_program() -> io::Result<()> {
    let mut released = Ok(());
    // SAFETY: `release` is called with this pointer alone, and before this returns.
    unsafe {
        libc::dl_iterate_phdr(Some(release), (&raw mut released).cast());
    }
    released
}

/// Releases one of the objects that are loaded, and asks for no other: the program is the first, shared libraries are small.
unsafe extern "C" fn release(object: *mut libc::dl_phdr_info, _: usize, released: *mut c_void) -> c_int {
    // SAFETY: the only caller's pointer, and the dynamic linker's object with a table of as many entries as it says.
    let (object, released, segments) = unsafe {
        let object = &*object;
        let segments = std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into());
        (object, &mut *released.cast::<io::Result<()>>(), segments)
    };
    // SAFETY: sysconf takes numbers only.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.unsigned_abs();
    // What could be written to at any time has changes of ours, which the file has not.
    let constant =
        segments.iter().filter(|segment| segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_W == 0);
    for segment in constant {
        let start = object.dlpi_addr + segment.p_vaddr;
        let (begin, end) = (start.next_multiple_of(page), (start + segment.p_memsz) / page * page);
        let size = usize::try_from(end.saturating_sub(begin)).expect("it is mapped");
        // SAFETY: whole pages of a file's mapping that nobody can have written to: read anew, they are the same.
        if unsafe { libc::madvise(begin as *mut c_void, size, libc::MADV_DONTNEED) } != 0 {
            *released = Err(io::Error::last_os_error());
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kilobytes of files that are mapped and present.
    fn of_files() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn a_released_program_goes_on_with_less_of_it_in_memory() {
        let before = of_files();
        release_program().unwrap();
        let after = of_files();
        assert!(after < before, "{before} kB, then {after} kB");
    }
}
