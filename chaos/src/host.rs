//! The hosts of a run: network namespaces of its own, wired up by us, so that any link between two of them can be broken.
//!
//! `world` makes the run's own namespaces, `people` is the one thread that starts processes in them, `network` wires the hosts up, by
//! one of two backends: `fabric` switches packets itself (TUN devices), `bridge` leaves it to the kernel and its firewall.
//! Everything dies with this process, however it dies: namespaces are held by descriptors and processes, devices by descriptors, and
//! processes by the first one of their pid namespace, which ends when we do. Nothing of the host's own is touched.

pub(crate) mod bridge; // the kernel switches, iptables breaks
pub(crate) mod fabric; // we switch, and break
pub(crate) mod link; // what is wrong with one link, and what that did
pub(crate) mod network; // hosts, their addresses, the links between them
mod packet; // the little of IP and TCP that a switch must know
pub(crate) mod people; // processes
pub(crate) mod programs; // what we run and where it is
pub(crate) mod tun; // a network interface whose other end is a descriptor
pub(crate) mod world; // namespaces
