//! How each framework packs an LSTM's gates, as one table.
