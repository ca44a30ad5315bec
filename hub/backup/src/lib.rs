//! Backups of a hub or of one tenant: encrypted for their recipients, incremental, verified on restore.
//! Not for replication: a backup is as old as its last run.
