mod store;
pub(crate) mod world;
