//! The device interface of hawkBit (DDI v1), as its unmodified clients speak it. Not for deciding who gets what: that is
//! `muster-campaign`'s.
