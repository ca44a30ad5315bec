mod power;
mod records;
mod stage;
