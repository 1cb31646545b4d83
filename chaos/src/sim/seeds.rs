//! A range of seeds, as the command line has it.

use std::fmt;
use std::str::FromStr;

/// From the first to the last, both included; without a last one for as long as time is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seeds {
    pub(crate) first: u64,
    pub(crate) last: Option<u64>,
}

impl Seeds {
    pub(crate) fn iter(self) -> impl Iterator<Item = u64> + Send {
        self.first..=self.last.unwrap_or(u64::MAX)
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let (first, last) = text.split_once("..").ok_or("a range looks like 1..1000: the first seed, two points, the last")?;
        let number = |text: &str| match text.parse::<u64>() {
            Ok(number) => Ok(number),
            Err(_) if text.is_empty() => Err("the first seed is missing".to_owned()),
            Err(error) => Err(format!("{text:?} is no seed: {error}")),
        };
        let seeds = Seeds { first: number(first)?, last: if last.is_empty() { None } else { Some(number(last)?) } };
        match seeds.last {
            Some(last) if last < seeds.first => Err(format!("there is nothing from {first} to {last}: the first seed comes first")),
            _ => Ok(seeds),
        }
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", self.first)?;
        self.last.map_or(Ok(()), |last| write!(f, "{last}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_it_is_written() {
        for text in ["1..1000", "7..7", "0..18446744073709551615", "12.."] {
            assert_eq!(text.parse::<Seeds>().expect("a range").to_string(), text);
        }
        assert_eq!("3..5".parse::<Seeds>().expect("a range").iter().collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn what_is_no_range_is_told_why() {
        for (text, why) in [
            ("5", "looks like 1..1000"),
            ("", "looks like 1..1000"),
            ("..5", "first seed is missing"),
            ("9..1", "the first seed comes first"),
            ("a..9", "\"a\" is no seed"),
            ("1..x", "\"x\" is no seed"),
            ("-1..3", "\"-1\" is no seed"),
            ("1...3", "\".3\" is no seed"),
            ("1..18446744073709551616", "too large"),
        ] {
            let said = text.parse::<Seeds>().expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
