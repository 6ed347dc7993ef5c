//! Clients and applications: the requests, and the work they make.

pub mod service;
pub mod traffic;

#[cfg(test)]
mod tests;
