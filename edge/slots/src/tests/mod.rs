mod decoding;
mod power;
mod records;
mod stage;
mod stories;
