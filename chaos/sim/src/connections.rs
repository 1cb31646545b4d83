//! Connections from clerks to nodes: bytes arrive in order, in pieces, late; when a connection breaks, what was under way on it may be
//! lost. At the nodes' end is as little as the server has there: frames become requests, replies become frames.

use std::collections::VecDeque;

use kvcli::Reason;
use kvcli::core::ConnectionId;
use kvnode::ClientId;
use wire::client::Reply;
use wire::frame::FrameBuffer;
use wire::hello::Hello;
use wire::limits::{FRAME_BODY_LEN_MAX, HELLO_BODY_LEN_MAX};

use crate::cluster::NOBODY;
use crate::trace::tell;
use crate::words::{Answered, Asked};
use crate::world::{Event, World};

/// Something that happens to a connection, known by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Wire {
    /// The wish to connect reaches the node's machine.
    Knock(u64),
    /// The clerk hears that it is connected.
    Connected(u64),
    /// Bytes reach the node.
    Up(u64),
    /// Bytes reach the clerk.
    Down(u64),
    /// The clerk hears that it is over.
    Over(u64),
}

/// By number, from 1 on: those that are still open.
#[derive(Default)]
pub(crate) struct Connections(Vec<Option<Box<Connection>>>);

struct Connection {
    clerk: u64,
    id: ConnectionId,
    node: usize,
    /// The process that it was accepted for; 0: none yet.
    life: u64,
    up: Pipe,
    down: Pipe,
    /// The clerk has closed it, or is gone; what it had sent may still arrive.
    is_left: bool,
    /// What the node has received and not understood yet, while its end is open.
    input: Option<Input>,
    why_over: &'static str,
}

