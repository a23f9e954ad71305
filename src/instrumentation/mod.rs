//! Adapters to real libraries.
