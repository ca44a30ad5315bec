mod corpus;
mod envelopes;
mod judging;
mod others;
mod properties;
mod roots;
mod signatures;
mod world;
