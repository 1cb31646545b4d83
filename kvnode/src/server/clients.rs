//! What clients may send, and have sent to them: nobody gets so much of either that others go without, and nobody holds what it was
//! given for ever.

use std::time::{Duration, Instant};

use kvnode::Asked;
use wire::limits::READ_BUFFER_LEN;

use super::Server;
use super::connection::{Connection, ConnectionKey, Flow, Left, Party, Why};
use super::limits::{
    CLIENT_REQUEST_MAX, CLIENT_SMALL_REPLY_LEN, CLIENT_STALLED_MAX, CLIENT_STALLED_PRESSED_MAX, CLIENTS_INPUT_BYTES_MAX,
    TURN_CONNECTION_BYTES_MAX, TURN_REQUEST_BYTES_MAX, TURN_SMALL_BYTES_MAX,
};
use super::network::client_id;

impl Server {
    /// Reads a client, as far as it may ask now.
    pub(super) fn serve_client(&mut self, key: ConnectionKey, now: Instant) -> Result<Left, Why> {
        if self.network.clients_input() > CLIENTS_INPUT_BYTES_MAX {
            self.close_unfinished(now);
        }
        let Server { node, network, clock, request_bytes, .. } = self;
        let Some(connection) = network.get_mut(key) else { return Ok(Left::Nothing) };
        let (unsent, pending) = (connection.stream.output.len(), connection.stream.input.pending_len());
        let Party::Client(client) = &mut connection.party else { return Ok(Left::Nothing) };
        if !client.may_ask(unsent) {
            client.paused = true;
            return Ok(Left::Nothing);
        }
        // When the turn is full, a small request still need not wait for as many turns as there are large ones before it.
        let is_full = *request_bytes >= TURN_REQUEST_BYTES_MAX;
        if *request_bytes >= TURN_SMALL_BYTES_MAX || (is_full && pending >= READ_BUFFER_LEN) {
            return Ok(Left::More);
        }
        let share = if is_full { 1 } else { TURN_CONNECTION_BYTES_MAX };
        let now_us = clock.micros(now);
        let (mut paused, mut stopped, mut whole, mut answered) = (false, false, false, false);
        let left = connection.read_share(share, &mut 0, |frame, output, party| {
            let Party::Client(client) = party else { unreachable!("a client stays one") };
            whole = true;
            *request_bytes += frame.body.len();
            match node.client_asks(client_id(key), frame, now_us, output.buffer())? {
                Asked::Taken => client.in_flight += 1,
                Asked::Answered => answered = true,
            }
            paused = !client.may_ask(output.len());
            client.paused = paused;
            stopped = paused || *request_bytes >= TURN_REQUEST_BYTES_MAX;
            Ok(if stopped { Flow::Stop } else { Flow::Next })
        });
        connection.note_request(whole, stopped, now);
        network.recount(key);
        if answered {
            network.mark_unsent(key);
        }
        if paused { left.map(|_| Left::Nothing) } else { left }
    }

    /// Whoever has read makes room for the answers that wait for it.
    pub(super) fn go_on_answering(&mut self) {
        let Server { node, network, .. } = self;
        network.take_room(|key| node.client_has_room(client_id(key)));
    }

    /// Once a second.
    pub(super) fn look_after_clients(&mut self, now: Instant) {
        self.network.release_buffers();
        // While others wait for room, who does not read is given less time.
        let patience = if self.network.is_pressed() { CLIENT_STALLED_PRESSED_MAX } else { CLIENT_STALLED_MAX };
        let late = |since: Instant, max: Duration| now.duration_since(since) >= max;
        let fault = |connection: &Connection| {
            let Party::Client(client) = &connection.party else { return None };
            let output = &connection.stream.output;
            let max = if output.len() > CLIENT_SMALL_REPLY_LEN { patience } else { CLIENT_STALLED_MAX };
            if output.waiting_since().is_some_and(|since| late(since, max)) {
                return Some("it does not read its replies");
            }
            // What it has sent and we have not read is no fault of its own.
            let ours = connection.queued || connection.stream.readable;
            let unfinished = client.unfinished_since.is_some_and(|since| !ours && late(since, CLIENT_REQUEST_MAX));
            unfinished.then_some("it does not finish its request")
        };
        let at_fault: Vec<(ConnectionKey, &str)> =
            self.network.iter().filter_map(|(key, connection)| Some((key, fault(connection)?))).collect();
        for (key, what) in at_fault {
            self.close(key, Why::Bad(what.to_owned()), now);
        }
    }

    /// Requests that are not whole yet hold too much: those that have been so for longest go. Some more than need be, so that not
    /// everything is looked through again for the next one.
    fn close_unfinished(&mut self, now: Instant) {
        let mut unfinished: Vec<(Instant, ConnectionKey)> = self
            .network
            .iter()
            .filter_map(|(key, connection)| match &connection.party {
                Party::Client(client) => Some((client.unfinished_since?, key)),
                _ => None,
            })
            .collect();
        unfinished.sort_unstable();
        for (_, key) in unfinished {
            if self.network.clients_input() <= CLIENTS_INPUT_BYTES_MAX / 4 * 3 {
                return;
            }
            self.close(key, Why::Bad("all requests that are not whole yet hold too much, and its own is the oldest".to_owned()), now);
        }
    }
}
