//! The equations, written out plainly in `f64`, one gate a line: the oracle of the tests.
