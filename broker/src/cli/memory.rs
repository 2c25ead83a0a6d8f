//! How much freed memory the process keeps. The one place with `unsafe` in it.

/// From this size on, in bytes, a buffer is taken from the system by itself: above all that a node
/// makes often, which are reads, frames and commits.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: libc::c_int = 2 << 20;

/// Has the allocator give back what is free. glibc keeps ever more of it, each time that a larger
/// buffer is freed, up to 64 MiB a heap; with 100 slow readers a node came to need half as much
/// again (`benches/README.md`). A size that is set once stops that, for what it keeps too.
///
/// To be called before there is a second thread.
pub(super) fn give_back_what_is_free() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "no library has a safe call")]
        // SAFETY: it takes two numbers and sets one of the allocator's own; no memory that it has
        // given out changes. Calls from several threads at once are allowed, too.
        let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN) };
        // Where it is refused, a node needs more memory, and all else is as before.
        debug_assert_eq!(taken, 1, "glibc takes sizes of up to 32 MiB");
    }
}
