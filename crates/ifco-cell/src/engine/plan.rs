//! How a forward pass is divided: rows into blocks, time into chunks, work among threads.
//!
//! Nothing here changes a result: each sum is the same chain of operations in every plan.

use super::cell::{PackedCell, Projection, spread};

/// Rows of the batch that go through all steps together: their states stay in the cache, and the
/// weights are read once for all of them.
const BLOCK_ROWS: usize = 64;

/// Up to this many rows, x·W of many steps is one product: a few rows alone would read all of W for
/// little work. Of more rows the sums' way through memory costs more than W does.
const FEW_ROWS: usize = 3;

/// Rows times steps of such a product.
const HOISTED_ROWS: usize = 64;

/// Bytes of weights that a core is sure to keep near: beyond it, threads share the units and not the
/// rows.
const NEAR_BYTES: usize = 768 << 10;

/// Bytes of weights that several cores read from the cache they share, each all of them, sooner than
/// they wait for each other, where each has so many rows.
const SHARED_BYTES: usize = 4 << 20;
const SHARED_ROWS: usize = 4;

/// Multiply-adds that make a second thread worth waking.
const THREAD_WORK: usize = 1 << 20;

/// Multiply-adds of a step for each thread that make it worth waiting for each other.
const STEP_WORK: usize = 30_000;

/// The same for two threads that hear of each other fast.
const NEAR_STEP_WORK: usize = 4_500;

/// What the members of a team share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// Each has rows of the batch, and needs nobody else.
    Rows,
    /// Each has units, and they wait for each other after every step.
    Units,
}

/// The division of one forward pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) members: usize,
    pub(super) split: Split,
    /// Rows of a block at most.
    pub(super) block_rows: usize,
    /// Steps of a chunk at most.
    pub(super) steps: usize,
    /// Whether x·W is computed for a whole chunk before its steps.
    pub(super) hoisted: bool,
}

/// What a plan depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) batch: usize,
    pub(super) time: usize,
    /// Multiply-adds for one row and step, and those of them that the recurrent weights take;
    /// of narrower weights than `f32`, of which one instruction takes more, those that take as long.
    pub(super) per_row: usize,
    pub(super) recurrent_per_row: usize,
    /// Bytes of all weights.
    pub(super) bytes: usize,
    /// Whether all cells' gates become states block by block of units.
    pub(super) by_units: bool,
    /// Panels of the cell that has the fewest.
    pub(super) panels: usize,
}

impl Work {
    pub(super) fn of(cells: &[PackedCell], batch: usize, time: usize) -> Self {
        let sum = |of: fn(&PackedCell) -> usize| cells.iter().map(of).sum::<usize>();
        let recurrent = sum(PackedCell::recurrent_bytes);
        let bytes = recurrent + sum(PackedCell::kernel_bytes);
        Self {
            batch,
            time,
            per_row: bytes / size_of::<f32>(),
            recurrent_per_row: recurrent / size_of::<f32>(),
            bytes,
            by_units: cells.iter().all(|cell| cell.equations.is_some()),
            panels: cells
                .iter()
                .map(|cell| cell.gates.layout.panels())
                .min()
                .unwrap_or(0),
        }
    }

    /// How many threads are worth it, of so many that there are, and what each would have; `near`
    /// says whether two of them hear of each other fast.
    pub(super) fn split(&self, threads: usize, near: impl Fn() -> bool) -> (usize, Split) {
        let alone = (1, Split::Rows);
        let steps = self.batch.saturating_mul(self.time);
        let worth = steps.saturating_mul(self.per_row) / THREAD_WORK;
        let threads = threads.min(worth.max(1));
        if threads < 2 || self.batch == 0 {
            return alone;
        }
        let by_rows = (threads.min(self.batch / 2), Split::Rows);
        let step = self.batch.min(BLOCK_ROWS) * self.recurrent_per_row;
        let members = match step / STEP_WORK {
            0 | 1 if by_rows.0 < 2 && step / NEAR_STEP_WORK >= 2 && near() => 2,
            members => members,
        };
        let by_units = match self.by_units {
            true => (threads.min(self.panels).min(members), Split::Units),
            false => alone,
        };
        let fits = self.bytes <= NEAR_BYTES
            || self.bytes <= SHARED_BYTES && self.batch >= SHARED_ROWS * threads
            || self.batch >= 2 * BLOCK_ROWS;
        let first = match fits || by_units.0 < 2 {
            true => by_rows,
            false => by_units,
        };
        let best = if first.0 >= threads || first.0 >= by_units.0 {
            first
        } else {
            by_units
        };
        if best.0 < 2 { alone } else { best }
    }

    /// The plan for a team of so many members.
    pub(super) fn plan(&self, members: usize, split: Split) -> Plan {
        let rows = match split {
            Split::Rows => self.batch.div_ceil(members.max(1)),
            Split::Units => self.batch,
        };
        let block_rows = rows.clamp(1, BLOCK_ROWS);
        let hoisted = block_rows <= FEW_ROWS;
        let steps = match hoisted {
            true => (HOISTED_ROWS / block_rows).clamp(1, self.time.max(1)),
            false => 1,
        };
        Plan {
            members,
            split,
            block_rows,
            steps,
            hoisted,
        }
    }
}

