mod decoding;
mod power;
mod records;
mod seeds;
mod stage;
mod stories;
