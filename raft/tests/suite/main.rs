//! Everything that is tested through the crate's own door. One binary: the cluster that all of it runs on is compiled once.

mod cluster;
mod disk;
mod hostile;
mod lab_elections;
mod lab_replication;
mod lab_snapshots;
mod lab_snapshots_rounds;
mod properties;
mod rules;
mod scripts;
mod snapshots;
mod words;
