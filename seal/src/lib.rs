//! Sealing to a public key: HPKE (RFC 9180), and `COSE_Encrypt` around it, for payloads that only the tenant's app opens
//! and for backups that only their recipients do. Not for what the hub seals for itself: that is the store's.
