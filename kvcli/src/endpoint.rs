//! `HOST:PORT`, as people write it.

use std::net::{IpAddr, Ipv6Addr};

/// The port for clients, where none is given.
pub const DEFAULT_PORT: u16 = 7117;

/// Why a text is no endpoint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndpointError {
    /// No host.
    #[error("{0:?} names no host (expected HOST or HOST:PORT)")]
    NoHost(String),
    /// No port that exists.
    #[error("{0:?} has no port from 1 to 65535 behind its colon")]
    Port(String),
    /// An IPv6 address, and perhaps a port: nothing says where the one ends and the other begins.
    #[error("{text:?}: an IPv6 address with a port needs brackets: write [{host}]:{port} (or [{text}], if all of it is the address)")]
    NoBrackets {
        /// All of it.
        text: String,
        /// What may be the address.
        host: Ipv6Addr,
        /// What may be the port.
        port: u16,
    },
    /// Characters that no host name has.
    #[error("{0:?} is no HOST:PORT")]
    Malformed(String),
}

/// `HOST:PORT`, with the default port if none is given: `db1`, `db1:7118`, `10.0.0.1`, `::1`, `[::1]:7117`.
pub fn parse_endpoint(text: &str) -> Result<String, EndpointError> {
    let text = text.trim();
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(|| EndpointError::Malformed(text.into()))?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(EndpointError::Malformed(text.into()));
        }
        match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if port.is_empty() => (host, None),
            None => return Err(EndpointError::Malformed(text.into())),
        }
    } else if let Some((host, port)) = v6_and_port(text) {
        return Err(EndpointError::NoBrackets { text: text.into(), host, port });
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err(EndpointError::NoHost(text.into()));
    }
    let is_v6 = matches!(host.parse(), Ok(IpAddr::V6(_)));
    if !is_v6 && !host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return Err(EndpointError::Malformed(text.into()));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(number) if number > 0 && port.bytes().all(|digit| digit.is_ascii_digit()) => number,
            _ => return Err(EndpointError::Port(text.into())),
        },
    };
    Ok(if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// `::1:7117` is an IPv6 address, and hardly ever the one that was meant.
fn v6_and_port(text: &str) -> Option<(Ipv6Addr, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_number = port.bytes().all(|digit| digit.is_ascii_digit());
    Some((host.parse().ok()?, port.parse().ok().filter(|_| is_number)?))
}

/// Several, with commas between them.
pub fn parse_endpoints(text: &str) -> Result<Vec<String>, EndpointError> {
    let mut endpoints: Vec<String> = Vec::new();
    for part in text.split(',') {
        let endpoint = parse_endpoint(part)?;
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_port_is_the_default() {
        let cases = [
            ("db1", "db1:7117"),
            (" db1:7118 ", "db1:7118"),
            ("10.0.0.1", "10.0.0.1:7117"),
            ("::1", "[::1]:7117"),
            ("[::1]", "[::1]:7117"),
            ("fe80::a:b", "[fe80::a:b]:7117"),
            ("1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]:7117"),
            ("[::1:7117]", "[::1:7117]:7117"),
            ("[fe80::1]:9", "[fe80::1]:9"),
            ("a.example:65535", "a.example:65535"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_endpoint(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(parse_endpoints("a, b:1,a:7117").unwrap(), ["a:7117", "b:1"]);
    }

    #[test]
    fn what_is_no_endpoint_is_named() {
        for text in
            ["", ":1", "a:", "a:0", "a:65536", "a:x", "a:+1", "[::1", "[a]:1", "[::1]1", "a b", "a:1:2", "http://a", "a/b", "1::2::3:4"]
        {
            let error = parse_endpoint(text).unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{text}: {error}");
        }
        assert!(parse_endpoints("a,,b").is_err());
    }

    #[test]
    fn an_ipv6_address_with_a_port_and_without_brackets_is_told_how_to_write_it() {
        for (text, instead) in
            [("::1:7117", "[::1]:7117"), ("fe80::1:9", "[fe80::1]:9"), ("1:2:3:4:5:6:7:8:7118", "[1:2:3:4:5:6:7:8]:7118")]
        {
            let error = parse_endpoint(text).unwrap_err().to_string();
            assert!(error.contains(&format!("write {instead}")), "{text}: {error}");
        }
    }
}
