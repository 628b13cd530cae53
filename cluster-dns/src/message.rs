//! Messages: a request's bytes → what to do, and an answer → a response's bytes.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

/// Largest UDP payload we send: fits into one packet on any path (the DNS flag day's number, CoreDNS's default).
pub const UDP_PAYLOAD: u16 = 1232;
/// What a client without EDNS can take (RFC 1035).
const PLAIN_PAYLOAD: u16 = 512;

/// A request that asks something.
pub struct Request {
    message: Message,
    pub query: Query,
}

/// What a response carries besides its code.
#[derive(Default)]
pub struct Sections {
    pub authoritative: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// With the response to send instead, if there is one to send: nothing is said to what is no request at all.
    pub fn read(bytes: &[u8]) -> Result<Self, Option<Vec<u8>>> {
        let Ok(message) = Message::from_vec(bytes) else {
            // Answer at least by the identifier, if that much is there; never a response.
            let id = bytes.get(..2).map(|id| u16::from_be_bytes([id[0], id[1]]));
            let is_request = bytes.get(2).is_some_and(|flags| flags & 0x80 == 0);
            let error = |id| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
            return Err(id.filter(|_| is_request).and_then(error));
        };
        if message.metadata.message_type != MessageType::Query {
            return Err(None);
        }
        let refusal = match message.queries.as_slice() {
            _ if message.metadata.op_code != OpCode::Query => Some(ResponseCode::NotImp),
            _ if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) => Some(ResponseCode::BADVERS),
            [query] if query.query_class() != DNSClass::IN => Some(ResponseCode::Refused),
            [_] => None,
            _ => Some(ResponseCode::FormErr),
        };
        let query = message.queries.first().cloned().unwrap_or_default();
        let request = Self { message, query };
        match refusal {
            Some(code) => Err(request.respond(code, Sections::default(), Some(PLAIN_PAYLOAD))),
            None => Ok(request),
        }
    }

    /// The response's bytes, at most as large as the client takes over UDP if `datagram`.
    #[must_use]
    pub fn response(&self, code: ResponseCode, sections: Sections, datagram: bool) -> Option<Vec<u8>> {
        let wanted = self.message.edns.as_ref().map_or(PLAIN_PAYLOAD, Edns::max_payload);
        self.respond(code, sections, datagram.then(|| wanted.clamp(PLAIN_PAYLOAD, UDP_PAYLOAD)))
    }

    fn respond(&self, code: ResponseCode, sections: Sections, limit: Option<u16>) -> Option<Vec<u8>> {
        let asked = &self.message.metadata;
        let mut response = Message::response(asked.id, asked.op_code);
        response.metadata.recursion_desired = asked.recursion_desired;
        response.metadata.recursion_available = true;
        response.metadata.authoritative = sections.authoritative;
        response.metadata.response_code = code;
        response.add_queries(self.message.queries.iter().cloned());
        response.answers = sections.answers;
        response.authorities = sections.authorities;
        response.additionals = sections.additionals;
        if let Some(theirs) = &self.message.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD).set_dnssec_ok(theirs.flags().dnssec_ok);
            response.set_edns(edns);
        }
        encode(&response, limit)
    }
}

/// Encodes, cut to `limit` bytes with the truncation flag set if it does not fit.
fn encode(message: &Message, limit: Option<u16>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    if let Some(limit) = limit {
        encoder.set_max_size(limit);
    }
    match message.emit(&mut encoder) {
        Ok(()) => Some(bytes),
        // Not even the fixed parts beside the records fit: say only that it was cut.
        Err(_) if limit.is_some() => message.truncate().to_vec().ok(),
        Err(error) => {
            tracing::error!(%error, "a response could not be encoded");
            None
        }
    }
}
