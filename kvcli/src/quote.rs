//! Bytes as text: for a shell, which must get the same bytes back, and for a terminal, which must not be driven by them.

use std::fmt::Write;

/// One word of a shell command that stands for these bytes; what is not plain text needs bash, zsh or ksh.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:,=@%+".contains(byte);
    match str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(is_plain) => text.into(),
        Ok(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let mut quoted = String::from("$'");
            for chunk in bytes.utf8_chunks() {
                for c in chunk.valid().chars() {
                    match c {
                        '\'' | '\\' => quoted.extend(['\\', c]),
                        '\n' => quoted += r"\n",
                        '\t' => quoted += r"\t",
                        // Three octal digits: `\x1` would eat a hexadecimal digit behind it.
                        c if c.is_ascii_control() => octal(&mut quoted, c as u8),
                        c if c.is_control() => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| octal(&mut quoted, byte)),
                        c => quoted.push(c),
                    }
                }
                chunk.invalid().iter().for_each(|byte| octal(&mut quoted, *byte));
            }
            quoted + "'"
        }
    }
}

fn octal(text: &mut String, byte: u8) {
    let _ = write!(text, "\\{byte:03o}"); // writing to a String does not fail
}

/// For a terminal or a line of a table: control characters and bytes that are no text become `\n`, `\t`, `\\` or `\xNN`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut escaped = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => escaped += r"\\",
                '\n' => escaped += r"\n",
                '\t' => escaped += r"\t",
                '\r' => escaped += r"\r",
                c if c.is_control() => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| hex(&mut escaped, byte)),
                c => escaped.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| hex(&mut escaped, *byte));
    }
    escaped
}

fn hex(text: &mut String, byte: u8) {
    let _ = write!(text, "\\x{byte:02x}"); // writing to a String does not fail
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_person_typed_looks_as_they_would_type_it() {
        let cases: [(&[u8], &str); 6] = [
            (b"plain-1.0", "plain-1.0"),
            (b"", "''"),
            (b"two words", "'two words'"),
            (b"it's", r"'it'\''s'"),
            ("naïve".as_bytes(), "'naïve'"),
            (b"a\n\x011\xff'", r"$'a\n\0011\377\''"),
        ];
        for (bytes, quoted) in cases {
            assert_eq!(quote(bytes), quoted);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_gets_the_same_bytes_back(bytes in proptest::collection::vec(1u8.., 0..40)) {
            let output = Command::new("bash").args(["-c", &format!("printf %s {}", quote(&bytes))]).output();
            prop_assume!(output.is_ok()); // no bash here
            prop_assert_eq!(output.unwrap().stdout, bytes);
        }

        #[test]
        fn escaped_bytes_hold_no_control_character(bytes: Vec<u8>) {
            prop_assert!(!escape(&bytes).chars().any(char::is_control));
        }

        #[test]
        fn bytes_that_differ_look_different(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(a == b, escape(&a) == escape(&b));
        }
    }

    #[test]
    fn escapes_are_the_usual_ones() {
        assert_eq!(escape(b"a\\b\n\t\r\x1b[0m\xff\xc3\xa9"), "a\\\\b\\n\\t\\r\\x1b[0m\\xff\u{e9}");
        assert_eq!(escape("\u{85}".as_bytes()), r"\xc2\x85", "a control character beyond ASCII drives terminals too");
    }
}
