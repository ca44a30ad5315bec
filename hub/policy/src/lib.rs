//! Access rules over principals, data items and time: Cedar policies, asked for a view of history or of live topics.
//! Not for admission: who comes in at all is the registry's.
