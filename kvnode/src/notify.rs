//! What the service manager is told. Without one (no `NOTIFY_SOCKET`) every call does nothing.

use sd_notify::NotifyState;

/// Recovered and listening. Not "has a leader": a node that waits for its peers is up, and its status says what it waits for.
pub(crate) fn ready(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub(crate) fn status(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(status)]);
}

/// On the way out.
pub(crate) fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}
