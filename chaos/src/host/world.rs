//! Namespaces: the world a run lives in, and the hosts in it.

use std::fs::File;
use std::io;
use std::thread;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getgid, getuid};

use crate::ending::{Ending, Failure};

/// How we came to be allowed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rights {
    /// We are root here.
    Root,
    /// We are root in a user namespace of our own, and nobody outside.
    UserNamespace,
}

/// Moves this process into network and mount namespaces of its own, and into a user namespace if it takes that.
///
/// It must have one thread only: the kernel moves threads, and those that exist already would stay behind.
pub(crate) fn enter() -> Result<Rights, Failure> {
    let ours = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    let rights = match unshare(ours) {
        Ok(()) => Rights::Root,
        Err(Errno::EPERM) => {
            let (user, group) = (getuid(), getgid());
            unshare(ours | CloneFlags::CLONE_NEWUSER).map_err(|errno| no_world(&errno))?;
            become_root(user.as_raw(), group.as_raw()).map_err(|error| no_world(&error))?;
            Rights::UserNamespace
        }
        Err(errno) => return Err(no_world(&errno)),
    };
    // Otherwise what we mount would appear outside as well.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).map_err(|errno| no_world(&errno))?;
    Ok(rights)
}

/// Who owns files outside owns them inside as root; nobody else exists.
fn become_root(user: u32, group: u32) -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

fn no_world(error: &dyn std::fmt::Display) -> Failure {
    Ending::Unsupported.says(format!("no namespaces of our own ({error}): this takes root, or a kernel that lets users have them"))
}

/// The network of one host. It is gone when the last descriptor and the last process in it are.
#[derive(Debug)]
pub(crate) struct NetNs {
    file: File,
}

impl NetNs {
    /// A new one, and what `setup` makes of it from inside.
    pub(crate) fn make<T: Send + 'static>(setup: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<(NetNs, T)> {
        on_a_thread(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let file = File::open("/proc/thread-self/ns/net")?;
            Ok((NetNs { file }, setup()?))
        })
    }

    /// The one that this thread is in.
    pub(crate) fn current() -> io::Result<NetNs> {
        Ok(NetNs { file: File::open("/proc/thread-self/ns/net")? })
    }

    /// The calling thread moves there; threads and processes that it starts will be there.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.file, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs something inside, on a thread that ends with it.
    pub(crate) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let there = self.try_clone()?;
        on_a_thread(move || {
            there.enter()?;
            work()
        })
    }

    /// The same network.
    pub(crate) fn try_clone(&self) -> io::Result<NetNs> {
        Ok(NetNs { file: self.file.try_clone()? })
    }

    /// Where other programs find it, while this process lives and has it.
    pub(crate) fn path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    thread::spawn(work).join().map_err(|_| io::Error::other("a thread panicked"))?
}
