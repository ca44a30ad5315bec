//! The InfluxDB 2 backend: our own line protocol, and the way to the server. Not for deciding what is stored.