/// Where the parts of the scratch begin, in values.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Per cell, for all members of a block.
    pub(super) cells: Vec<CellScratch>,
    /// The outputs of the latest step, where a mask makes them other than h.
    pub(super) last: usize,
    /// All that the members of a block share.
    pub(super) shared: usize,
    /// Of each member: x, the sums of x·W, of a step, and of a row.
    pub(super) x: usize,
    pub(super) z: usize,
    pub(super) sums: usize,
    pub(super) row: usize,
    /// What is projected, of all rows, and as the product reads it, where it is converted.
    pub(super) shown: usize,
    pub(super) narrow_shown: usize,
    /// x and h as the products read them, where they are converted.
    pub(super) narrow_x: usize,
    pub(super) narrow_h: usize,
    /// All that a member has alone.
    pub(super) own: usize,
    /// From one row of x to the next.
    pub(super) x_stride: usize,
}

/// Of one cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellScratch {
    /// h before the chunk and after each of its steps: `[step][row][unit]`.
    pub(super) h: usize,
    /// Values of a step of h, for as many rows as a block may have.
    pub(super) slot: usize,
    /// `[row][unit]`
    pub(super) c: usize,
}

impl Scratch {
    pub(super) fn of(cells: &[PackedCell], plan: &Plan) -> Self {
        let rows = plan.block_rows;
        let mut end = 0;
        let mut take = |values: usize| {
            let start = end;
            end += values.next_multiple_of(super::buffer::LINE);
            start
        };
        let places = cells
            .iter()
            .map(|cell| CellScratch {
                h: take((plan.steps + 1) * rows * cell.stride),
                slot: rows * cell.stride,
                c: take(rows * cell.stride),
            })
            .collect();
        let last = take(rows * cells.last().map_or(0, |cell| cell.stride));
        let shared = take(0);

        let most = |of: &dyn Fn(&PackedCell) -> usize| cells.iter().map(of).max().unwrap_or(0);
        let all = |cell: &PackedCell| {
            let candidate = cell.candidate.as_ref();
            let extra = candidate.map_or(0, |gemm| gemm.layout.panels() * gemm.layout.width());
            let gates = cell.gates.layout.panels() * cell.gates.layout.width() + extra;
            let projected = cell.projection.as_ref();
            gates.max(projected.map_or(0, |of| of.layout.panels() * of.layout.width()))
        };
        let x_stride = spread(cells.first().map_or(0, |cell| cell.features));
        let x = take(plan.steps * rows * x_stride);
        let z = take(plan.steps * rows * most(&all));
        let sums = take(rows * most(&all));
        let row = take(most(&|cell| 8 * cell.stride));
        let of_projection = |of: fn(&PackedCell, &Projection) -> usize| {
            most(&|cell| cell.projection.as_ref().map_or(0, |it| of(cell, it)))
        };
        let shown = take(rows * of_projection(|cell, _| cell.stride));
        let narrow_shown = take(rows * of_projection(|_, it| it.panels.row_stride()));
        let narrow_x = take(plan.steps * rows * most(&|cell| cell.gates.kernel.row_stride()));
        let narrow_h = take(rows * most(&|cell| cell.gates.recurrent.row_stride()));
        let own = take(0) - shared;
        Self {
            cells: places,
            last,
            shared,
            x: x - shared,
            z: z - shared,
            sums: sums - shared,
            row: row - shared,
            shown: shown - shared,
            narrow_shown: narrow_shown - shared,
            narrow_x: narrow_x - shared,
            narrow_h: narrow_h - shared,
            own,
            x_stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row through 100 steps of an LSTM with as many features as units.
    fn row_of(units: usize) -> Work {
        let per_row = 8 * units * units;
        Work {
            batch: 1,
            time: 100,
            per_row,
            recurrent_per_row: per_row / 2,
            bytes: per_row * size_of::<f32>(),
            by_units: true,
            panels: units.div_ceil(16),
        }
    }

    #[test]
    fn threads_share_a_batch_by_rows_where_the_weights_are_near_enough() {
        let split = |batch, units| {
            let work = Work {
                batch,
                ..row_of(units)
            };
            work.split(2, || true)
        };
        assert_eq!(split(2, 128), (2, Split::Units));
        assert_eq!(split(32, 128), (2, Split::Rows));
        assert_eq!(split(4, 256), (2, Split::Units));
        assert_eq!(split(8, 256), (2, Split::Rows));
        assert_eq!(split(32, 512), (2, Split::Units));
        assert_eq!(split(128, 512), (2, Split::Rows));
    }

    #[test]
    fn threads_share_the_units_of_a_step_that_is_worth_it() {
        let members = |units: usize, threads: usize, near: bool| {
            let (members, split) = row_of(units).split(threads, || near);
            assert_eq!(split == Split::Units, members > 1, "{units} units");
            members
        };
        for near in [false, true] {
            assert_eq!(members(32, 2, near), 1);
            assert_eq!(members(128, 1, near), 1);
            assert_eq!(members(128, 2, near), 2);
            assert_eq!(members(1024, 8, near), 8);
        }
        // Half of 64 units' weights is what a core keeps nearest.
        assert_eq!(members(64, 2, false), 1);
        assert_eq!(members(64, 2, true), 2);
        assert_eq!(members(64, 8, true), 2);
    }
}
