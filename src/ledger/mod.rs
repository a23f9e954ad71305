//! The durable record of what agents did, on sqlx.