impl Connections {
    fn add(&mut self, connection: Connection) -> u64 {
        self.0.push(Some(Box::new(connection)));
        self.0.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Connection> {
        self.0.get(place(number))?.as_deref()
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Connection> {
        self.0.get_mut(place(number))?.as_deref_mut()
    }

    fn remove(&mut self, number: u64) -> Option<Box<Connection>> {
        self.0.get_mut(place(number))?.take()
    }

    fn input(&mut self, number: u64) -> Option<&mut Input> {
        self.get_mut(number)?.input.as_mut()
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &Connection)> {
        (1..).zip(&self.0).filter_map(|(number, open)| open.as_deref().map(|connection| (number, connection)))
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number.wrapping_sub(1)).unwrap_or(usize::MAX)
}

struct Input {
    buffer: FrameBuffer,
    is_greeted: bool,
}

impl Default for Input {
    fn default() -> Input {
        Input { buffer: FrameBuffer::new(HELLO_BODY_LEN_MAX), is_greeted: false }
    }
}

/// One direction.
#[derive(Default)]
struct Pipe {
    /// Bytes, and when they arrive: never before those in front of them.
    pieces: VecDeque<(u64, Vec<u8>)>,
    /// An event will bring the first of them.
    is_flowing: bool,
}

impl Pipe {
    /// When the next bytes arrive; `None`: an event for earlier ones is due first.
    fn push(&mut self, bytes: Vec<u8>, at_us: u64) -> Option<u64> {
        let at_us = self.pieces.back().map_or(at_us, |(last_us, _)| at_us.max(*last_us));
        self.pieces.push_back((at_us, bytes));
        (!std::mem::replace(&mut self.is_flowing, true)).then_some(at_us)
    }
}

/// A machine that does not answer is asked again behind so much.
const KNOCK_AGAIN_US: u64 = 100_000;

impl World {
    /// How long anything between clerks and nodes takes, microseconds.
    fn wire_delay_us(&mut self) -> u64 {
        let workload = &self.plan.workload;
        let rng = &mut self.clerks.rng;
        if let Some(conditions) = &self.conditions {
            return rng.u64(conditions.way_us.clone());
        }
        if self.calm {
            return rng.u64(50..1_000);
        }
        if rng.f64() < workload.stall { rng.u64(20_000..1_500_000) } else { rng.u64(50..=workload.delay_us_max.max(51)) }
    }

    pub(crate) fn dial(&mut self, clerk: u64, id: ConnectionId, address: &str) -> u64 {
        let name = address.strip_suffix(":7117").and_then(|host| host.strip_prefix('n')).and_then(|id| id.parse::<usize>().ok());
        let node = name.expect("an address that a node has announced") - 1;
        let (up, down) = (Pipe::default(), Pipe::default());
        let connection = Connection { clerk, id, node, life: 0, up, down, is_left: false, input: None, why_over: "" };
        let number = self.clerks.connections.add(connection);
        let delay_us = self.wire_delay_us();
        self.after(delay_us, Event::Wire(Wire::Knock(number)));
        number
    }

    /// How long a request or an answer takes. `None`: a script's network has lost it, and the connection with it, so that the caller hears
    /// of it at once: as in the labs.
    fn call_delay_us(&mut self, number: u64, is_answer: bool) -> Option<u64> {
        let Some(conditions) = &self.conditions else { return Some(self.wire_delay_us()) };
        let delay_us = conditions.call_delay_us(is_answer, &mut self.clerks.rng);
        if delay_us.is_none() {
            self.end_connection(number, "reset on its way");
        }
        delay_us
    }

    /// Bytes from a clerk.
    pub(crate) fn send_up(&mut self, number: u64, bytes: Vec<u8>) {
        let Some(delay_us) = self.call_delay_us(number, false) else { return };
        let at_us = self.now_us + delay_us;
        let Some(connection) = self.clerks.connections.get_mut(number) else { return };
        if let Some(at_us) = connection.up.push(bytes, at_us) {
            self.after(at_us - self.now_us, Event::Wire(Wire::Up(number)));
        }
    }

    /// A node answers. The connection may be gone.
    pub(crate) fn answer(&mut self, client: ClientId, request_id: u64, reply: &Reply) {
        if client == NOBODY {
            self.clerks.told.insert(request_id, reply.clone());
            return;
        }
        let Some(connection) = self.clerks.connections.get(client.0) else { return };
        let (node, clerk) = (connection.node, connection.clerk);
        tell!(self, "n{} -> c{clerk} {}", node + 1, Answered(reply));
        let mut bytes = Vec::new();
        wire::encode_reply(request_id, reply, &mut bytes);
        self.send_down(client.0, bytes);
    }

    fn send_down(&mut self, number: u64, bytes: Vec<u8>) {
        let Some(delay_us) = self.call_delay_us(number, true) else { return };
        let at_us = self.now_us + delay_us;
        let Some(connection) = self.clerks.connections.get_mut(number) else { return };
        if connection.is_left {
            return;
        }
        if let Some(at_us) = connection.down.push(bytes, at_us) {
            self.after(at_us - self.now_us, Event::Wire(Wire::Down(number)));
        }
    }

    pub(crate) fn handle_wire(&mut self, event: Wire) {
        let (Wire::Knock(number) | Wire::Connected(number) | Wire::Up(number) | Wire::Down(number) | Wire::Over(number)) = event;
        let Some(connection) = self.clerks.connections.get(number) else { return };
        let (clerk, node) = (connection.clerk, connection.node);
        let is_cut = !self.calm && self.clerks.is_cut(clerk, node);
        // While a majority must serve, clerks reach nobody else.
        if is_cut || !self.core.contains(&node) {
            // Nobody hears of it: what is sent again later may arrive.
            let delay_us = self.clerks.rng.u64(20_000..200_000);
            return self.after(delay_us, Event::Wire(event));
        }
        match event {
            Wire::Knock(_) => self.knock(number),
            Wire::Connected(_) => self.tell_connected(number),
            Wire::Up(_) => self.flow_up(number),
            Wire::Down(_) => self.flow_down(number),
            Wire::Over(_) => self.tell_over(number),
        }
    }

    fn knock(&mut self, number: u64) {
        let refusal = if self.calm { 0.0 } else { self.plan.workload.refusal };
        let is_refused = self.clerks.rng.f64() < refusal;
        let delay_us = self.wire_delay_us();
        let Some(connection) = self.clerks.connections.get_mut(number) else { return };
        let host = &self.hosts[connection.node];
        if host.is_off {
            // Nothing there so much as refuses: the knock is repeated.
            return self.after(delay_us + KNOCK_AGAIN_US, Event::Wire(Wire::Knock(number)));
        }
        // The kernel accepts for a process that is paused.
        if host.process.is_none() || is_refused {
            connection.why_over = "";
            return self.after(delay_us, Event::Wire(Wire::Over(number)));
        }
        connection.life = host.life;
        connection.input = Some(Input::default());
        self.after(delay_us, Event::Wire(Wire::Connected(number)));
    }

    fn tell_connected(&mut self, number: u64) {
        let Some(connection) = self.clerks.connections.get(number) else { return };
        let (clerk, id) = (connection.clerk, connection.id);
        self.tell(clerk, |core, now_us| core.connected(now_us, id));
    }

    fn flow_up(&mut self, number: u64) {
        let connection = self.clerks.connections.get_mut(number).expect("it was looked up");
        let (clerk, node, life) = (connection.clerk, connection.node, connection.life);
        let host = &self.hosts[node];
        if host.deaf_until_us > self.now_us {
            return self.hosts[node].inbox.push(Event::Wire(Wire::Up(number)));
        }
        if host.process.is_none() || host.life != life {
            return; // the clerk will hear of it
        }
        if connection.up.pieces.is_empty() {
            connection.up.is_flowing = false;
            return self.leave_if_empty(number);
        }
        let bytes = take_piece(&mut connection.up, &mut self.clerks.rng, self.calm);
        self.flow_on(number, |connection| &mut connection.up, Wire::Up(number));
        if let Some(input) = self.clerks.connections.input(number) {
            let mut taken = std::mem::take(input);
            self.trace.bytes(&bytes);
            self.read(number, (clerk, node), &mut taken, &bytes);
            // Its process may have ended over what it read, and with that the connection.
            if let Some(input) = self.clerks.connections.input(number) {
                *input = taken;
            }
        }
        self.leave_if_empty(number);
    }

    fn flow_down(&mut self, number: u64) {
        let connection = self.clerks.connections.get_mut(number).expect("it was looked up");
        let (clerk, id, node) = (connection.clerk, connection.id, connection.node);
        if connection.down.pieces.is_empty() {
            connection.down.is_flowing = false;
            return; // lost with the connection
        }
        let bytes = take_piece(&mut connection.down, &mut self.clerks.rng, self.calm);
        self.flow_on(number, |connection| &mut connection.down, Wire::Down(number));
        self.trace.bytes(&bytes);
        self.clerks.hears(clerk, node);
        self.tell(clerk, |core, now_us| core.received(now_us, id, &bytes));
    }

    /// What is still in the pipe arrives later.
    fn flow_on(&mut self, number: u64, pipe: impl Fn(&mut Connection) -> &mut Pipe, event: Wire) {
        let Some(connection) = self.clerks.connections.get_mut(number) else { return };
        let pipe = pipe(connection);
        match pipe.pieces.front().map(|(at_us, _)| *at_us) {
            Some(at_us) => self.after(at_us.saturating_sub(self.now_us), Event::Wire(event)),
            None => pipe.is_flowing = false,
        }
    }

    /// The node's end.
    fn read(&mut self, number: u64, (clerk, node): (u64, usize), input: &mut Input, bytes: &[u8]) {
        input.buffer.push(bytes);
        while let Some(frame) = input.buffer.next().expect("what a clerk sends are frames") {
            if input.is_greeted {
                let (request_id, request) = wire::decode_request(frame).expect("what a clerk asks is known");
                tell!(self, "c{clerk} -> n{} {}", node + 1, Asked(&request));
                self.note_request(&request);
                self.checker.asked(self.hosts[node].identity.node, ClientId(number), request_id, &request);
                let now_us = self.hosts[node].clock.micros(self.now_us);
                self.hand_in(node, |node| {
                    let asked = node.client_asks(ClientId(number), frame, now_us, &mut Vec::new());
                    assert_eq!(asked, Ok(kvnode::Asked::Taken), "what a clerk asks is known");
                });
                continue;
            }
            let Ok(Hello::Client { cluster_id }) = wire::decode_hello(frame) else { panic!("a clerk greets as one") };
            let Some((running, _)) = &self.hosts[node].process else { return };
            let welcome = running.client_greeted(cluster_id).expect("there is only one cluster here");
            let mut answer = Vec::new();
            wire::encode_welcome(&welcome, &mut answer);
            self.send_down(number, answer);
            input.is_greeted = true;
            input.buffer.set_body_len_max(FRAME_BODY_LEN_MAX);
        }
    }

    /// A process has ended: its kernel closes its connections, and what is under way may be lost.
    pub(crate) fn reset_connections_of(&mut self, node: usize) {
        let life = self.hosts[node].life;
        let theirs = |(_, connection): &(u64, &Connection)| connection.node == node && connection.life == life;
        let numbers: Vec<u64> = self.clerks.connections.iter().filter(theirs).map(|(number, _)| number).collect();
        for number in numbers {
            self.end_connection(number, "reset by the node's machine");
        }
    }

    /// A connection breaks in between; both ends hear of it.
    pub(crate) fn break_connection_of_clerk(&mut self, clerk: u64) {
        let numbers: Vec<u64> = self.clerks.connections_of(clerk);
        if numbers.is_empty() {
            return;
        }
        let number = numbers[self.clerks.rng.usize(0..numbers.len())];
        let Some(connection) = self.clerks.connections.get(number) else { return };
        let (node, life) = (connection.node, connection.life);
        if life > 0 && self.hosts[node].life == life && !self.is_deaf(node) {
            self.with_node(node, |node| node.client_gone(ClientId(number)));
        }
        self.end_connection(number, "reset on its way");
    }

    fn end_connection(&mut self, number: u64, why: &'static str) {
        let delay_us = self.wire_delay_us();
        let is_lost = self.clerks.rng.bool();
        let connections = &mut self.clerks.connections;
        let Some(connection) = connections.get_mut(number) else { return };
        connection.input = None;
        if connection.is_left {
            connections.remove(number);
            return;
        }
        connection.life = u64::MAX;
        connection.why_over = why;
        connection.up.pieces.clear();
        if is_lost {
            connection.down.pieces.clear();
        }
        let last_us = connection.down.pieces.back().map_or(0, |(at_us, _)| *at_us);
        let delay_us = last_us.saturating_sub(self.now_us) + delay_us;
        self.after(delay_us, Event::Wire(Wire::Over(number)));
    }

    fn tell_over(&mut self, number: u64) {
        let Some(connection) = self.clerks.connections.remove(number) else { return };
        let reason = match connection.why_over {
            "" => Reason::Connect("refused".into()),
            why => Reason::Closed(why.into()),
        };
        self.clerks.forget(connection.clerk, connection.id);
        self.tell(connection.clerk, |core, now_us| core.closed(now_us, connection.id, reason));
    }

    /// The clerk closes it, or is gone. What it had sent still arrives, unless its machine went down with it.
    pub(crate) fn leave_connection(&mut self, number: u64, is_lost: bool) {
        let Some(connection) = self.clerks.connections.get_mut(number) else { return };
        connection.is_left = true;
        connection.down.pieces.clear();
        if is_lost || connection.life == 0 || connection.life == u64::MAX {
            connection.up.pieces.clear();
        }
        self.leave_if_empty(number);
    }

    /// The node hears that nothing more will come.
    fn leave_if_empty(&mut self, number: u64) {
        let Some(connection) = self.clerks.connections.get(number) else { return };
        if !connection.is_left || !connection.up.pieces.is_empty() {
            return;
        }
        let (node, life) = (connection.node, connection.life);
        if self.hosts[node].life == life && self.is_deaf(node) {
            return self.hosts[node].inbox.push(Event::Wire(Wire::Up(number)));
        }
        self.clerks.connections.remove(number);
        if self.hosts[node].life == life {
            self.hand_in(node, |node| node.client_gone(ClientId(number)));
        }
    }
}

/// The next bytes, perhaps not all that came together.
fn take_piece(pipe: &mut Pipe, rng: &mut fastrand::Rng, calm: bool) -> Vec<u8> {
    let (at_us, mut bytes) = pipe.pieces.pop_front().expect("a piece is due");
    if !calm && bytes.len() > 1 && rng.u32(0..8) == 0 {
        let rest = bytes.split_off(rng.usize(1..bytes.len()));
        pipe.pieces.push_front((at_us + rng.u64(0..5_000), rest));
    }
    bytes
}
