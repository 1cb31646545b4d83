//! The whole system, as its users meet it: real processes, real disks, real signals. One program, so that it is linked once; a module
//! per promise.

mod acknowledged; // nothing acknowledged is lost or doubled, whoever is killed
mod apply_trace; // what nodes say they applied
mod bad_input; // named, and nothing lost
mod bench; // what a failover costs those who write meanwhile
mod command_line; // what is typed wrongly is named
mod crowds; // many sessions, many connections
mod data_directory; // whose directory it is, and who has it open
mod disks; // nothing is acknowledged before a majority's disks have it
mod diverged; // a replica that differs stops
mod endpoints; // a client reaches the cluster through whichever node answers
mod exit_codes; // each from a situation that deserves it
mod floods; // clients that take and do not give
mod ipv6; // every address of another family
mod labs_kv; // the labs' key/value cases
mod labs_locks; // the labs' lock, made of conditional puts
mod labs_puts; // the labs' conditional puts
mod labs_raft; // the labs' raft cases that are about real connections
mod labs_rsm; // the labs' replicated counter
mod labs_scan; // the labs' scans among puts
mod labs_snapshots; // the labs' cases that are about snapshots alone
mod limits; // what does not fit is refused, and room that is made is used
mod load_resumed; // a load goes on while what it sent before is still on its way
mod many_keys; // loaded, dumped, scanned and swapped while nodes die
mod paused; // a leader that slept answers nothing stale
mod quiet; // a healthy node is one thread that has nothing to say
mod quorum; // without a majority nothing is promised; a wiped disk is no member
mod resumed; // an unknown outcome is settled, at most once
mod simulated_disks; // the programs read what simulated nodes have written
mod snapshot_room; // a disk with room for the log and none for a snapshot
mod snapshots; // a short log, fast restarts, laggards caught up
mod storm; // everything at once
mod strangers; // bytes that no program of ours would send
mod systemd; // nodes as services
mod tour; // what the README shows
mod values; // keys and values of any bytes, up to their limits
