//! Memory in whole cache lines.

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Values in a cache line, and in the longest vector.
pub(super) const LINE: usize = 16;

/// Values that begin at a cache line, zeros at first.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffer(Vec<Line>);

impl Buffer {
    pub(super) fn zeros(values: usize) -> Self {
        Self(vec![Line([0.0; LINE]); values.div_ceil(LINE)])
    }

    /// At least so many values; whatever they are.
    pub(super) fn grow(&mut self, values: usize) {
        let lines = values.div_ceil(LINE);
        if self.0.len() < lines {
            // Not `resize`, which would copy what nobody needs.
            self.0 = vec![Line([0.0; LINE]); lines];
        }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.0.len() * LINE
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        // SAFETY: a Line is LINE values of f32 without anything between them.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.len()) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        let len = self.len();
        // SAFETY: a Line is LINE values of f32 without anything between them.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }
}
