//! Layer 1: text → [`plan::Plan`], or every problem at once.

pub mod plan;
pub mod problem;
