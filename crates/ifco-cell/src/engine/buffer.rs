//! Memory in whole cache lines and, where there is much of it, in large pages.
//!
//! A page of 4 KiB lies anywhere in the machine's memory: 512 KiB of weights in such pages compete
//! with each other for places of a cache that could hold twice as much, and the processor
//! remembers only so many pages' places. On Linux buffers that last, such as weights, therefore lie in
//! pages of 2 MiB: those of 2 MiB and more have their own, and smaller ones share one. A buffer of a
//! moment would wait for the system to clear them.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Values in a cache line, and in the longest vector.
pub(super) const LINE: usize = 16;

/// Bytes of a large page. Elsewhere than on Linux nobody gives them for the asking. Few under Miri,
/// whose buffers are small and are to share pages too.
const PAGE: usize = if cfg!(miri) { 8 << 10 } else { 2 << 20 };
const PAGES: bool = cfg!(target_os = "linux");

/// Bytes from which on a buffer is worth a part of a large page: fewer fit into any second cache,
/// wherever they lie.
const WORTH_A_PART: usize = PAGE / 16;

/// Values that begin at a cache line, zeros at first.
#[derive(Debug)]
pub(crate) struct Buffer {
    first: NonNull<Line>,
    lines: usize,
    place: Place,
}

/// Where a buffer lies.
#[derive(Debug)]
enum Place {
    /// Nowhere: it has no values.
    Nowhere,
    /// In memory of its own, of this layout.
    Own(Layout),
    /// In this page, with others.
    Shared(#[allow(dead_code, reason = "lives as long as the buffer")] Arc<Page>),
}

// SAFETY: a buffer is the only one that has its lines.
unsafe impl Send for Buffer {}
// SAFETY: as above; a shared one is only read.
unsafe impl Sync for Buffer {}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            first: NonNull::dangling(),
            lines: 0,
            place: Place::Nowhere,
        }
    }
}

impl Buffer {
    pub(crate) fn zeros(values: usize) -> Self {
        let lines = values.div_ceil(LINE);
        match lines {
            0 => Self::default(),
            lines => Self::own(lines, align_of::<Line>()),
        }
    }

    /// The same for what lasts.
    pub(crate) fn lasting_zeros(values: usize) -> Self {
        let lines = values.div_ceil(LINE);
        match lines.saturating_mul(size_of::<Line>()) {
            WORTH_A_PART..PAGE if PAGES => {
                let (page, first) = Page::part(lines);
                Self::cleared(first, lines, Place::Shared(page))
            }
            PAGE.. if PAGES => Self::own(lines, PAGE),
            _ => Self::zeros(values),
        }
    }

    /// In memory of its own, of at least a line.
    fn own(lines: usize, align: usize) -> Self {
        let layout = Layout::array::<Line>(lines).and_then(|layout| layout.align_to(align));
        // No memory is so large.
        let layout = layout.unwrap_or_else(|_| handle_alloc_error(Layout::new::<Line>()));
        Self::cleared(take(layout).cast(), lines, Place::Own(layout))
    }

    fn cleared(first: NonNull<Line>, lines: usize, place: Place) -> Self {
        // SAFETY: the place is ours, and so large.
        unsafe { first.write_bytes(0, lines) };
        Self {
            first,
            lines,
            place,
        }
    }

    /// At least so many values; whatever they are.
    pub(super) fn grow(&mut self, values: usize) {
        if self.lines < values.div_ceil(LINE) {
            // No copy of what nobody needs.
            *self = Self::lasting_zeros(values);
        }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.lines * LINE
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: a Line is LINE values of f32 without anything between them, all of them written.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr().cast(), self.len()) }
    }

    /// Where the values begin: they stay there for as long as the buffer lives and does not
    /// [grow](Self::grow), wherever it is moved.
    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.first.as_ptr().cast()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as for `as_slice`.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr().cast(), self.len()) }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        // Weights are cloned, and streams: what lasts.
        let mut copy = Self::lasting_zeros(self.len());
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Place::Own(layout) = &self.place {
            // SAFETY: taken with the same layout, by `own`.
            unsafe { dealloc(self.first.as_ptr().cast(), *layout) };
        }
    }
}

