#![doc = include_str!("../README.md")]

pub use burn;
mod error;
pub mod evaluate;
mod event;
pub mod experts;
pub mod export;
pub mod import;
pub mod layer_weights;
mod model;
pub mod pretrain;
mod session;
pub mod source;
mod task;
pub mod train;

pub use error::SessionError;
pub use evaluate::{Examples, Graded, SampleRecord, Samples, Subject};
pub use event::{Event, Watch};
pub use export::{ExportRequest, ExportTo, Exported};
pub use import::ImportRequest;
pub use layer_weights::LayerWeights;
pub use model::{Input, Model, SamplingWishes};
pub use session::{Pool, Session};
pub use source::{Hub, Sources};
pub use task::TaskWishes;
pub use train::{Run, Trained};
