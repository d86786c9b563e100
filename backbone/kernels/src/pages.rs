//! Large buffers in pages of their own: zeros from the system, and given back when dropped (kept for the next request where [`keep_freed`] was called).
//!
//! The general allocator keeps what is freed (70 MB of a detector's parameters, once its layers have packed them), clears what will be written
//! anyway, and meets each page of 4 KiB with a fault when it is first touched.
//!
//! They start where a huge page may, so that moving them later leaves no part behind in small ones.
//! A Winograd convolution reads through more weights than the processor finds without looking pages up: in huge pages its products are 6 %
//! faster. But a system that has to find such pages first took 0.4 s longer to start, so they come later ([`settle`]), for who stays.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

/// From this many bytes on a buffer is worth pages of its own.
pub(crate) const LEAST: usize = 1 << 20;

/// Bytes of a huge page.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// Bytes of which every page is a multiple.
#[cfg(target_os = "linux")]
const PAGE: usize = 1 << 16;

/// All pages of the process: where they start, and their bytes.
static MAPPED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

fn mapped() -> MutexGuard<'static, BTreeMap<usize, usize>> {
    MAPPED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Dropped pages that wait for a request of the same size, once [`keep_freed`] was called.
static WAITING: Mutex<Option<Vec<Range>>> = Mutex::new(None);

/// Bytes that wait at most.
const KEPT: usize = 64 << 20;

fn waiting() -> MutexGuard<'static, Option<Vec<Range>>> {
    WAITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Zeroed memory that starts on a page.
#[derive(Debug)]
pub(crate) struct Pages(Range);

/// Bytes that [`Pages::zeroed`] has mapped.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages belong to one value alone ([`Pages`], or the list of those that wait), as the memory of a `Vec` does.
unsafe impl Send for Range {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for Range {}

impl Pages {
    /// At least `len` zeroed bytes; `None` where the system has no such call or refuses.
    #[cfg(target_os = "linux")]
    pub(crate) fn zeroed(len: usize) -> Option<Pages> {
        let len = len.next_multiple_of(PAGE); // what is given back later is whole pages, too
        if let Some(pages) = Pages::kept(len) {
            return Some(pages);
        }
        use libc::{MADV_POPULATE_WRITE, madvise};
        let start = if len < HUGE { mapped_bytes(len)? } else { aligned(len)? };
        // Older systems than Linux 5.14 refuse this, and meet a fault for each page.
        // SAFETY: only gives memory to pages that were just mapped and that nobody has seen.
        unsafe { madvise(start.as_ptr().cast(), len, MADV_POPULATE_WRITE) };
        mapped().insert(start.as_ptr().addr(), len);
        Some(Pages(Range { start, len }))
    }

    /// At least `len` zeroed bytes; `None` where the system has no such call or refuses.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn zeroed(_len: usize) -> Option<Pages> {
        None
    }

    /// As many bytes that were dropped before, zeroed again.
    #[cfg(target_os = "linux")]
    fn kept(len: usize) -> Option<Pages> {
        let mut waiting = waiting();
        let found = waiting.as_ref()?.iter().rposition(|range| range.len == len)?;
        let range = waiting.as_mut()?.remove(found);
        drop(waiting); // nobody waits for the zeros
        // SAFETY: the pages are as long as asked for, and no longer in the list.
        unsafe { range.start.as_ptr().write_bytes(0, len) };
        Some(Pages(range))
    }

    /// Where they start; good for reading and writing their length.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.0.start
    }
}

/// Private zeroed bytes from the system, where it likes.
#[cfg(target_os = "linux")]
fn mapped_bytes(len: usize) -> Option<NonNull<u8>> {
    use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap};
    let flags = MAP_PRIVATE | MAP_ANONYMOUS;
    // SAFETY: without an address the system chooses one that nothing else uses.
    let start = unsafe { mmap(std::ptr::null_mut(), len, PROT_READ | PROT_WRITE, flags, -1, 0) };
    if start == MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