/// Memory that nobody has written to.
fn take(layout: Layout) -> NonNull<u8> {
    // SAFETY: nobody asks for no bytes.
    let memory = NonNull::new(unsafe { alloc(layout) });
    let memory = memory.unwrap_or_else(|| handle_alloc_error(layout));
    want_large_pages(memory, layout.size());
    memory
}

/// Asks for large pages where so many bytes that were not written to yet fill some.
fn want_large_pages(memory: NonNull<u8>, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let start = memory.addr().get();
        let first = start.next_multiple_of(PAGE);
        let whole = (start + bytes).saturating_sub(first) / PAGE * PAGE;
        if whole > 0 {
            let at = memory.as_ptr().wrapping_add(first - start);
            // SAFETY: whole pages of memory that is ours; their contents stay as they are. Where
            // the kernel has no such pages it says so, and nothing is lost.
            unsafe { libc::madvise(at.cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    let _ = (memory, bytes);
}

/// A large page that several buffers share, and that is given back with the last of them.
#[derive(Debug)]
struct Page(NonNull<Line>);

// SAFETY: nobody reaches the memory through the page: each buffer has lines of its own.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

/// The page that is being filled, and how many of its lines are taken.
static CURRENT: Mutex<(Weak<Page>, usize)> = Mutex::new((Weak::new(), 0));

impl Page {
    const LINES: usize = PAGE / size_of::<Line>();
    const LAYOUT: Layout = match Layout::from_size_align(PAGE, PAGE) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    };

    /// So many lines, at most [`LINES`](Self::LINES), that nobody else has, for as long as the page
    /// lives.
    fn part(lines: usize) -> (Arc<Self>, NonNull<Line>) {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let there = current.0.upgrade();
        let there = there.filter(|_| Self::LINES - current.1 >= lines);
        let page = there.unwrap_or_else(|| {
            let page = Arc::new(Page(take(Self::LAYOUT).cast()));
            *current = (Arc::downgrade(&page), 0);
            page
        });
        // SAFETY: the page has so many lines from there on.
        let first = unsafe { page.0.add(current.1) };
        current.1 += lines;
        (page, first)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: taken with the same layout, by `part`; no buffer has a part of it any more.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::LAYOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 7] = match cfg!(miri) {
        true => [0, 1, 100, 160, 400, 2000, 2400],
        false => [0, 1, 1000, 40_000, 100_000, 500_000, 600_000],
    };

    #[test]
    fn values_are_zeros_that_begin_at_a_line() {
        let both = SIZES.map(|values| (values, Buffer::zeros(values)));
        let both = both
            .into_iter()
            .chain(SIZES.map(|values| (values, Buffer::lasting_zeros(values))));
        for (values, buffer) in both {
            assert_eq!(buffer.len(), values.next_multiple_of(LINE));
            assert!(buffer.as_slice().iter().all(|value| *value == 0.0));
            assert!(buffer.as_slice().as_ptr().addr().is_multiple_of(64));
        }
    }

    #[test]
    fn each_buffer_has_its_own_values() {
        let sizes = SIZES.into_iter().chain([SIZES[4] * 3 / 5; 20]);
        let mut buffers: Vec<Buffer> = sizes.map(Buffer::lasting_zeros).collect();
        let fill = |buffers: &mut [Buffer], add: f32| {
            for (number, buffer) in buffers.iter_mut().enumerate() {
                buffer.as_mut_slice().fill(number as f32 + add);
            }
        };
        let check = |buffers: &[Buffer], add: f32| {
            for (number, buffer) in buffers.iter().enumerate() {
                let right = number as f32 + add;
                assert!(buffer.as_slice().iter().all(|value| *value == right));
            }
        };
        fill(&mut buffers, 0.0);
        let copies = buffers.clone();
        fill(&mut buffers, 0.5);
        check(&copies, 0.0);
        // Those that stay keep theirs when others go, and new ones come in their place.
        buffers.truncate(12);
        let mut more = copies.clone();
        fill(&mut more, 0.25);
        check(&buffers, 0.5);
        check(&copies, 0.0);
    }

    #[test]
    fn growing_never_shrinks() {
        let mut buffer = Buffer::zeros(100);
        buffer.as_mut_slice().fill(1.0);
        buffer.grow(50);
        assert_eq!(buffer.as_slice()[0], 1.0);
        buffer.grow(SIZES[4]);
        assert!(buffer.len() >= SIZES[4]);
    }
}
