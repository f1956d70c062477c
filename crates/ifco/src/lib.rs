//! ifco
