mod explaining;
mod faults;
mod live;
mod month;
mod oracle;
mod sets;
