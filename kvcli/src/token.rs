//! A resume token: the identity of one write, as text that survives copy and paste. Whoever holds it can settle the write, at most
//! once in all, from another process or another machine, while its session lives.
//!
//! A load that was left with lines of unknown outcome has a token, too: of the first line that is to be written again, under the first
//! number of the load's session that was never used. Its attempts say that every earlier number is answered. From the moment when
//! one of them takes effect, whatever else of that load is still on its way will be refused, so that it cannot come to rest
//! behind what is written next.
//!
//! The text is `kv` and the bytes below in base 32 (RFC 4648, lower case, no padding): letters and digits only, one double click.
//!
//! | offset | size | field       | meaning; integers are little-endian                                          |
//! |-------:|-----:|-------------|-------------------------------------------------------------------------------|
//! |      0 |    1 | version     | 1: of a write; 2: of a load                                                   |
//! |      1 |   16 | cluster_id  | another cluster refuses it                                                    |
//! |     17 |   16 | session     | drawn by the client                                                           |
//! |     33 |    7 | birth_index | of the session; below 2^56                                                    |
//! |     40 |    8 | seq         | which call of the session, from 1                                             |
//! |     48 |    4 | op_digest   | CRC-32C of the write, so that the token does not settle another one by mistake |
//! |     52 |    4 | checksum    | CRC-32C of all before                                                         |

use std::fmt;
use std::str::FromStr;

use raft::{ClusterId, Index};
use wire::checksum;
use wire::command::{Expect, Op, SessionId};

use crate::ask::Ask;

const TOKEN_LEN: usize = 56;
const PREFIX: &str = "kv";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To settle a write that may have been sent already.
    Write,
    /// To let a load go on: a first write, behind which no older one of its session takes effect.
    Load,
}

/// The identity of one write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// What for.
    pub purpose: Purpose,
    /// Where it was sent.
    pub cluster_id: ClusterId,
    /// In which session.
    pub session: SessionId,
    /// Where the log was when the session was drawn.
    pub birth_index: Index,
    /// Which call of the session.
    pub seq: u64,
    /// Of the write.
    pub op_digest: u32,
}

impl Token {
    /// Whether it was made for this call.
    pub fn is_of(&self, ask: &Ask) -> bool {
        ask.op().is_some_and(|op| op_digest(&op) == self.op_digest)
    }

    /// What tells this write from another: see [`Clerk::leave_session`](crate::Clerk::leave_session). `None`: it is a read.
    pub fn digest_of(ask: &Ask) -> Option<u32> {
        ask.op().map(|op| op_digest(&op))
    }
}

/// Why a text is no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not our letters, or not as many.
    #[error("not a resume token (it is `kv` and {} letters and digits, as printed)", text_len())]
    Malformed,
    /// A letter was lost, added or changed.
    #[error("a damaged resume token: its checksum does not match")]
    Checksum,
    /// Made by a newer kvcli.
    #[error("a resume token of version {0}, made by a newer kvcli")]
    Version(u8),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(TOKEN_LEN);
        bytes.push(match self.purpose {
            Purpose::Write => 1,
            Purpose::Load => 2,
        });
        bytes.extend_from_slice(&self.cluster_id.0.to_le_bytes());
        bytes.extend_from_slice(&self.session.0.to_le_bytes());
        bytes.extend_from_slice(&self.birth_index.0.to_le_bytes()[..7]);
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&self.op_digest.to_le_bytes());
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        f.write_str(PREFIX)?;
        f.write_str(&to_base32(&bytes))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(from_base32).ok_or(TokenError::Malformed)?;
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(TokenError::Malformed)?;
        if checksum(body) != u32::from_le_bytes(*sum) {
            return Err(if bytes.len() == TOKEN_LEN { TokenError::Checksum } else { TokenError::Malformed });
        }
        let mut fields = Fields(body);
        let purpose = match fields.take::<1>()? {
            [1] => Purpose::Write,
            [2] => Purpose::Load,
            [other] => return Err(TokenError::Version(other)),
        };
        let token = Token {
            purpose,
            cluster_id: ClusterId(u128::from_le_bytes(fields.take()?)),
            session: SessionId(u128::from_le_bytes(fields.take()?)),
            birth_index: {
                let low: [u8; 7] = fields.take()?;
                let mut whole = [0; 8];
                whole[..7].copy_from_slice(&low);
                Index(u64::from_le_bytes(whole))
            },
            seq: u64::from_le_bytes(fields.take()?),
            op_digest: u32::from_le_bytes(fields.take()?),
        };
        if fields.0.is_empty() && token.seq > 0 { Ok(token) } else { Err(TokenError::Malformed) }
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(TokenError::Malformed)?;
        self.0 = rest;
        Ok(*field)
    }
}

/// Tells one write from another: two texts under one token would be a mistake.
pub(crate) fn op_digest(op: &Op<'_>) -> u32 {
    let mut bytes = Vec::new();
    let mut add = |tag: u8, field: &[u8]| {
        bytes.push(tag);
        bytes.extend_from_slice(&field.len().to_le_bytes());
        bytes.extend_from_slice(field);
    };
    match *op {
        Op::Put { key, value } => {
            add(1, key);
            add(0, value);
        }
        Op::Append { key, value } => {
            add(2, key);
            add(0, value);
        }
        Op::Delete { key } => add(3, key),
        Op::Cas { key, expect, value } => {
            add(4, key);
            match expect {
                Expect::Absent => add(1, &[]),
                Expect::Value(expected) => add(2, expected),
                Expect::Version(version) => add(3, &version.to_le_bytes()),
            }
            add(0, value);
        }
    }
    checksum(&bytes)
}

