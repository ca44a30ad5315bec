mod documents;
mod meanings;
mod quirks;
mod rough;
mod world;
