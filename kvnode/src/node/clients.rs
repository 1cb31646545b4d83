//! Clients, frame by frame: the same under sockets and in simulation. What a connection may hold, and for how long, is the server's.

use raft::ClusterId;
use wire::frame::Frame;
use wire::hello::{Refused, RefusedReason, Welcome};
use wire::{RejectedReason, Reply, RequestError};

use crate::node::Node;
use crate::waiting::ClientId;

/// What came of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// The node has the request; its reply comes by way of the outbox.
    Taken,
    /// The reply was written at once.
    Answered,
}

impl Node {
    /// A client greets, and means this cluster if it knows one.
    pub fn client_greeted(&self, cluster_id: Option<ClusterId>) -> Result<Welcome, Refused> {
        let ours = self.config.identity.cluster_id;
        match cluster_id {
            Some(theirs) if theirs != ours => {
                let message = format!("this node is of cluster {ours}, the client of cluster {theirs}");
                Err(Refused { reason: RefusedReason::WrongCluster, message })
            }
            _ => Ok(self.welcome()),
        }
    }

    /// A client that has greeted sends a frame. `Err`: it speaks something else; close the connection.
    pub fn client_asks(&mut self, client: ClientId, frame: Frame<'_>, now_us: u64, out: &mut Vec<u8>) -> Result<Asked, RequestError> {
        match wire::decode_request(frame) {
            Ok((request_id, request)) => {
                self.request(client, request_id, request, now_us);
                Ok(Asked::Taken)
            }
            // It is newer than this node: it is told so, and may go on with what both know.
            Err(RequestError::Unknown { request_id, .. }) => {
                wire::encode_reply(request_id, &Reply::Rejected { reason: RejectedReason::Version }, out);
                Ok(Asked::Answered)
            }
            Err(error @ RequestError::Malformed(_)) => Err(error),
        }
    }
}
