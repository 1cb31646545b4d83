//! Calls of clients on their way to nodes, and the answers on theirs.

use wire::client::Reply;

use crate::client::{PATIENCE_US, Step};
use crate::trace::tell;
use crate::words::Answered;
use crate::world::{Event, World};

impl World {
    pub(crate) fn send_call(&mut self, client: usize) {
        let caller = &mut self.clients[client];
        self.report.retries += u64::from(caller.send());
        let (to, request_id, command, attempt) = (caller.target, caller.request_id(), caller.command(), caller.attempt);
        for delay_us in self.delays(false) {
            self.after(delay_us, Event::Request { client, to, request_id, command: command.clone() });
        }
        self.after(PATIENCE_US, Event::Impatient { client, attempt });
    }

    pub(crate) fn answer(&mut self, client: usize, from: usize, request_id: u64, reply: &Reply) {
        self.trace.fact(request_id);
        tell!(self, "n{} -> c{client} {}", from + 1, Answered(reply));
        let caller = &mut self.clients[client];
        match caller.on_reply(request_id, reply) {
            Step::Done => {
                self.report.acknowledged += 1;
                if self.now_us < self.plan.faulty_us {
                    caller.begin_call();
                    self.send_call(client);
                }
            }
            Step::Again(to) if caller.target == from => {
                // A node without a leader answers at once: not quite at once again, or the two spin.
                caller.target = to.unwrap_or((from + 1) % self.hosts.len());
                let attempt = caller.attempt;
                self.after(20_000, Event::Again { client, attempt });
            }
            Step::Again(_) | Step::Ignore => (),
        }
    }
}
