//! A line of a shell to words, and words back to a line, both as `sh` does it (without variables, globs and the like).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A quote that nobody closed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no closing {0}")]
pub struct Unclosed(char);

/// Splits at blanks; `'...'` is literal, `"..."` and `\` as in sh.
pub fn split(line: &[u8]) -> Result<Vec<OsString>, Unclosed> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None; // None between words: '' is a word, a blank is not
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => words.extend(word.take().map(OsString::from_vec)),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or(Unclosed('\''))? {
                        b'\'' => break,
                        other => word.push(other),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or(Unclosed('"'))? {
                        b'"' => break,
                        b'\\' => match bytes.next().ok_or(Unclosed('"'))? {
                            special @ (b'"' | b'\\' | b'$' | b'`') => word.push(special),
                            other => word.extend([b'\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            b'\\' => word.get_or_insert_default().extend(bytes.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word.map(OsString::from_vec));
    Ok(words)
}

/// One word as a shell would need it to be typed.
pub fn quote(word: &OsStr) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:,=+@%".contains(byte);
    if !word.is_empty() && word.as_bytes().iter().all(plain) {
        return word.to_string_lossy().into_owned();
    }
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

/// Words joined to a line that a shell splits into the same words.
pub fn join<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).unwrap().into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn blanks_separate_and_quotes_join() {
        assert_eq!(words("  put  k\tv \n"), ["put", "k", "v"]);
        assert_eq!(words(r#"put 'a b' "c d"e\ f"#), ["put", "a b", "c de f"]);
        assert_eq!(words("put k ''"), ["put", "k", ""]);
        assert!(words("   ").is_empty());
    }

    #[test]
    fn backslashes_mean_what_sh_lets_them_mean() {
        assert_eq!(words(r#""a\"b" "a\nb" 'a\' \'"#), [r#"a"b"#, r"a\nb", r"a\", "'"]);
    }

    #[test]
    fn an_open_quote_is_an_error_not_a_word() {
        assert_eq!(split(b"put 'k"), Err(Unclosed('\'')));
        assert_eq!(split(b"put \"k"), Err(Unclosed('"')));
        assert_eq!(split(b"put \"k\\"), Err(Unclosed('"')));
    }

    #[test]
    fn words_need_not_be_text() {
        assert_eq!(split(b"put \xff k").unwrap()[1].as_bytes(), b"\xff");
    }

    #[test]
    fn what_is_joined_splits_into_the_same_words() {
        let original = ["kvcli", "append", "greeting", ", world", "it's", "", "a\"b\\c", "$HOME"];
        let line = join(original.iter().map(OsStr::new));
        assert_eq!(words(&line), original);
        assert!(line.starts_with("kvcli append greeting ', world' "), "{line}");
    }
}
