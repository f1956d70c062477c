//! The fast forward pass on packed weights.

#![allow(unsafe_code, dead_code)]

pub(crate) mod simd;
