//! What a process keeps of memory that it does not need any more: the allocator of what was given back to it, the kernel of the
//! program's pages that have run.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::ptr::null_mut;

use tikv_jemalloc_sys::mallctl;

/// The program's allocator, for its `#[global_allocator]`. glibc's has a lock a heap, and the API server's threads, which pass
/// their work on, waited a seventh of the time of small writes for it; what is free between things in use it keeps, too.
pub use tikv_jemallocator::Jemalloc as Heap;

/// What [`Heap`] reads before anything is allocated: one heap, for each thread has a cache of its own in front of it and a second heap
/// was no quicker, and whatever is free for a tenth of a second goes back to the system.
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: Settings = Settings(c"narenas:1,dirty_decay_ms:100,muzzy_decay_ms:0".as_ptr());

#[repr(transparent)]
struct Settings(*const c_char);

// SAFETY: it points to a constant.
unsafe impl Sync for Settings {}

/// Gives all freed memory of [`Heap`] back to the system: after a large tree was built and dropped, this is worth its millisecond, for what
/// is free goes back by itself only while there is something to do.
pub fn trim() {
    // SAFETY: a command without arguments and an answer; in a program of another allocator it finds nothing to do.
    let failed = unsafe { mallctl(ALL_HEAPS_PURGE.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
    debug_assert_eq!(failed, 0, "the allocator knows the command");
}

/// `arena.<MALLCTL_ARENAS_ALL>.purge`.
const ALL_HEAPS_PURGE: &CStr = c"arena.4096.purge";

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
    use std::alloc::{GlobalAlloc, Layout};

    /// Kilobytes in memory, of files (`RssFile:`) or not (`RssAnon:`).
    fn present(what: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn the_allocator_has_read_its_settings() {
        let (mut heaps, mut size) = (0_u32, size_of::<u32>());
        // SAFETY: a number of this size is asked for.
        let failed = unsafe { mallctl(c"opt.narenas".as_ptr(), (&raw mut heaps).cast(), &raw mut size, null_mut(), 0) };
        assert_eq!((failed, heaps), (0, 1));
    }

    #[test]
    fn what_was_freed_goes_back() {
        const SIZE: usize = 16 << 10;
        let layout = Layout::from_size_align(SIZE, 8).unwrap();
        // SAFETY: the size is not zero, as much is written to as was given, and each piece is freed once, as it was asked for.
        let pieces = std::iter::repeat_with(|| unsafe {
            let piece = Heap.alloc(layout);
            piece.write_bytes(1, SIZE);
            piece
        });
        let pieces: Vec<_> = pieces.take(4096).collect();
        let full = present("RssAnon:");
        for piece in pieces {
            // SAFETY: see above.
            unsafe { Heap.dealloc(piece, layout) };
        }
        trim();
        let after = present("RssAnon:");
        assert!(after + (48 << 10) < full, "{full} kB, then {after} kB");
    }

    #[test]
    fn a_released_program_goes_on_with_less_of_it_in_memory() {
        let before = present("RssFile:");
        release_program().unwrap();
        let after = present("RssFile:");
        assert!(after < before, "{before} kB, then {after} kB");
    }
}