/// The same from where a huge page may start: what lies before and behind is given back.
#[cfg(target_os = "linux")]
fn aligned(len: usize) -> Option<NonNull<u8>> {
    let all = mapped_bytes(len + HUGE)?;
    let before = all.as_ptr().align_offset(HUGE);
    // SAFETY: `before` < HUGE, so all three addresses are within or at the end of what was just mapped, and nobody has seen its ends.
    unsafe {
        let (start, end) = (all.add(before), all.add(before + len));
        if before > 0 {
            libc::munmap(all.as_ptr().cast(), before);
        }
        libc::munmap(end.as_ptr().cast(), HUGE - before);
        Some(start)
    }
}

impl Range {
    /// Gives the pages back.
    ///
    /// # Safety
    /// Nobody uses them any more.
    unsafe fn unmap(self) {
        mapped().remove(&self.start.as_ptr().addr());
        #[cfg(target_os = "linux")]
        // SAFETY: `zeroed` mapped exactly this, and the caller vouches that nobody uses it.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.len);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let mut unused = vec![self.0];
        if let Some(waiting) = waiting().as_mut() {
            waiting.append(&mut unused);
            let mut bytes: usize = waiting.iter().map(|range| range.len).sum();
            while bytes > KEPT {
                unused.push(waiting.remove(0)); // the oldest
                bytes -= unused[unused.len() - 1].len;
            }
        }
        // SAFETY: these pages were in the hands of this value or of the list, and are in neither any more.
        unused.into_iter().for_each(|range| unsafe { range.unmap() });
    }
}

/// Moves all large buffers into huge pages where the system can; their contents stay. Takes some tenths of a second, which a network that will look at
/// dozens of pictures has back.
pub fn settle() {
    #[cfg(target_os = "linux")]
    const MADV_COLLAPSE: libc::c_int = 25; // since Linux 6.1; the bindings name it for glibc only
    #[cfg(target_os = "linux")]
    for (&start, &len) in mapped().iter() {
        // SAFETY: the lock keeps the pages mapped, and where they lie does not change what a program sees in them.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(start), len, MADV_COLLAPSE) };
    }
}

/// Asks the allocator to give back what has been freed; worth its time after much was, such as the parameters of a network whose layers have
/// packed them. Does nothing where the allocator cannot be asked.
pub fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: changes nothing that the program has allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// From now on, in the whole process, keeps what is freed, also large pieces, and asks the allocator to do so: for training, whose steps ask for the same sizes again and again, and would pay
/// for fresh pages each time.
pub fn keep_freed() {
    waiting().get_or_insert_default();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets three numbers of the allocator and changes nothing that is allocated.
    unsafe {
        // Older versions refuse more than half of an arena's size.
        if libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30) == 0 {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        }
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

#[cfg(test)]
mod tests {
    use crate::buffer::AlignedVec;

    #[test]
    #[cfg(target_os = "linux")]
    fn kept_pages_are_found_again_and_are_zeros() {
        let len = 37 * super::PAGE; // no other test asks for it
        super::keep_freed();
        assert!(super::Pages::kept(len).is_none());
        let pages = super::Pages::zeroed(len).unwrap();
        // SAFETY: the pages are that long, and nobody else's.
        unsafe { pages.start().as_ptr().write_bytes(1, len) };
        let address = pages.start();
        drop(pages);
        let again = super::Pages::kept(len).unwrap();
        assert_eq!(again.start(), address);
        // SAFETY: as above.
        assert!(unsafe { std::slice::from_raw_parts(again.start().as_ptr(), len) }.iter().all(|&b| b == 0));
        drop(again);
        let more = || super::Pages::zeroed(super::KEPT / 3 * 2).unwrap();
        drop((more(), more())); // the oldest make room
        assert!(super::Pages::kept(len).is_none());
    }

    #[test]
    fn what_is_in_large_buffers_outlives_moving_them() {
        let buffers: Vec<AlignedVec> =
            (1..4).map(|i| AlignedVec::from_slice(&vec![i as f32; i << 20])).collect();
        super::settle();
        super::give_back_freed();
        for (i, buffer) in (1..4).zip(&buffers) {
            assert_eq!(buffer.len(), i << 20);
            assert!(buffer.iter().all(|&v| v == i as f32), "buffer {i}");
        }
    }
}
