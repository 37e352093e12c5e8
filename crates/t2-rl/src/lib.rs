//! placeholder

pub mod corpus;
pub mod pretrain;
pub mod sandbox;
pub mod task;
pub mod tasks;
