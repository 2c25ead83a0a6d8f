//! How the process takes its memory from the system. The one place with `unsafe` in it.

/// From this size on, in bytes, a buffer is taken from the system by itself, and goes back to it.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: libc::c_int = 128 << 10;

/// Has large buffers, those of reads, frames and commits, come from the system one by one. glibc
/// begins like that, but puts ever larger ones between small ones once one was freed; what is left
/// between them, under many readers, is more than all else that a node needs.
///
/// To be called before there is a second thread.
pub(super) fn map_large_buffers() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "no library has a safe call")]
        // SAFETY: it takes two numbers and sets one of the allocator's own; no memory that it has
        // given out changes. Calls from several threads at once are allowed, too.
        let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN) };
        // Where it is refused, a node needs more memory, and all else is as before.
        debug_assert_eq!(taken, 1, "glibc takes a threshold of up to 32 MiB");
    }
}
