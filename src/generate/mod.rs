//! Renderings of the catalog.
