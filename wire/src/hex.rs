//! Bytes as people write them, in tests and in PROTOCOL.md: hex digits, with spaces as they please; `#` and what follows it is comment.

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).unwrap_or_else(|| panic!("{c:?} is no hex digit in {text:?}"))).unwrap())
        .collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text:?}");
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
