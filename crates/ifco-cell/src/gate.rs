//! The gates, by name and by column.

use std::ops::Range;

/// One of the four gates of an LSTM, in the order in which Keras packs them: i f c o.
///
/// ```
/// use ifco_cell::Gate;
/// assert_eq!(Gate::Forget.columns(8), 8..16); // kernel[:, 8:16] in a layer of 8 units
/// assert_eq!(Gate::Forget.letter(), 'f');
/// assert_eq!(Gate::Forget.name(), "forget gate");
/// assert_eq!(Gate::ALL.map(Gate::letter), ['i', 'f', 'c', 'o']);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// i: how much of the candidate enters the cell.
    Input,
    /// f: how much of the old cell state stays.
    Forget,
    /// c (g, z or j elsewhere): the candidate that is offered to the cell.
    Cell,
    /// o: how much of the cell is shown as the hidden state.
    Output,
}

impl Gate {
    /// Every gate in Keras's order.
    pub const ALL: [Gate; 4] = [Gate::Input, Gate::Forget, Gate::Cell, Gate::Output];

    /// Keras's letter for it: `i`, `f`, `c` or `o`.
    pub fn letter(self) -> char {
        match self {
            Gate::Input => 'i',
            Gate::Forget => 'f',
            Gate::Cell => 'c',
            Gate::Output => 'o',
        }
    }

    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Gate::Input => "input gate",
            Gate::Forget => "forget gate",
            Gate::Cell => "cell candidate",
            Gate::Output => "output gate",
        }
    }

    /// Its columns in Keras's fused `kernel`, `recurrent_kernel` and `bias`.
    pub fn columns(self, units: usize) -> Range<usize> {
        let first = self as usize * units;
        first..first + units
    }
}

/// One of the three gates of a GRU, in the order in which Keras packs them: z r h.
///
/// ```
/// use ifco_cell::GruGate;
/// assert_eq!(GruGate::Reset.columns(8), 8..16); // kernel[:, 8:16] in a layer of 8 units
/// assert_eq!(GruGate::Reset.name(), "reset gate");
/// assert_eq!(GruGate::ALL.map(GruGate::letter), ['z', 'r', 'h']);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GruGate {
    /// z: how much of the old hidden state stays.
    Update,
    /// r: how much of the old hidden state the candidate sees.
    Reset,
    /// h: the candidate.
    Candidate,
}

impl GruGate {
    /// Every gate in Keras's order.
    pub const ALL: [GruGate; 3] = [GruGate::Update, GruGate::Reset, GruGate::Candidate];

    /// Keras's letter for it: `z`, `r` or `h`.
    pub fn letter(self) -> char {
        match self {
            GruGate::Update => 'z',
            GruGate::Reset => 'r',
            GruGate::Candidate => 'h',
        }
    }

    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            GruGate::Update => "update gate",
            GruGate::Reset => "reset gate",
            GruGate::Candidate => "candidate",
        }
    }

    /// Its columns in Keras's fused `kernel`, `recurrent_kernel` and `bias`.
    pub fn columns(self, units: usize) -> Range<usize> {
        let first = self as usize * units;
        first..first + units
    }
}
