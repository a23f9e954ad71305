//! Recording: series tables, budgets, operation guards, exemplars and the `signal!` macro.
