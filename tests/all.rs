//! All integration tests, one binary.

mod damage;
