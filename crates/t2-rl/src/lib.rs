#![doc = include_str!("../README.md")]

pub mod corpus;
pub mod evaluate;
pub mod metrics;
pub mod policy;
pub mod pretrain;
pub mod rollout;
pub mod sandbox;
pub mod task;
pub mod tasks;
pub mod train;
