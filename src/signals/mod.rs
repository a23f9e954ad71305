//! The declarations, one file per domain.
