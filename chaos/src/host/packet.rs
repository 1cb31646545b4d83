//! The little of IPv4 and TCP that a switch must know: where a packet goes, and how to end its connection.

use std::net::Ipv4Addr;

const IP_HEADER_LEN_MIN: usize = 20;
const TCP_HEADER_LEN: usize = 20;
const TCP: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Where an IPv4 packet goes; `None`: it is none.
pub(super) fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let is_ipv4 = packet.len() >= IP_HEADER_LEN_MIN && packet[0] >> 4 == 4;
    is_ipv4.then(|| address(packet, 16))
}

/// Two resets that end the connection a packet belongs to: for who sent it, and for whom it was meant. `None`: nothing to end.
pub(super) fn resets(packet: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let segment = Segment::of(packet)?;
    if segment.flags & RST != 0 {
        return None; // a reset answered by a reset would never end
    }
    let back = Header {
        from: (segment.to, segment.to_port),
        to: (segment.from, segment.from_port),
        // A reset is believed if its number is what is expected next: what the packet itself acknowledges, if it does.
        seq: if segment.flags & ACK != 0 { segment.ack } else { 0 },
        ack: segment.seq.wrapping_add(segment.len),
        flags: if segment.flags & ACK != 0 { RST } else { RST | ACK },
    };
    let forth = Header { from: (segment.from, segment.from_port), to: (segment.to, segment.to_port), seq: segment.seq, ack: 0, flags: RST };
    // A first packet never arrived: there is no connection at the other end.
    let is_first = segment.flags & SYN != 0 && segment.flags & ACK == 0;
    Some((back.encode(), (!is_first).then(|| forth.encode())))
}

struct Segment {
    from: Ipv4Addr,
    to: Ipv4Addr,
    from_port: u16,
    to_port: u16,
    seq: u32,
    ack: u32,
    flags: u8,
    /// In sequence numbers: bytes, and one each for the beginning and the end.
    len: u32,
}

impl Segment {
    fn of(packet: &[u8]) -> Option<Segment> {
        destination(packet)?;
        let is_later_fragment = u16_at(packet, 6) & 0x1fff != 0;
        if packet[9] != TCP || is_later_fragment {
            return None;
        }
        let ip_header_len = usize::from(packet[0] & 0x0f) * 4;
        let tcp = packet.get(ip_header_len..)?;
        if ip_header_len < IP_HEADER_LEN_MIN || tcp.len() < TCP_HEADER_LEN {
            return None;
        }
        let data_len = tcp.len().checked_sub(usize::from(tcp[12] >> 4) * 4)?;
        let flags = tcp[13];
        Some(Segment {
            from: address(packet, 12),
            to: address(packet, 16),
            from_port: u16_at(tcp, 0),
            to_port: u16_at(tcp, 2),
            seq: u32_at(tcp, 4),
            ack: u32_at(tcp, 8),
            flags,
            len: u32::try_from(data_len).ok()? + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0),
        })
    }
}

/// Of a TCP segment without data, and the packet around it.
struct Header {
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    seq: u32,
    ack: u32,
    flags: u8,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(TCP_HEADER_LEN);
        tcp.extend(self.from.1.to_be_bytes());
        tcp.extend(self.to.1.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([5 << 4, self.flags, 0, 0, 0, 0, 0, 0]); // five words long; window, checksum, urgent
        let mut pseudo = Vec::from(self.from.0.octets());
        pseudo.extend(self.to.0.octets());
        pseudo.extend([0, TCP, 0, 20]);
        pseudo.extend(&tcp);
        tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());

        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0]; // five words, 40 bytes in all, not to be split, 64 hops
        packet.extend(self.from.0.octets());
        packet.extend(self.to.0.octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(tcp);
        packet
    }
}

/// The one of the internet: ones' complement of the ones' complement sum of 16-bit words.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn address(packet: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32_at(packet, at))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u8, data: &[u8]) -> Vec<u8> {
        let (from, to) = ((Ipv4Addr::new(10, 0, 0, 1), 4000), (Ipv4Addr::new(10, 0, 0, 2), 7117));
        let mut packet = Header { from, to, seq: 100, ack: 500, flags }.encode();
        packet.extend(data);
        packet
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 1071, section 3: 00 01 f2 03 f4 f5 f6 f7 add up to ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        // A header with its checksum in place adds up to nothing.
        assert_eq!(checksum(&segment(ACK, b"")[..20]), 0);
    }

    #[test]
    fn a_connection_is_ended_at_both_ends_with_the_numbers_they_expect() {
        let (back, forth) = resets(&segment(ACK, b"hello")).unwrap();
        let back = Segment::of(&back).unwrap();
        assert_eq!((back.from_port, back.to_port, back.seq, back.flags), (7117, 4000, 500, RST));
        let forth = Segment::of(&forth.unwrap()).unwrap();
        assert_eq!((forth.from_port, forth.to_port, forth.seq, forth.flags), (4000, 7117, 100, RST));
    }

    #[test]
    fn a_connection_that_only_begins_is_refused() {
        let (back, forth) = resets(&segment(SYN, b"")).unwrap();
        let back = Segment::of(&back).unwrap();
        assert_eq!((back.seq, back.ack, back.flags), (0, 101, RST | ACK));
        assert_eq!(forth, None, "there is nothing at the other end yet");
    }

    #[test]
    fn what_is_no_connection_is_not_ended() {
        assert_eq!(resets(&segment(RST, b"")), None);
        let mut udp = segment(ACK, b"");
        udp[9] = 17;
        assert_eq!(resets(&udp), None);
        assert_eq!(destination(&[0x60; 40]), None, "IPv6");
        let whole = segment(ACK, b"");
        for len in 0..whole.len() {
            assert_eq!(resets(&whole[..len]), None, "cut at {len}");
        }
    }
}
