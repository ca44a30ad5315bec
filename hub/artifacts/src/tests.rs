mod catalog;
mod store;
pub(crate) mod world;