fn text_len() -> usize {
    (TOKEN_LEN * 8).div_ceil(5)
}

fn to_base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut pending, mut pending_bits) = (0u32, 0);
    for &byte in bytes {
        pending = pending << 8 | u32::from(byte);
        pending_bits += 8;
        while pending_bits >= 5 {
            pending_bits -= 5;
            text.push(char::from(ALPHABET[(pending >> pending_bits & 31) as usize]));
        }
    }
    if pending_bits > 0 {
        text.push(char::from(ALPHABET[(pending << (5 - pending_bits) & 31) as usize]));
    }
    text
}

/// `None`: a letter that is not ours, or bits left over that `to_base32` would not have made.
fn from_base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut pending, mut pending_bits) = (0u32, 0);
    for letter in text.bytes() {
        let digit = ALPHABET.iter().position(|&ours| ours == letter.to_ascii_lowercase())?;
        pending = (pending << 5 | u32::try_from(digit).ok()?) & 0xfff;
        pending_bits += 5;
        if pending_bits >= 8 {
            pending_bits -= 8;
            bytes.push((pending >> pending_bits & 0xff) as u8);
        }
    }
    (pending_bits < 5 && pending & ((1 << pending_bits) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Token {
        let (cluster_id, session, birth_index) = (ClusterId(7), SessionId(u128::MAX), Index((1 << 56) - 1));
        Token { purpose: Purpose::Write, cluster_id, session, birth_index, seq: 1, op_digest: 9 }
    }

    proptest! {
        #[test]
        fn survives_the_way_through_text(
            purpose in prop_oneof![Just(Purpose::Write), Just(Purpose::Load)],
            cluster: u128, session: u128, birth in 0u64..1 << 56, seq in 1u64.., op_digest: u32,
        ) {
            let (cluster_id, session, birth_index) = (ClusterId(cluster), SessionId(session), Index(birth));
            let token = Token { purpose, cluster_id, session, birth_index, seq, op_digest };
            let text = token.to_string();
            prop_assert!(text.bytes().all(|letter| letter.is_ascii_alphanumeric()), "{text}");
            prop_assert_eq!(text.parse(), Ok(token));
            prop_assert_eq!(format!(" {}\n", text.to_uppercase().replacen("KV", "kv", 1)).parse(), Ok(token));
        }

        #[test]
        fn any_one_wrong_letter_is_noticed(at in 0usize..90, letter in "[a-z2-7]") {
            let mut text = example().to_string();
            let at = PREFIX.len() + at % (text.len() - PREFIX.len());
            prop_assume!(text[at..=at] != letter);
            text.replace_range(at..=at, &letter);
            prop_assert!(text.parse::<Token>().is_err());
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC*") {
            let _ = text.parse::<Token>();
            let _ = format!("kv{text}").parse::<Token>();
        }
    }

    #[test]
    fn a_letter_lost_or_added_is_noticed() {
        let text = example().to_string();
        assert_eq!(text.len(), PREFIX.len() + text_len());
        assert!(text[..text.len() - 1].parse::<Token>().is_err());
        assert!(format!("{text}a").parse::<Token>().is_err());
        assert!("".parse::<Token>().is_err());
        assert!("kv".parse::<Token>().is_err());
    }

    #[test]
    fn the_text_is_pinned() {
        assert_eq!(example().to_string(), "kvaedqaaaaaaaaaaaaaaaaaaaaaaap777777777777777777777777777777777777aeaaaaaaaaaaaciaaaamekuwre");
        let of_a_load = Token { purpose: Purpose::Load, ..example() };
        assert_eq!(of_a_load.to_string(), "kvaidqaaaaaaaaaaaaaaaaaaaaaaap777777777777777777777777777777777777aeaaaaaaaaaaaciaaaam2qojma");
    }

    #[test]
    fn a_token_of_a_newer_version_says_so() {
        let mut bytes = from_base32(&example().to_string()[PREFIX.len()..]).unwrap();
        bytes.truncate(TOKEN_LEN - 4);
        bytes[0] = 3;
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        assert_eq!(format!("{PREFIX}{}", to_base32(&bytes)).parse::<Token>(), Err(TokenError::Version(3)));
    }

    #[test]
    fn writes_that_differ_in_anything_have_other_digests() {
        let ops = [
            Op::Put { key: b"k", value: b"v" },
            Op::Append { key: b"k", value: b"v" },
            Op::Put { key: b"kv", value: b"" },
            Op::Put { key: b"", value: b"kv" },
            Op::Delete { key: b"k" },
            Op::Cas { key: b"k", expect: Expect::Absent, value: b"v" },
            Op::Cas { key: b"k", expect: Expect::Value(b""), value: b"v" },
            Op::Cas { key: b"k", expect: Expect::Version(0), value: b"v" },
        ];
        for (i, a) in ops.iter().enumerate() {
            for (j, b) in ops.iter().enumerate() {
                assert_eq!(i == j, op_digest(a) == op_digest(b), "{a:?} and {b:?}");
            }
        }
    }
}
