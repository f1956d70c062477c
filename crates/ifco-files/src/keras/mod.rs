//! Keras's files, of all three generations.
