//! The log as a whole, on a fake disk: what is found again after a crash, what is refused after damage.

mod common; // a log, and the model that it is compared with

mod crashes; // any crash at any step
mod damage; // what no crash can have done
mod fake; // the disk itself
mod lab_cases; // rows T-60 to T-63, T-65 and T-69
mod running; // reading, sealing, rolling, failing
mod snapshot_crashes; // any crash at any step of those
mod snapshot_model; // a disk with snapshots, and the model that it is compared with
mod snapshots; // taken, received, sent, and what goes from the log for them
mod torn; // the last batch, cut or torn at every byte
