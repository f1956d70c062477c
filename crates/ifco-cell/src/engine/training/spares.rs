//! Memory that training uses again and again: taken from the system anew at each step, its pages
//! would be cleared, and found missing one by one, for up to a quarter of the step's time.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::super::buffer::Buffer;

/// Keeps the memory that training has done with, for its next steps, as long as one of these lives.
///
/// Without one, each forward pass and its way back take their memory from the system and give it
/// back.
///
/// ```
/// use ifco_cell::TrainingMemory;
///
/// let kept = TrainingMemory::keep(); // while a model is trained
/// drop(kept);
/// ```
#[derive(Debug, Clone)]
pub struct TrainingMemory(Arc<Spares>);

impl TrainingMemory {
    /// All that are kept at one time share the memory.
    pub fn keep() -> Self {
        static SHARED: Mutex<Weak<Spares>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let spares = shared.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *shared = Arc::downgrade(&new);
            new
        });
        Self(spares)
    }

    /// At least so many values, whatever they are.
    pub(super) fn lend(&self, values: usize) -> Loan {
        let buffer = self.0.take(values);
        Loan {
            buffer: buffer.unwrap_or_else(|| Buffer::lasting_zeros(values)),
            owner: self.clone(),
        }
    }

    /// At least so many zeros.
    pub(super) fn lend_zeros(&self, values: usize) -> Loan {
        let mut loan = self.lend(values);
        loan.as_mut_slice().fill(0.0);
        loan
    }

    /// A copy of these values.
    pub(super) fn lend_copy(&self, values: &[f32]) -> Loan {
        let mut loan = self.lend(values.len());
        loan.as_mut_slice()[..values.len()].copy_from_slice(values);
        loan
    }
}

/// More than a layer has at once.
const MOST: usize = 64;

#[derive(Debug, Default)]
struct Spares(Mutex<Vec<Buffer>>);

impl Spares {
    fn all(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The smallest that is large enough, if it is not much too large.
    fn take(&self, values: usize) -> Option<Buffer> {
        let mut all = self.all();
        let fitting = all.iter().enumerate();
        let fitting = fitting.filter(|(_, buffer)| {
            buffer.len() >= values && buffer.len() / 2 <= values && buffer.len() > 0
        });
        let (best, _) = fitting.min_by_key(|(_, buffer)| buffer.len())?;
        Some(all.swap_remove(best))
    }

    fn give(&self, buffer: Buffer) {
        let mut all = self.all();
        if buffer.len() > 0 && all.len() < MOST {
            all.push(buffer);
        }
    }
}

/// Some memory, until it is given back.
#[derive(Debug)]
pub(super) struct Loan {
    buffer: Buffer,
    owner: TrainingMemory,
}

impl Clone for Loan {
    fn clone(&self) -> Self {
        self.owner.lend_copy(self.as_slice())
    }
}

impl Deref for Loan {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.owner.0.give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_lent_again() {
        let kept = TrainingMemory(Arc::default());
        let first = kept.lend(1000);
        let at = first.as_slice().as_ptr();
        drop(first);
        assert_ne!(kept.lend(100).as_slice().as_ptr(), at, "much too large");
        assert_ne!(kept.lend(2000).as_slice().as_ptr(), at, "too small");
        let mut again = kept.lend(900);
        assert_eq!(again.as_slice().as_ptr(), at);
        again.as_mut_slice().fill(1.0);
        drop(again);
        assert!(
            kept.lend_zeros(900)
                .as_slice()
                .iter()
                .all(|value| *value == 0.0)
        );
    }

    #[test]
    fn those_who_keep_share() {
        let (one, other) = (TrainingMemory::keep(), TrainingMemory::keep());
        assert!(Arc::ptr_eq(&one.0, &other.0));
    }
}
