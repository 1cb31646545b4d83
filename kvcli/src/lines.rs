//! The lines that `dump` writes and `load` reads.
//!
//! A line is a key, the first tab, and a value up to the line feed: any bytes, no escapes. What would not survive that (a key with a
//! tab or a line feed in it, or one that begins with `{`; a value with a line feed) is a JSON document instead, as is any line that
//! begins with `{`: `key` or `key_b64`, `value` or `value_b64`; and `version`, as `scan -o json` has it, which is not restored.

use std::io::{self, Write};

use kvcli::Item;
use serde::Deserialize;
use wire::Op;
use wire::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};

use crate::json;

/// The longest line that can be a pair: JSON may write each byte as `\u0000`, and has names and brackets around.
pub(crate) const LINE_LEN_MAX: usize = 6 * (KEY_LEN_MAX + VALUE_LEN_MAX) + 1024;

/// A key and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Writes a pair, so that `parse` finds the same bytes.
pub(crate) fn write(out: &mut Vec<u8>, item: &Item) -> io::Result<()> {
    let Item { key, value, .. } = item;
    if key.starts_with(b"{") || key.iter().any(|byte| matches!(byte, b'\t' | b'\n')) || value.contains(&b'\n') {
        serde_json::to_writer(&mut *out, &json::Pair::new(key, value))?;
    } else {
        out.extend_from_slice(key);
        out.push(b'\t');
        out.extend_from_slice(value);
    }
    out.write_all(b"\n")
}

/// Reads a line, without its line feed; the error says what is wrong with it.
pub(crate) fn parse(line: &[u8]) -> Result<Pair, String> {
    let pair = if line.starts_with(b"{") { parse_document(line)? } else { parse_tabbed(line)? };
    match (Op::Put { key: &pair.key, value: &pair.value }).validate() {
        Ok(()) => Ok(pair),
        Err(_) if pair.key.is_empty() => Err("the key is empty".into()),
        Err(_) if pair.key.len() > KEY_LEN_MAX => Err(format!("the key is longer than {KEY_LEN_MAX} bytes")),
        Err(_) => Err(format!("the value is longer than {VALUE_LEN_MAX} bytes")),
    }
}

fn parse_tabbed(line: &[u8]) -> Result<Pair, String> {
    let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
        return Err("no tab between key and value".into());
    };
    Ok(Pair { key: line[..tab].to_vec(), value: line[tab + 1..].to_vec() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    /// As `dump` writes it.
    #[serde(rename = "version")]
    _version: Option<u64>,
}

fn parse_document(line: &[u8]) -> Result<Pair, String> {
    // serde_json ends with "at line 1 column N", and this is not line 1.
    let document: Document = serde_json::from_slice(line).map_err(|error| error.to_string().replace(" at line 1 column ", " at byte "))?;
    let bytes = |name: &str, text: Option<String>, base64: Option<String>| match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => json::from_base64(&base64).ok_or_else(|| format!("{name}_b64 is not base 64")),
        (None, None) => Err(format!("neither {name} nor {name}_b64")),
        (Some(_), Some(_)) => Err(format!("both {name} and {name}_b64")),
    };
    Ok(Pair { key: bytes("key", document.key, document.key_b64)?, value: bytes("value", document.value, document.value_b64)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(key: &[u8], value: &[u8]) -> Pair {
        Pair { key: key.to_vec(), value: value.to_vec() }
    }

    fn written(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &Item { key: key.to_vec(), value: value.to_vec(), version: 3 }).unwrap();
        out
    }

    #[test]
    fn a_line_is_tabbed_wherever_that_is_lossless_and_json_elsewhere() {
        let cases: [(&[u8], &[u8], &[u8]); 8] = [
            (b"k", b"v", b"k\tv\n"),
            (b"k", b"", b"k\t\n"),
            (b"k\r", b"a\tb\r", b"k\r\ta\tb\r\n"),
            (b"\xff\x00", b"\xfe{", b"\xff\x00\t\xfe{\n"),
            (b"a\tb", b"v", b"{\"key\":\"a\\tb\",\"value\":\"v\"}\n"),
            (b"k", b"two\nlines", b"{\"key\":\"k\",\"value\":\"two\\nlines\"}\n"),
            (b"{k", b"v", b"{\"key\":\"{k\",\"value\":\"v\"}\n"),
            (b"\xff\n", b"\xfe", b"{\"key_b64\":\"/wo=\",\"value_b64\":\"/g==\"}\n"),
        ];
        for (key, value, line) in cases {
            assert_eq!(written(key, value), line, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn what_is_no_pair_says_why() {
        let cases: [(&[u8], &str); 13] = [
            (b"", "no tab"),
            (b"key only", "no tab"),
            (b"\tv", "the key is empty"),
            (b"{\"key\":\"\",\"value\":\"\"}", "the key is empty"),
            (b"{\tv", "at byte 3"),
            (b"{\"key\":\"k\"}", "neither value nor value_b64"),
            (b"{\"value\":\"k\"}", "neither key nor key_b64"),
            (b"{\"key\":\"k\",\"key_b64\":\"aw==\",\"value\":\"\"}", "both key and key_b64"),
            (b"{\"key\":\"k\",\"value_b64\":\"!\"}", "value_b64 is not base 64"),
            (b"{\"key\":\"k\",\"value\":\"v\",\"ttl\":1}", "unknown field `ttl`"),
            (b"{\"key\":\"k\",\"value\":1}", "invalid type"),
            (b"{\"key\":\"k\",\"value\":\"v\"} x", "trailing"),
            (b"{\"key\":\"\xff\",\"value\":\"v\"}", "invalid"),
        ];
        for (line, why) in cases {
            let said = parse(line).unwrap_err();
            assert!(said.contains(why), "{}: {said}", String::from_utf8_lossy(line));
        }
        let too_long = [b"k\t".as_slice(), &vec![b'v'; VALUE_LEN_MAX + 1]].concat();
        assert!(parse(&too_long).unwrap_err().contains("1048576"));
        assert!(parse(&too_long[..too_long.len() - 1]).is_ok());
        let too_long = [&vec![b'k'; KEY_LEN_MAX + 1][..], b"\tv"].concat();
        assert!(parse(&too_long).unwrap_err().contains("65536"));
    }

    #[test]
    fn the_longest_pair_fits_into_a_line() {
        let line = written(&[b'\t'; KEY_LEN_MAX], &[0; VALUE_LEN_MAX]);
        assert!((5 * VALUE_LEN_MAX..LINE_LEN_MAX).contains(&line.len()), "{}", line.len());
        assert_eq!(parse(line.strip_suffix(b"\n").unwrap()), Ok(pair(&[b'\t'; KEY_LEN_MAX], &[0; VALUE_LEN_MAX])));
    }

    proptest! {
        #[test]
        fn a_pair_comes_back_from_its_line(
            key in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\t'), Just(b'\n'), Just(b'{')], 1..9),
            value in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\t'), Just(b'\n'), Just(b'\r')], 0..9),
        ) {
            let line = written(&key, &value);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(parse(line.strip_suffix(b"\n").unwrap()), Ok(pair(&key, &value)));
        }
    }
}
