//! Memory in whole cache lines.

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Values in a cache line, and in the longest vector.
pub(super) const LINE: usize = 16;

/// Values that begin at a cache line, zeros at first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    pub(crate) fn zeros(values: usize) -> Self {
        let lines = values.div_ceil(LINE);
        let mut memory = Vec::with_capacity(lines);
        want_huge_pages(memory.spare_capacity_mut());
        memory.resize(lines, Line([0.0; LINE]));
        Self(memory)
    }

    /// At least so many values; whatever they are.
    pub(super) fn grow(&mut self, values: usize) {
        let lines = values.div_ceil(LINE);
        if self.0.len() < lines {
            // Not `resize`, which would copy what nobody needs.
            *self = Self::zeros(values);
        }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.0.len() * LINE
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: a Line is LINE values of f32 without anything between them.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.len()) }
    }

    /// Where the values begin: they stay there for as long as the buffer lives and does not
    /// [grow](Self::grow), wherever it is moved.
    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        let len = self.len();
        // SAFETY: a Line is LINE values of f32 without anything between them.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }
}

/// Asks for pages of 2 MiB where memory is large and was not written to yet: the weights of 1024
/// units are 4096 pages of 4 KiB, more than a processor remembers the places of, and each step
/// reads them all.
fn want_huge_pages<T>(memory: &mut [std::mem::MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let range = memory.as_mut_ptr_range();
        let (start, end) = (range.start.addr(), range.end.addr());
        let (first, last) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
        if first < last {
            let at = range.start.wrapping_byte_add(first - start);
            // SAFETY: whole pages of memory that is ours; their contents stay as they are. Where
            // the kernel has no such pages it says so, and nothing is lost.
            unsafe { libc::madvise(at.cast(), last - first, libc::MADV_HUGEPAGE) };
        }
    }
    let _ = memory;
}
