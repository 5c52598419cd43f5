//! Files to typed values: every error at once, each with file, line and a suggestion.

pub mod resolved;
