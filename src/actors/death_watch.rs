//! Tells the supervisor that an actor has ended, whether it stopped or panicked: actix restarts nobody by itself.

use actix::Addr;

use super::supervisor::{ChildExited, ChildKey, Supervisor};

/// A field of every child; dropping it is the message.
pub struct DeathWatch {
    supervisor: Addr<Supervisor>,
    child: ChildKey,
}

impl DeathWatch {
    /// Watches `child` for `supervisor`.
    pub fn new(supervisor: Addr<Supervisor>, child: ChildKey) -> Self {
        Self { supervisor, child }
    }
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        // The one place where `do_send` is right: a destructor cannot wait, and there is at most one such message
        // per child.
        self.supervisor.do_send(ChildExited { child: self.child, panicked: std::thread::panicking() });
    }
}
