//! `HOST:PORT`, as people write it. A name is kept as a name: it is looked up when it is dialled, and may change.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use wire::limits::ADDRESS_LEN_MAX;

/// Where a socket listens or is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    host: Host,
    /// 0 only where a free port is wanted.
    pub(crate) port: u16,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Address {
    /// An address that needs no lookup.
    pub(crate) fn of(socket: SocketAddr) -> Address {
        Address { host: Host::Ip(socket.ip()), port: socket.port() }
    }

    /// The socket address, if it can be had without asking a name server.
    pub(crate) fn literal(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Name(name) if name.eq_ignore_ascii_case("localhost") => Some((Ipv4Addr::LOCALHOST, self.port).into()),
            Host::Name(_) => None,
        }
    }

    /// Listening here is listening everywhere: nobody can be told to come to it.
    pub(crate) fn is_wildcard(&self) -> bool {
        matches!(self.host, Host::Ip(ip) if ip.is_unspecified())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let bad = |why: &str| Err(format!("{text:?} is no address: {why}; write HOST:PORT, as in 10.0.0.1:7217 or [::1]:7217"));
        if text.len() > ADDRESS_LEN_MAX {
            return bad("it is too long");
        }
        let Some((host, port)) = text.rsplit_once(':') else { return bad("the port is missing") };
        let Ok(port) = port.parse::<u16>() else { return bad("the port is no number from 0 to 65535") };
        let host = if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            match inner.parse() {
                Ok(ip) => Host::Ip(IpAddr::V6(ip)),
                Err(_) => return bad("what stands in brackets is no IPv6 address"),
            }
        } else if let Ok(ip) = host.parse::<Ipv4Addr>() {
            Host::Ip(IpAddr::V4(ip))
        } else if host.is_empty() {
            return bad("the host is missing");
        } else if host.contains(':') {
            return bad("an IPv6 address needs brackets");
        } else if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return bad("the host is neither an IPv4 address nor a name");
        } else if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return bad("the host has characters that no host name has");
        } else {
            Host::Name(host.to_owned())
        };
        Ok(Address { host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => fmt::Display::fmt(&SocketAddr::new(*ip, self.port), f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_were_written() {
        for text in ["127.0.0.1:7117", "[::1]:7217", "db-1.example.org:7217", "localhost:0", "kv_1:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn every_bad_address_is_named_with_its_reason() {
        let cases = [
            ("10.0.0.1", "port is missing"),
            ("10.0.0.1:", "no number"),
            ("10.0.0.1:65536", "no number"),
            ("10.0.0.1:-1", "no number"),
            (":7217", "host is missing"),
            ("::1:7217", "needs brackets"),
            ("[10.0.0.1]:7217", "no IPv6 address"),
            ("[::1:7217", "needs brackets"),
            ("10.0.0:7217", "neither an IPv4 address nor a name"),
            ("a b:7217", "characters"),
            ("http://h:7217", "needs brackets"),
        ];
        for (text, why) in cases {
            let message = text.parse::<Address>().unwrap_err();
            assert!(message.contains(why), "{text}: {message}");
            assert!(message.contains(text), "{text}: {message}");
        }
        assert!(format!("{}:1", "a".repeat(ADDRESS_LEN_MAX)).parse::<Address>().unwrap_err().contains("too long"));
    }

    #[test]
    fn only_names_other_than_localhost_need_a_lookup() {
        assert_eq!("localhost:1".parse::<Address>().unwrap().literal(), Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!("[::1]:1".parse::<Address>().unwrap().literal(), Some("[::1]:1".parse().unwrap()));
        assert_eq!("example.org:1".parse::<Address>().unwrap().literal(), None);
    }

    #[test]
    fn wildcards_are_told_from_addresses() {
        assert!("0.0.0.0:1".parse::<Address>().unwrap().is_wildcard());
        assert!("[::]:1".parse::<Address>().unwrap().is_wildcard());
        assert!(!"127.0.0.1:1".parse::<Address>().unwrap().is_wildcard());
    }
}
