//! Colours that every eye can tell apart, on light and on dark paper.
